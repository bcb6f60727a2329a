"""Pictures of many kinds to train a fingerprinter on: each at every size that it fills.

A source is a data set known by name or a folder with pictures at any depth. What is no readable picture of at least 8
pixels is left out and counted. A sixth of each source, at most 500 pictures, is held out: which ones depends on their
number alone, so the same pictures are unseen by every training from the same source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffusion.config import IMAGE_SIZES
from diffusion.data.folder import open_square, to_array
from diffusion.data.partition import permutation
from diffusion.errors import DatasetError
from diffusion.progress import Report, silent
from pdfedchain.ids import Hash

__all__ = ["HELD_OUT_SEED", "Pictures", "read_pictures"]

#: Which pictures are held out must not depend on anything a training chooses.
HELD_OUT_SEED: Final = Hash(hashlib.sha256(b"pdfed/held-out/v1").digest())
_HELD_OUT_SHARE: Final = 6
_HELD_OUT_MAX: Final = 500
_PICTURES_MAX: Final = 20_000
_PICTURES_MIN: Final = 64

Sizes = Mapping[int, NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """Of one source: ``train`` and ``held_out`` map an image size to uint8 (N, C, S, S); ``unusable`` were left out."""

    name: str
    train: Sizes
    held_out: Sizes
    unusable: int


def read_pictures(name: str, sizes: tuple[int, ...] = IMAGE_SIZES, report: Report = silent) -> Pictures:
    """Read a source.

    Raises:
        DatasetError: it is unknown, or has fewer than 64 usable pictures.
    """
    unusable = 0
    if name in ("digits", "fashion-mnist"):
        at = _of_data_set(name, sizes)
    else:
        at, unusable = _of_folder(Path(name), sizes, report)
        name = Path(name).name
    count = len(next(iter(at.values())))
    order = permutation(count, HELD_OUT_SEED)[:_PICTURES_MAX]
    held = min(len(order) // _HELD_OUT_SHARE, _HELD_OUT_MAX)
    return Pictures(
        name,
        {size: images[np.sort(order[held:])] for size, images in at.items()},
        {size: images[np.sort(order[:held])] for size, images in at.items()},
        unusable,
    )


def _of_data_set(name: str, sizes: tuple[int, ...]) -> dict[int, NDArray[np.uint8]]:
    if name == "digits":
        from diffusion.data.digits import load_digits

        return {8: load_digits().images}
    from diffusion.data.fashion import load_fashion

    return {side: load_fashion("train", side=side).images for side in sizes if side <= 32}


def _of_folder(folder: Path, sizes: tuple[int, ...], report: Report) -> tuple[dict[int, NDArray[np.uint8]], int]:
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder", hint="Name a folder of images, digits or fashion-mnist.")
    Image.init()
    suffixes = frozenset(Image.registered_extensions())
    paths = sorted(path for path in folder.rglob("[!.]*") if path.is_file() and path.suffix.lower() in suffixes)
    rows: dict[int, list[NDArray[np.uint8]]] = {size: [] for size in sizes}
    unusable = 0
    for done, path in enumerate(paths, start=1):
        try:
            square = open_square(path)
        except DatasetError:
            unusable += 1
            continue
        if square.width < max(sizes):
            unusable += 1
            continue
        for size in sizes:
            rows[size].append(to_array(square, size, grey=False))
        report("read images", done, len(paths), 0.0)
    count = len(rows[sizes[0]])
    if count < _PICTURES_MIN:
        raise DatasetError(
            f"{folder} has {count} usable images, at least {_PICTURES_MIN} are needed",
            hint=f"Add images of {max(sizes)} pixels or more.",
        )
    return {size: np.stack(some) for size, some in rows.items()}, unusable
