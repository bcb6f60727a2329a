"""Precision and recall: how much of the generated images lies among real ones, and the reverse.

Kynkaanniemi, Karras, Laine, Lehtinen and Aila, "Improved Precision and Recall Metric for Assessing Generative
Models", NeurIPS 2019 (arXiv 1904.06991), equations 1 and 2, k = 3: a set's manifold is the union of balls around its
images, each reaching to the image's k-th nearest neighbour in the set.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch

from diffusion.score.nearest import Floats, chunks, nearest, squared_distances

__all__ = ["NEIGHBOURS", "precision_recall"]

NEIGHBOURS: Final = 3


def precision_recall(generated: Floats, real: Floats, *, neighbours: int = NEIGHBOURS) -> tuple[float, float]:
    """Precision and recall, each 0 to 1, of features (n, D) and (m, D), n and m at least 2.

    A set with ``neighbours`` images or fewer uses its farthest neighbour.
    """
    return _inside(generated, real, neighbours), _inside(real, generated, neighbours)


def _inside(queries: Floats, manifold: Floats, neighbours: int) -> float:
    """Share of queries that lie in the manifold of the others."""
    radii = nearest(manifold, manifold, count=neighbours, same=True)[0][:, -1]
    centre = manifold.mean(axis=0, dtype=np.float64)
    first, second = (torch.from_numpy(features - centre).double() for features in (queries, manifold))
    reach = torch.from_numpy(radii)
    # Rounding of the matrix product, near zero the root of a machine epsilon, must not put a copy outside.
    slack = 1e-12 * float((second * second).sum(dim=1).max())
    inside = 0
    for rows in chunks(len(queries), 2 * len(manifold)):
        inside += int((squared_distances(first[rows], second) <= reach * reach + slack).any(dim=1).sum())
    return inside / len(queries)
