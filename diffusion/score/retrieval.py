"""Which pairs of generated and training images are unusually close (PDFed, section 3.2).

For each class c the distances of its training images to their nearest neighbours of the same class give
``T_c = mean - deviations * standard deviation``. A generated image within T_c of a training image of class c is a
pair worth checking. Distances are between unit-length fingerprints and rounded to 1e-9 before anything is
compared, so that all machines compare the same numbers. Equal distances are ordered by index, also where they decide
who is among the nearest: the order of the reference's images is part of the task.

No more than a few rows of the distances exist at a time, so memory does not grow with the product of both sets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["DECIMALS", "close_pairs", "distances", "greedy_matching", "thresholds_by_class"]

#: Distances and similarities are compared after rounding to this many decimals.
DECIMALS: Final = 9
#: Distances held at a time, 32 MiB of them; several such arrays may be alive.
_CHUNK_ELEMENTS: Final = 2**22

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def distances(first: Floats, second: Floats) -> Floats:
    """Euclidean distances (N, M), rounded; by differences, since the inner-product form cancels near zero."""
    away = torch.cdist(
        torch.from_numpy(np.ascontiguousarray(first))[None],
        torch.from_numpy(np.ascontiguousarray(second))[None],
        compute_mode="donot_use_mm_for_euclid_dist",
    )
    return np.round(away[0].numpy(), DECIMALS)


def _in_chunks(first: Floats, second: Floats) -> Iterator[tuple[int, Floats]]:
    """`distances` of a few rows of ``first`` at a time, with the number of the first of them."""
    rows = max(_CHUNK_ELEMENTS // max(len(second), 1), 1)
    for start in range(0, len(first), rows):
        yield start, distances(first[start : start + rows], second)


def thresholds_by_class(training: Floats, labels: Ints, *, classes: int, deviations: float) -> Floats:
    """T_c of each class, float64 (classes,), never below zero.

    A class with a single image has no neighbour distances and gets the mean of the other classes' thresholds.
    """
    result = np.full(classes, np.nan)
    for label in range(classes):
        members = training[labels == label]
        if len(members) >= 2:
            nearest = np.empty(len(members))
            for start, between in _in_chunks(members, members):
                rows = np.arange(len(between))
                between[rows, start + rows] = np.inf
                nearest[start : start + len(between)] = between.min(axis=1)
            result[label] = max(float(nearest.mean() - deviations * nearest.std()), 0.0)
    known = result[~np.isnan(result)]
    result[np.isnan(result)] = known.mean() if len(known) else 0.0
    return np.round(result, DECIMALS)


def close_pairs(
    generated: Floats, training: Floats, labels: Ints, thresholds: Floats, *, neighbours: int, pairs_max: int
) -> Ints:
    """Pairs (P, 2) of generated and training index to be verified, closest first, ties by index.

    Of each generated image only its ``neighbours`` nearest training images are looked at (of several at the same
    distance, those with the lowest indices), and of all pairs within their class's threshold only the ``pairs_max``
    closest are kept.
    """
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for start, between in _in_chunks(generated, training):
        first, second = _nearest(between, min(neighbours, len(training)))
        distance = between[first, second]
        within = distance <= thresholds[labels[second]]
        found.append((start + first[within], second[within], distance[within]))
    first, second, distance = (np.concatenate([part[index] for part in found]) for index in range(3))
    order = np.lexsort((second, first, distance))[:pairs_max]
    return np.stack([first[order], second[order]], axis=1)


def _nearest(between: Floats, count: int) -> tuple[Ints, Ints]:
    """Row and column of the ``count`` smallest of each row of (N, M), ties by column; M >= count."""
    last = np.partition(between, count - 1, axis=1)[:, count - 1 : count]
    first, second = np.nonzero(between <= last)  # these, and what ties with the last of them
    order = np.lexsort((second, between[first, second], first))
    rank = np.arange(len(order)) - np.searchsorted(first, first)
    kept = order[rank < count]
    return first[kept], second[kept]


def greedy_matching(pairs: Ints, similarity: Floats, *, threshold: float) -> Ints:
    """Positions of confirmed pairs: by falling similarity, ties by (generated, training), each image once.

    ``similarity`` must be rounded already. The result does not depend on the order of ``pairs``, up to positions.
    """
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -similarity))
    taken_first: set[int] = set()
    taken_second: set[int] = set()
    confirmed = []
    for position in order:
        if similarity[position] < threshold:
            break
        first, second = int(pairs[position, 0]), int(pairs[position, 1])
        if first not in taken_first and second not in taken_second:
            taken_first.add(first)
            taken_second.add(second)
            confirmed.append(int(position))
    return np.array(confirmed, dtype=np.int64)
