"""Any folder of images, listed without reading them: for sets that are measured rather than trained on.

A folder has its images either directly in it or in one sub-folder per class (which may have folders of its own).
Formats and sizes may be mixed. What has no image's file name, for example a list of prompts, is counted and left out;
what has one and cannot be read is an error that names it, when its turn comes. Images are read in batches, large ones
by a few threads, so a hundred thousand of them need the memory of a few hundred.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffusion.data.folder import common_side, open_square, to_array
from diffusion.errors import DatasetError
from diffusion.progress import Report, silent

__all__ = ["ImageFolder", "check_classes", "digest_files", "list_images", "read_images", "shape_of"]

_READERS: Final = 2
#: Files below this size are read where they are needed: threads of their own would take more time from those of the
#: networks than they save.
_SMALL_SIZE_BYTES: Final = 32_768
#: Images that a reader takes at once: a hand-over takes as long as reading a small one.
_READ_AT_ONCE: Final = 32
_HASH_AT_ONCE: Final = 512
#: Images looked at to find out the common size and whether there is colour.
_LOOKED_AT_MAX: Final = 2_000


@dataclass(frozen=True, slots=True, eq=False)
class ImageFolder:
    """Where images are.

    Attributes:
        root: the folder.
        names: paths relative to it, by class and name.
        labels: int64 (N,); all zero in a flat folder.
        classes: names of the class folders; empty in a flat folder.
        others: files left out since their names are no image's.
    """

    root: Path
    names: tuple[str, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    others: int

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> Path:
        """Of one image."""
        return self.root / self.names[index]

    def take(self, indices: NDArray[np.int64]) -> ImageFolder:
        """Some of the images."""
        return replace(self, names=tuple(self.names[index] for index in indices), labels=self.labels[indices])


def list_images(root: Path) -> ImageFolder:
    """List a flat folder or one of class folders.

    Raises:
        DatasetError: there is no such folder, it has no images, or images both inside and outside class folders.
    """
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder", hint="Name a folder of images.")
    Image.init()
    suffixes = frozenset(Image.registered_extensions())
    visible = sorted(path for path in root.iterdir() if not path.name.startswith("."))
    direct = [path for path in visible if path.is_file()]
    by_class = [
        (path.name, sorted(file for file in path.rglob("[!.]*") if file.is_file())) for path in visible if path.is_dir()
    ]
    everything = [("", direct), *by_class]
    images = {
        name: [file.relative_to(root).as_posix() for file in files if file.suffix.lower() in suffixes]
        for name, files in everything
    }
    others = sum(len(files) for _, files in everything) - sum(len(names) for names in images.values())
    flat = images.pop("")
    if not flat and not any(images.values()):
        raise DatasetError(f"{root} holds no images", hint="Name a folder of images, or of one sub-folder per class.")
    if flat:
        if any(images.values()):
            inside = next(names[0] for names in images.values() if names)
            raise DatasetError(
                f"{root} has images both outside class folders ({flat[0]}) and inside ({inside})",
                hint="Put every image into the sub-folder of its class, or all of them directly into the folder.",
            )
        return ImageFolder(root, tuple(flat), np.zeros(len(flat), dtype=np.int64), (), others)
    empty = next((name for name, names in images.items() if not names), None)
    if empty is not None:
        raise DatasetError(f"class {empty!r} of {root} holds no images", hint="Add images, or remove the folder.")
    labels = np.repeat(np.arange(len(images)), [len(names) for names in images.values()]).astype(np.int64)
    return ImageFolder(root, tuple(name for names in images.values() for name in names), labels, tuple(images), others)


def check_classes(folder: ImageFolder, against: ImageFolder, *, per_class_min: int = 1) -> None:
    """Refuse a folder whose class folders are not those of another; a flat one is a set without classes.

    Raises:
        DatasetError: a class is missing in either, or has fewer than ``per_class_min`` images.
    """
    for name, count in zip(folder.classes, np.bincount(folder.labels), strict=False):
        if count < per_class_min:
            raise DatasetError(
                f"class {name!r} of {folder.root} has {count} image, at least {per_class_min} are needed",
                hint="Add images of this class, or remove its folder.",
            )
    if not folder.classes or not against.classes:
        return
    for one, other in ((folder, against), (against, folder)):
        missing = [name for name in one.classes if name not in other.classes]
        if missing:
            raise DatasetError(
                f"class {missing[0]!r} of {one.root} is missing in {other.root}",
                hint="Give both the same class folders; or put all images directly into the folder if classes do "
                "not matter.",
            )


def digest_files(folder: ImageFolder, report: Report = silent) -> list[bytes]:
    """SHA-256 of every file, by which features are remembered.

    Raises:
        DatasetError: a file cannot be read.
    """
    digests: list[bytes] = []
    with ThreadPoolExecutor(_READERS) as pool:
        each = map if _are_small(folder, range(len(folder))) else pool.map
        for start in range(0, len(folder), _HASH_AT_ONCE):
            end = min(start + _HASH_AT_ONCE, len(folder))
            digests += each(_digest, (folder.path(index) for index in range(start, end)))
            report("read files", end, len(folder), 0.0)
    return digests


def _digest(path: Path) -> bytes:
    return hashlib.sha256(_content(path)).digest()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error


def shape_of(folder: ImageFolder, report: Report = silent, *, looked_at_max: int = _LOOKED_AT_MAX) -> tuple[int, int]:
    """Channels (1 if all images are grey, else 3) and the common size in pixels, from up to so many of the images."""
    step = -(-len(folder) // looked_at_max)
    grey, sides = True, []
    chosen = range(0, len(folder), step)
    for done, index in enumerate(chosen, start=1):
        image = open_square(folder.path(index))
        grey = grey and image.mode == "L"
        sides.append(image.width)
        report("look at images", done, len(chosen), 0.0)
    return (1 if grey else 3), common_side(sides)


def _are_small(folder: ImageFolder, indices: Sequence[int] | NDArray[np.int64]) -> bool:
    """Judged by the first of them."""
    try:
        return len(indices) > 0 and folder.path(int(indices[0])).stat().st_size < _SMALL_SIZE_BYTES
    except OSError:
        return False  # which reading it will tell


def read_images(
    folder: ImageFolder, indices: Sequence[int] | NDArray[np.int64], *, channels: int, side: int, batch_size: int
) -> Iterator[NDArray[np.uint8]]:
    """Batches of the chosen images as uint8 (B, C, S, S); of large files, the next one is read while this one is used.

    Raises:
        DatasetError: a file is not a usable image.
    """

    def read(some: Sequence[int] | NDArray[np.int64]) -> list[NDArray[np.uint8]]:
        return [to_array(open_square(folder.path(int(index))), side, channels == 1) for index in some]

    def submit(batch: Sequence[int] | NDArray[np.int64]) -> list[Future[list[NDArray[np.uint8]]]]:
        return [
            pool.submit(read, batch[start : start + _READ_AT_ONCE]) for start in range(0, len(batch), _READ_AT_ONCE)
        ]

    batches = [indices[start : start + batch_size] for start in range(0, len(indices), batch_size)]
    if _are_small(folder, indices):
        for batch in batches:
            yield np.stack(read(batch))
        return
    with ThreadPoolExecutor(_READERS) as pool:
        waiting = None
        for batch in batches:
            coming = submit(batch)
            if waiting is not None:
                yield np.stack([image for future in waiting for image in future.result()])
            waiting = coming
        if waiting is not None:
            yield np.stack([image for future in waiting for image in future.result()])
