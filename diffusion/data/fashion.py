"""Fashion-MNIST: 70,000 grey images of 28 pixels in ten classes (Xiao et al. 2017, arXiv 1708.07747; MIT licence).

Read where Debian's package ``dataset-fashion-mnist`` has it, or from the folder that ``PDFED_FASHION_MNIST`` names.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffusion.data.images import LabelledImages
from diffusion.errors import DatasetError

__all__ = ["load_fashion"]

_FOLDER: Final = "/usr/share/datasets/fashion-mnist"
_SIDE_PX: Final = 28
_FILES: Final = {"train": "train", "test": "t10k"}


def load_fashion(part: str = "train", *, side: int = 16) -> LabelledImages:
    """One part of the data set, ``train`` (60,000) or ``test`` (10,000), resized.

    Raises:
        DatasetError: the files are missing or damaged.
    """
    folder = Path(os.environ.get("PDFED_FASHION_MNIST") or _FOLDER)
    stem = _FILES[part]
    images = _read(folder / f"{stem}-images-idx3-ubyte.gz", 16).reshape(-1, _SIDE_PX, _SIDE_PX)
    labels = _read(folder / f"{stem}-labels-idx1-ubyte.gz", 8)
    if len(images) != len(labels):
        raise DatasetError(f"{folder} has {len(images)} images and {len(labels)} labels of {part}")
    if side != _SIDE_PX:
        images = np.stack(
            [np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.LANCZOS)) for one in images]
        )
    return LabelledImages(images[:, None], labels.astype(np.int64))


def _read(path: Path, header_bytes: int) -> NDArray[np.uint8]:
    try:
        return np.frombuffer(gzip.decompress(path.read_bytes()), dtype=np.uint8, offset=header_bytes)
    except (OSError, EOFError, ValueError) as error:
        raise DatasetError(
            f"{path} cannot be read: {error}",
            hint="Install Debian's dataset-fashion-mnist, or name its folder in PDFED_FASHION_MNIST.",
        ) from error
