"""Nearest neighbours among many feature vectors, exact and in bounded memory.

A matrix product finds a few more candidates than asked for, chunk by chunk; their distances are then computed again by
differences in float64, since the inner-product form cancels near zero, where copies are. The consensus score has its
own search over every pair (`diffusion.score.retrieval`): there all machines must agree, here a hundred thousand
training images must fit.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["chunks", "nearest", "squared_distances"]

#: Elements of the largest matrix held at a time: 16 MiB in float32, of which several may be alive.
_CHUNK_ELEMENTS: Final = 2**22
#: Most distances that are computed in float64 from the start.
_EXACT_MAX: Final = 2**22
#: Candidates beyond those asked for: rounding of the matrix product may swap near neighbours of equal distance.
_SPARE: Final = 8

Floats = NDArray[np.floating[Any]]


def chunks(rows: int, columns: int) -> list[slice]:
    """Slices of ``rows`` so that a matrix with ``columns`` columns stays small."""
    size = max(_CHUNK_ELEMENTS // max(columns, 1), 1)
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def squared_distances(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """|a - b|^2 of (N, D) and (M, D) by a matrix product, never negative; inexact near zero."""
    inner = torch.addmm((second * second).sum(dim=1)[None], first, second.T, alpha=-2)
    return inner.add_((first * first).sum(dim=1)[:, None]).clamp_(min=0)


def nearest(
    queries: Floats, base: Floats, *, count: int, same: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distances and indices of the ``count`` nearest rows of ``base`` to each query, nearest first, ties by index.

    Args:
        queries: (N, D).
        base: (M, D); M may be smaller than ``count``, then there are M columns.
        same: ``queries`` is ``base``, and no row is its own neighbour (then there are at most M - 1 columns).

    Returns:
        Euclidean distances float64 (N, count) and indices int64 (N, count).
    """
    available = len(base) - 1 if same else len(base)
    count = min(count, available)
    wanted = min(count + _SPARE, available)
    # Around the mean the products are smaller, and so is their rounding. Of few numbers float64 costs nothing.
    exact = np.float64 if len(queries) * len(base) <= _EXACT_MAX else base.dtype
    centre = base.mean(axis=0, dtype=np.float64).astype(exact)
    moved = torch.from_numpy(np.ascontiguousarray(base.astype(exact) - centre))
    asking = moved if same else torch.from_numpy(np.ascontiguousarray(queries.astype(exact) - centre))
    found_distances = np.empty((len(queries), count))
    found = np.empty((len(queries), count), dtype=np.int64)
    for rows in chunks(len(queries), len(base)):
        squared = squared_distances(asking[rows], moved)
        if same:
            squared[torch.arange(len(squared)), torch.arange(rows.start, rows.stop)] = torch.inf
        candidates = np.sort(squared.topk(wanted, dim=1, largest=False, sorted=False).indices.numpy(), axis=1)
        for some in chunks(len(candidates), wanted * base.shape[1]):
            picked = candidates[some]
            at = slice(rows.start + some.start, rows.start + some.stop)
            away = queries[at].astype(np.float64)[:, None] - base[picked].astype(np.float64)
            distance = np.sqrt((away * away).sum(axis=2))
            order = np.argsort(distance, axis=1, kind="stable")[:, :count]
            found_distances[at] = np.take_along_axis(distance, order, axis=1)
            found[at] = np.take_along_axis(picked, order, axis=1)
    return found_distances, found
