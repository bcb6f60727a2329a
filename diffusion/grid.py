"""A picture of many samples: one row per class."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["write_grid"]

_GAP_PX: Final = 2
_BACKGROUND: Final = 255


def write_grid(output: Path, images: NDArray[np.uint8], *, columns: int, scale: int) -> tuple[int, int]:
    """Write uint8 images (rows * columns, C, S, S), enlarged ``scale`` times, as PNG; returns width and height.

    Enlarging is bicubic: an eye reads a smooth digit where it sees only the edges of sixty-four squares.

    The file appears complete or not at all; an older one of that name is replaced.
    """
    count, channels, side, _ = images.shape
    rows = count // columns
    assert rows * columns == count, (count, columns)
    cell = side * scale
    width, height = (number * (cell + _GAP_PX) + _GAP_PX for number in (columns, rows))
    canvas = np.full((height, width, channels), _BACKGROUND, dtype=np.uint8)
    for index, image in enumerate(images):
        top, left = (_GAP_PX + number * (cell + _GAP_PX) for number in divmod(index, columns))
        planes = (Image.fromarray(plane).resize((cell, cell), Image.Resampling.BICUBIC) for plane in image)
        canvas[top : top + cell, left : left + cell] = np.stack([np.asarray(plane) for plane in planes], axis=-1)
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        Image.fromarray(canvas[..., 0] if channels == 1 else canvas).save(temporary, format="PNG")
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)
    return width, height
