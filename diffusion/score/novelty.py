"""Which generated images are copies of which training images, among many: the search and the two thresholds.

The rules are the consensus score's (`diffusion.score.retrieval`, PDFed section 3.2), so with the same images and
float64 the same pairs come out; a test holds that. The search is in bounded memory, every close pair is verified rather
than the closest thousand, and images that are equal pixel by pixel are copies whatever a verifier says of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffusion.score.nearest import nearest
from diffusion.score.retrieval import DECIMALS, greedy_matching

__all__ = ["Matches", "find_matches", "thresholds"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """All checked pairs, closest first.

    Attributes:
        pairs: int64 (P, 2), generated and training index.
        distances: float64 (P,), between fingerprints.
        similarities: float64 (P,), the verifier's.
        confirmed: positions of confirmed pairs, by falling similarity; each image is in one at most.
    """

    pairs: Ints
    distances: NDArray[np.float64]
    similarities: NDArray[np.float64]
    confirmed: Ints

    @property
    def v_a(self) -> float:
        """Mean similarity of all checked pairs."""
        return float(self.similarities.mean()) if len(self.pairs) else 0.0

    @property
    def v_c(self) -> float:
        """Mean similarity of confirmed pairs."""
        return float(self.similarities[self.confirmed].mean()) if len(self.confirmed) else 0.0


def thresholds(fingerprints: Floats, labels: Ints, *, deviations: float) -> NDArray[np.float64]:
    """T_c = mean - deviations * standard deviation of distances to the nearest of the same class, as (classes,)."""
    result = []
    for label in range(int(labels.max()) + 1):
        members = fingerprints[labels == label]
        away = np.round(nearest(members, members, count=1, same=True)[0][:, 0], DECIMALS)
        result.append(max(float(away.mean() - deviations * away.std()), 0.0))
    return np.round(np.array(result), DECIMALS)


def find_matches(
    generated: Floats,
    train: Floats,
    labels: Ints,
    verify: Callable[[Ints], NDArray[np.float64]],
    *,
    identical: Ints,
    neighbours: int,
    deviations: float,
    match_threshold: float,
) -> Matches:
    """Search, verify and match one to one.

    Args:
        generated: fingerprints (n, F).
        train: fingerprints (m, F); every class has at least 2.
        labels: class of each training image.
        verify: similarity of pairs (P, 2).
        identical: pairs (Q, 2) known to be equal; they are checked pairs of similarity 1 at distance 0.
    """
    by_class = thresholds(train, labels, deviations=deviations)
    distance, index = nearest(generated, train, count=neighbours)
    distance = np.round(distance, DECIMALS)
    first, column = np.nonzero(distance <= by_class[labels[index]])
    pairs = np.stack([first, index[first, column]], axis=1).astype(np.int64)
    away = distance[first, column]
    equal = set(map(tuple, identical.tolist()))
    unlike = np.array([pair not in equal for pair in map(tuple, pairs.tolist())], dtype=bool)
    pairs = np.concatenate([pairs[unlike], identical.reshape(-1, 2)])
    away = np.concatenate([away[unlike], np.zeros(len(identical))])
    similarity = np.concatenate(
        [np.round(verify(pairs[: len(pairs) - len(identical)]), DECIMALS), np.ones(len(identical))]
    )
    order = np.lexsort((pairs[:, 1], pairs[:, 0], away))
    pairs, away, similarity = pairs[order], away[order], similarity[order]
    return Matches(pairs, away, similarity, greedy_matching(pairs, similarity, threshold=match_threshold))
