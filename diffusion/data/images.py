"""Labelled images in memory and on disk.

Images are uint8 (N, C, H, W), labels int64 (N,), 0-based. A shard is a folder with ``images.safetensors`` holding
``images`` and ``labels``; the reference set is a folder with ``train_images, train_labels, test_images,
test_labels`` in the same file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from diffusion.errors import DatasetError, TensorFileError
from diffusion.tensorfile import read_tensors, write_tensors

__all__ = [
    "IMAGES_FILE",
    "LabelledImages",
    "Reference",
    "concatenate",
    "read_reference",
    "read_shard",
    "read_training_images",
    "write_reference",
    "write_shard",
]

IMAGES_FILE: Final = "images.safetensors"

#: Our own files on our own disk; the bound only keeps a wrong path from filling the memory.
_SIZE_BYTES_MAX: Final = 16 * 2**30


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImages:
    """``images`` uint8 (N, C, H, W) and ``labels`` int64 (N,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        assert self.images.dtype == np.uint8, self.images.dtype
        assert self.images.ndim == 4, self.images.shape
        assert self.labels.shape == self.images.shape[:1], (self.labels.shape, self.images.shape)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Any) -> LabelledImages:
        """The images at ``indices`` (anything numpy indexes with)."""
        return LabelledImages(self.images[indices], self.labels[indices])


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """The public images of a task: quality is measured on ``test``, novelty on both."""

    train: LabelledImages
    test: LabelledImages


def concatenate(*parts: LabelledImages) -> LabelledImages:
    """All images in the order given."""
    return LabelledImages(
        np.concatenate([part.images for part in parts]), np.concatenate([part.labels for part in parts])
    )


def write_shard(folder: Path, shard: LabelledImages) -> None:
    """Write ``images.safetensors`` into an existing folder."""
    write_tensors(folder / IMAGES_FILE, {"images": shard.images, "labels": shard.labels})


def write_reference(folder: Path, reference: Reference) -> None:
    """Write ``images.safetensors`` of a reference set into an existing folder."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, part in (("train", reference.train), ("test", reference.test)):
        arrays[f"{name}_images"], arrays[f"{name}_labels"] = part.images, part.labels
    write_tensors(folder / IMAGES_FILE, arrays)


def read_shard(folder: Path) -> LabelledImages:
    """The images of a private shard.

    Raises:
        DatasetError: the folder is not a shard.
    """
    return _part(_read(folder), "", folder)


def read_reference(folder: Path) -> Reference:
    """Both parts of a reference set.

    Raises:
        DatasetError: the folder is not a reference set.
    """
    arrays = _read(folder)
    return Reference(train=_part(arrays, "train_", folder), test=_part(arrays, "test_", folder))


def read_training_images(folder: Path) -> LabelledImages:
    """What may be trained on: all of a shard, or the train part of a reference set.

    Raises:
        DatasetError: the folder is neither.
    """
    arrays = _read(folder)
    return _part(arrays, "train_" if "train_images" in arrays else "", folder)


def _read(folder: Path) -> dict[str, NDArray[Any]]:
    path = folder / IMAGES_FILE
    try:
        return read_tensors(path, size_bytes_max=_SIZE_BYTES_MAX)
    except FileNotFoundError:
        raise DatasetError(f"{path} does not exist", hint="Name a folder that `pdfed genesis` has prepared.") from None
    except (OSError, TensorFileError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error


def _part(arrays: dict[str, NDArray[Any]], prefix: str, folder: Path) -> LabelledImages:
    images, labels = arrays.get(f"{prefix}images"), arrays.get(f"{prefix}labels")
    if images is None or labels is None:
        raise DatasetError(f"{folder / IMAGES_FILE} lacks {prefix}images or {prefix}labels")
    if images.dtype != np.uint8 or images.ndim != 4 or labels.dtype != np.int64:
        raise DatasetError(f"{folder / IMAGES_FILE} needs uint8 images (N, C, H, W) and int64 labels (N,)")
    if labels.shape != images.shape[:1] or len(labels) == 0:
        raise DatasetError(f"{folder / IMAGES_FILE} has {len(images)} images and {labels.size} labels")
    return LabelledImages(images, labels)
