"""A picture of the worst pairs: generated images on the left, the training images they copy on the right."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from diffusion.data.folder import open_square
from diffusion.score.folders import Pair

__all__ = ["write_pairs_picture"]

_CELL_PX: Final = 128
_GAP_PX: Final = 4
_CAPTION_PX: Final = 16
_COLUMNS: Final = 4
_NAME_LENGTH_MAX: Final = 32


def write_pairs_picture(path: Path, generated: Path, train: Path, pairs: Sequence[Pair]) -> tuple[int, int]:
    """Write a PNG with up to four pairs a row, each captioned with its similarity; returns width and height.

    Confirmed pairs have their caption in red. The file appears complete or not at all.

    Args:
        generated: folder that the pairs' first paths are relative to.
        train: likewise, of their second paths.
        pairs: at least one, in the order shown.

    Raises:
        DatasetError: a file is not a usable image any more.
    """
    columns = min(_COLUMNS, len(pairs))
    rows = -(-len(pairs) // columns)
    width_pair, height_pair = 2 * _CELL_PX + 4 * _GAP_PX, _CELL_PX + _CAPTION_PX + 2 * _GAP_PX
    canvas = Image.new("RGB", (columns * width_pair, rows * height_pair), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default()
    for position, pair in enumerate(pairs):
        row, column = divmod(position, columns)
        left, top = column * width_pair + _GAP_PX, row * height_pair + _GAP_PX
        for file, x in ((generated / pair.generated, left), (train / pair.train, left + _CELL_PX + _GAP_PX)):
            square = open_square(file).convert("RGB")
            # small images by whole pixels, so that an eye can compare them
            how = Image.Resampling.NEAREST if square.width < _CELL_PX else Image.Resampling.LANCZOS
            canvas.paste(square.resize((_CELL_PX, _CELL_PX), how), (x, top))
        colour = "#b00020" if pair.confirmed else "#606060"
        caption = f"{pair.similarity:.3f}  {Path(pair.train).name[-_NAME_LENGTH_MAX:]}"
        draw.text((left, top + _CELL_PX + 2), caption, fill=colour, font=font)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        canvas.save(temporary, format="PNG")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return canvas.size
