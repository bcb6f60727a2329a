"""Which pairs of generated and training images are unusually close (PDFed, section 3.2).

For each class c the distances of its training images to their nearest neighbours of the same class give
``T_c = mean - deviations * standard deviation``. A generated image within T_c of a training image of class c is a
pair worth checking. Distances are between unit-length fingerprints and rounded to 1e-9 before anything is
compared, so that all machines compare the same numbers.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["DECIMALS", "close_pairs", "distances", "greedy_matching", "thresholds_by_class"]

#: Distances and similarities are compared after rounding to this many decimals.
DECIMALS: Final = 9
_ROWS: Final = 256

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def distances(first: Floats, second: Floats) -> Floats:
    """Euclidean distances (N, M), rounded; by differences, since the inner-product form cancels near zero."""
    parts = [
        torch.cdist(
            torch.from_numpy(first[row : row + _ROWS])[None],
            torch.from_numpy(second)[None],
            compute_mode="donot_use_mm_for_euclid_dist",
        )[0].numpy()
        for row in range(0, len(first), _ROWS)
    ]
    return np.round(np.concatenate(parts), DECIMALS)


def thresholds_by_class(training: Floats, labels: Ints, *, classes: int, deviations: float) -> Floats:
    """T_c of each class, float64 (classes,), never below zero.

    A class with a single image has no neighbour distances and gets the mean of the other classes' thresholds.
    """
    result = np.full(classes, np.nan)
    for label in range(classes):
        members = training[labels == label]
        if len(members) >= 2:
            between = distances(members, members)
            np.fill_diagonal(between, np.inf)
            nearest = between.min(axis=1)
            result[label] = max(float(nearest.mean() - deviations * nearest.std()), 0.0)
    known = result[~np.isnan(result)]
    result[np.isnan(result)] = known.mean() if len(known) else 0.0
    return np.round(result, DECIMALS)


def close_pairs(
    generated: Floats, training: Floats, labels: Ints, thresholds: Floats, *, neighbours: int, pairs_max: int
) -> Ints:
    """Pairs (P, 2) of generated and training index to be verified, closest first, ties by index.

    Of each generated image only its ``neighbours`` nearest training images are looked at, and of all pairs within
    their class's threshold only the ``pairs_max`` closest are kept.
    """
    between = distances(generated, training)
    nearest = np.argsort(between, axis=1, kind="stable")[:, :neighbours]
    first = np.repeat(np.arange(len(generated)), nearest.shape[1])
    second = nearest.flatten()
    distance = between[first, second]
    within = distance <= thresholds[labels[second]]
    first, second, distance = first[within], second[within], distance[within]
    order = np.lexsort((second, first, distance))[:pairs_max]
    return np.stack([first[order], second[order]], axis=1).astype(np.int64)


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
