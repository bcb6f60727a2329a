"""A person's own images: one sub-folder per class, any format Pillow reads.

All images are cropped to their central square and resized to one common size, the largest of 8, 16, 32 and 64
pixels that the median image fills; they are grey if all of them are. Whatever is wrong is an error that names the
file or the class: nothing is skipped silently but names that start with a dot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from diffusion.config import IMAGE_SIZES
from diffusion.data.images import LabelledImages
from diffusion.errors import DatasetError
from diffusion.progress import Report, silent

__all__ = ["common_side", "load_folder", "open_square", "to_array"]

_CLASSES_MAX: Final = 1_000
_SIDE_PX_MIN: Final = min(IMAGE_SIZES)
_GREY_MODES: Final = frozenset({"1", "L", "I;16", "I", "F"})


def load_folder(folder: Path, *, images_per_class_min: int, report: Report = silent) -> LabelledImages:
    """Every image below ``folder``; labels follow the class folders' sorted names.

    Raises:
        DatasetError: not a folder of class folders, an unreadable or too small image, or a class with too few.
    """
    by_class = _list_classes(folder, images_per_class_min)
    total = sum(len(paths) for _, paths in by_class)
    opened: list[Image.Image] = []
    labels: list[int] = []
    for label, (_, paths) in enumerate(by_class):
        for path in paths:
            opened.append(open_square(path))
            labels.append(label)
            report("read images", len(opened), total, 0.0)
    side = common_side([image.width for image in opened])
    grey = all(image.mode == "L" for image in opened)
    pixels = np.stack([to_array(image, side, grey) for image in opened])
    return LabelledImages(pixels, np.array(labels, dtype=np.int64))


def _list_classes(folder: Path, images_per_class_min: int) -> list[tuple[str, list[Path]]]:
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder", hint="Name a folder with one sub-folder of images per class.")
    visible = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    classes = [path for path in visible if path.is_dir()]
    stray = [path for path in visible if path.suffix.lower() in Image.registered_extensions() and path.is_file()]
    if stray:
        raise DatasetError(
            f"{stray[0]} lies outside the class folders", hint="Put every image into the sub-folder of its class."
        )
    if len(classes) < 2:
        raise DatasetError(
            f"{folder} has {len(classes)} class folders, at least 2 are needed",
            hint="Make one sub-folder of images per class.",
        )
    if len(classes) > _CLASSES_MAX:
        raise DatasetError(f"{folder} has {len(classes)} class folders, at most {_CLASSES_MAX} are supported")
    result = []
    for path in classes:
        files = sorted(item for item in path.iterdir() if not item.name.startswith("."))
        if len(files) < images_per_class_min:
            raise DatasetError(
                f"class {path.name!r} has {len(files)} images, at least {images_per_class_min} are needed",
                hint=f"Add images to {path}, or use fewer nodes.",
            )
        result.append((path.name, files))
    return result


def open_square(path: Path) -> Image.Image:
    """The central square in mode L or RGB, transparency on white, at most four times the largest size.

    Raises:
        DatasetError: it is no image, is too small or too large, has pixels that are no numbers, or more than 8 bits.
    """
    try:
        with Image.open(path) as file:
            image: Image.Image = file
            if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
                raise Image.DecompressionBombError
            image.load()
            grey = image.mode in _GREY_MODES
            if image.mode == "F" and not np.isfinite(np.asarray(image)).all():
                raise DatasetError(
                    f"{path} has pixels that are not numbers (NaN or infinite)", hint="Remove or replace this file."
                )
            if image.mode in ("I;16", "I", "F"):
                raise DatasetError(f"{path} has more than 8 bits per pixel", hint="Convert it to 8 bits.")
            if "A" in image.getbands() or "transparency" in image.info:
                layered = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered)
                grey = False
            converted = image.convert("L" if grey else "RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise DatasetError(f"{path} is not a readable image", hint="Remove or replace this file.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DatasetError(f"{path} is too large an image", hint="Scale it down first.") from error
    side = min(converted.size)
    if side < _SIDE_PX_MIN:
        raise DatasetError(f"{path} is {converted.width} x {converted.height}, at least {_SIDE_PX_MIN} pixels needed")
    left, top = (converted.width - side) // 2, (converted.height - side) // 2
    square = converted.crop((left, top, left + side, top + side))
    if side > 4 * max(IMAGE_SIZES):
        square = square.resize((4 * max(IMAGE_SIZES),) * 2, Image.Resampling.BOX)
    if not grey and _is_colourless(square):
        square = square.getchannel(0)
    return square


def _is_colourless(image: Image.Image) -> bool:
    pixels = np.asarray(image)
    return bool((pixels[:, :, 0] == pixels[:, :, 1]).all() and (pixels[:, :, 1] == pixels[:, :, 2]).all())


def common_side(sides: Sequence[int]) -> int:
    """The largest of the supported image sizes that the median of ``sides`` fills, all in pixels."""
    median = float(np.median(sides))
    return max(size for size in IMAGE_SIZES if size <= median)


def to_array(image: Image.Image, side: int, grey: bool) -> NDArray[np.uint8]:
    """A square image as uint8 (1 or 3, side, side)."""
    converted = image.convert("L" if grey else "RGB")
    if converted.width != side:
        converted = converted.resize((side, side), Image.Resampling.LANCZOS)
    array = np.asarray(converted, dtype=np.uint8)
    return array[None] if grey else np.ascontiguousarray(array.transpose(2, 0, 1))
