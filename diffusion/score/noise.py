"""Normal noise that is the same on every machine, bit by bit.

``torch.randn`` differs between instruction sets, sizes and devices. Here noise is SHAKE-256 of the seed and the
image's index, read as 16-bit numbers that look up a table of 65,536 normal quantiles stored as integers (unit
2**-20, so every value is exact in float32 and float64). Noise belongs to an image's index, never to its place in a
batch. The table's 16 bits end the tails at 4.3 standard deviations: of no consequence to a sampler. The
table is part of a node's self-test (`diffusion.score.golden`).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pdfedchain.crypto import tagged_hash
from pdfedchain.ids import Hash

__all__ = ["labels_balanced", "noise_images", "quantile_table"]

_TABLE_SIZE: Final = 65_536
_UNIT: Final = 2**20
_TAG: Final = "pdfed/noise/v1"


@lru_cache(maxsize=1)
def quantile_table() -> NDArray[np.int32]:
    """Quantiles of the standard normal distribution at (i + 1/2) / 65,536, in units of 2**-20."""
    normal = NormalDist()
    upper = [round(normal.inv_cdf((i + 0.5) / _TABLE_SIZE) * _UNIT) for i in range(_TABLE_SIZE // 2, _TABLE_SIZE)]
    return np.array([-value for value in reversed(upper)] + upper, dtype=np.int32)


def noise_images(seed: Hash, first: int, count: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Standard normal noise of images ``first`` to ``first + count - 1``, shape (count, *shape), float64."""
    size = int(np.prod(shape))
    table = quantile_table()
    prefix = tagged_hash(_TAG, seed)
    rows = [
        np.frombuffer(hashlib.shake_256(prefix + index.to_bytes(8, "big")).digest(2 * size), dtype="<u2")
        for index in range(first, first + count)
    ]
    noise: NDArray[np.float64] = table[np.stack(rows)].astype(np.float64) / _UNIT
    return noise.reshape(count, *shape)


def labels_balanced(n: int, classes: int) -> NDArray[np.int64]:
    """Label of image i is i modulo the number of classes: balanced for every n, independent of batches."""
    return np.arange(n, dtype=np.int64) % classes
