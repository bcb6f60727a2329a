"""Whether a person would recognise generated digits: a classifier trained on the real ones stands in."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffusion.data.digits import load_digits

__all__ = ["share_recognised"]


@lru_cache(maxsize=1)
def _classifier() -> Any:
    from sklearn.svm import SVC

    digits = load_digits()
    return SVC(gamma=0.001 * (16 / 255) ** 2).fit(digits.images.reshape(len(digits), -1).astype(float), digits.labels)


def share_recognised(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
    """Share of 8-pixel grey images, uint8 (N, 1, 8, 8), that the classifier takes for their label."""
    predicted = _classifier().predict(images.reshape(len(images), -1).astype(float))
    return float(np.mean(predicted == labels))
