"""KID: the squared maximum mean discrepancy under a cubic kernel.

Binkowski, Sutherland, Arbel and Gretton, "Demystifying MMD GANs", ICLR 2018 (arXiv 1801.01401), section 4: the kernel
(x.y / D + 1)^3 and the unbiased estimator. The published programs average it over random subsets to bound memory; here
it is computed once over all images, chunk by chunk, which is what those averages estimate.
"""

from __future__ import annotations

import torch

from diffusion.score.nearest import Floats, chunks

__all__ = ["kid"]


def kid(generated: Floats, test: Floats) -> float:
    """Unbiased estimate from features (n, D) and (m, D), n and m at least 2; around zero, also below, if alike.

    Not invariant to the features' scale: figures of two extractors do not compare.
    """
    first, second = torch.from_numpy(generated).double(), torch.from_numpy(test).double()
    n, m = len(first), len(second)
    within = (_total(first, first) - _own(first)) / (n * (n - 1)) + (_total(second, second) - _own(second)) / (
        m * (m - 1)
    )
    return within - 2 * _total(first, second) / (n * m)


def _total(first: torch.Tensor, second: torch.Tensor) -> float:
    """Sum of the kernel over all pairs."""
    size = first.shape[1]
    return sum(
        float(((first[rows] @ second.T) / size).add_(1).pow_(3).sum()) for rows in chunks(len(first), len(second))
    )


def _own(features: torch.Tensor) -> float:
    """Sum of the kernel of each image with itself."""
    return float(((features * features).sum(dim=1) / features.shape[1] + 1).pow(3).sum())
