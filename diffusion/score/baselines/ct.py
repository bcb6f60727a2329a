"""C_T: are generated images closer to the training images than test images are?

Meehan, Chaudhuri and Dasgupta, "A Non-Parametric Test to Detect Data-Copying in Generative Models", AISTATS 2020
(arXiv 2004.05675), section 4: in each cell of a partition the Mann-Whitney statistic of distances to the nearest
training image, z-scored under the null hypothesis; the mean over cells, weighted by their share of test images.
"""

from __future__ import annotations

import warnings
from typing import Final

import numpy as np
from numpy.typing import NDArray

from diffusion.score.nearest import Floats, nearest

__all__ = ["CELLS", "cells_of", "ct", "ct_of_cells", "z_score"]

#: Cells, dimensions kept, and generated images a cell needs, as in the published evaluations (Stein et al. 2023,
#: arXiv 2306.04675; Jiralerspong et al. 2023).
CELLS: Final = 3
_DIMENSIONS_MAX: Final = 64
_GENERATED_IN_CELL_MIN: Final = 20
#: Training images that the cells are fitted to; every image is assigned to one.
_FITTED_MAX: Final = 20_000


def ct(generated: Floats, train: Floats, test: Floats, *, cells: int = CELLS, seed: int = 0) -> float | None:
    """C_T of features (n, D), (m, D), (l, D): far below zero is copying, far above is underfitting.

    Features of more than 64 dimensions are projected to the training set's first 64 principal components first.

    Returns:
        The statistic, or ``None`` where no cell has more than 20 generated images, a training and a test image.
    """
    if train.shape[1] > _DIMENSIONS_MAX:
        from sklearn.decomposition import PCA

        projection = PCA(n_components=min(_DIMENSIONS_MAX, len(train)), random_state=seed).fit(train)
        generated, train, test = (projection.transform(features) for features in (generated, train, test))
    return ct_of_cells(generated, train, test, *cells_of(generated, train, test, cells=cells, seed=seed), cells=cells)


def cells_of(
    generated: Floats, train: Floats, test: Floats, *, cells: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The k-means cell of every image, with cells fitted to training images."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    rng = np.random.default_rng(seed)
    fitted = train if len(train) <= _FITTED_MAX else train[np.sort(rng.choice(len(train), _FITTED_MAX, replace=False))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different images than cells: empty cells
        model = KMeans(n_clusters=min(cells, len(fitted)), n_init=10, random_state=seed).fit(fitted)
    return tuple(model.predict(features.astype(fitted.dtype)) for features in (generated, train, test))


def ct_of_cells(
    generated: Floats,
    train: Floats,
    test: Floats,
    generated_cells: NDArray[np.int64],
    train_cells: NDArray[np.int64],
    test_cells: NDArray[np.int64],
    *,
    cells: int,
) -> float | None:
    """C_T under a given partition (equation 3 of the paper); `ct` makes one."""
    total, weight = 0.0, 0
    for cell in range(cells):
        ours, training, theirs = (
            generated[generated_cells == cell],
            train[train_cells == cell],
            test[test_cells == cell],
        )
        if len(ours) > _GENERATED_IN_CELL_MIN and len(training) and len(theirs):
            ours_away, theirs_away = (nearest(some, training, count=1)[0][:, 0] for some in (ours, theirs))
            total += len(theirs) * z_score(ours_away, theirs_away)
            weight += len(theirs)
    return total / weight if weight else None


def z_score(generated: NDArray[np.float64], test: NDArray[np.float64]) -> float:
    """Z_U of distances: how often a generated one is the larger, ties by half, against the null hypothesis.

    With the continuity correction of the authors' program.
    """
    n, m = len(generated), len(test)
    order = np.sort(test)
    below, up_to = (np.searchsorted(order, generated, side=side) for side in ("left", "right"))
    u = float((below + up_to).sum()) / 2
    return (u - (n * m / 2 - 0.5)) / float(np.sqrt(n * m * (n + m + 1) / 12))
