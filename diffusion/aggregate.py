"""Combining several parents into one starting point: the plain average of their weights (McMahan et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["average_weights"]


def average_weights(parents: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Mean of each tensor over the parents, in float64, given back in the tensors' own type."""
    assert parents, "nothing to average"
    return {
        name: np.mean([parent[name] for parent in parents], axis=0, dtype=np.float64).astype(first.dtype)
        for name, first in parents[0].items()
    }
