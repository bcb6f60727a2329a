"""Features of all images of a folder, computed batch by batch and remembered.

Only features and fingerprints stay in memory, 128 numbers each with the small networks. The verifier's maps are much
larger, and are computed again for the few images that are in a checked pair.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from diffusion.data.listing import ImageFolder, digest_files, read_images
from diffusion.errors import CheckpointRefused, DatasetError
from diffusion.progress import Report, silent
from diffusion.score.feature_store import FeatureStore
from diffusion.score.fingerprint import describe
from diffusion.score.scorer import LITE, Scorer
from diffusion.score.verifier import similarities
from diffusion.tensorfile import DTYPE_NAMES

__all__ = ["FolderFeatures", "describe_folder", "pair_similarities", "scorer_digest"]

_BATCH: Final = 256
#: Pairs whose images are in memory at a time: 125 MB at most, at 64 pixels, while the next ones are read.
_PAIRS: Final = 2_048
#: Pairs from one report of progress to the next.
_REPORTED: Final = 512
#: With fewer, threads wait for each other more often than they work.
_VERIFIED: Final = 256
#: The paper's networks enlarge images to 256 pixels: 32 of them take 130 MB after the first layer.
_LARGE_AT_ONCE: Final = 32
_LOOKED_UP: Final = 4_096
_PIXELS_DIGEST_SIZE_BYTES: Final = 32


@dataclass(frozen=True, slots=True, eq=False)
class FolderFeatures:
    """Of the N images of a folder.

    Attributes:
        features: (N, D), scaled by the scorer's scale, in the scorer's precision.
        fingerprints: (N, F), of unit length.
        pixels: SHA-256 of each image's pixels at the scorer's size.
        computed: how many had to be computed; the others were remembered.
    """

    folder: ImageFolder
    features: NDArray[np.floating[Any]]
    fingerprints: NDArray[np.floating[Any]]
    pixels: tuple[bytes, ...]
    computed: int

    def __len__(self) -> int:
        return len(self.folder)


def scorer_digest(scorer: Scorer) -> bytes:
    """SHA-256 of what decides a feature: the weights in their precision, construction, image size, channels, scale."""
    about = (scorer.construction, scorer.image_size, scorer.channels, scorer.feature_scale)
    digest = hashlib.sha256(repr(about).encode())
    for module in scorer.modules():
        for name, tensor in sorted(module.state_dict().items()):
            array = tensor.detach().cpu().numpy()
            digest.update(f"{name} {DTYPE_NAMES[array.dtype]} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.digest()


def describe_folder(
    scorer: Scorer, folder: ImageFolder, store: FeatureStore, *, stage: str, report: Report = silent
) -> FolderFeatures:
    """Features of every image, from the store where it has them.

    Args:
        stage: the name under which progress is reported.

    Raises:
        DatasetError: a file is not a usable image.
    """
    digests = digest_files(folder, report)
    dtype = next(scorer.fingerprinter.parameters()).detach().cpu().numpy().dtype
    size = scorer.feature_size
    table = np.empty((len(digests), size + scorer.fingerprinter.fingerprint_size), dtype=dtype)
    pixels = [b""] * len(digests)

    def fill(index: int, row: bytes) -> None:
        pixels[index] = row[:_PIXELS_DIGEST_SIZE_BYTES]
        table[index] = np.frombuffer(row, dtype=dtype, offset=_PIXELS_DIGEST_SIZE_BYTES)

    first: dict[bytes, int] = {}  # files of one content are described once
    for start in range(0, len(digests), _LOOKED_UP):
        some = digests[start : start + _LOOKED_UP]
        rows = store.get(list(dict.fromkeys(some)))
        for index, digest in enumerate(some, start=start):
            if digest in rows:
                fill(index, rows[digest])
            else:
                first.setdefault(digest, index)
    missing = list(first.values())
    done = 0
    for images in read_images(folder, missing, channels=scorer.channels, side=scorer.image_size, batch_size=_BATCH):
        which = missing[done : done + len(images)]
        new = _rows(scorer, images, folder, which)
        store.put(dict(zip((digests[index] for index in which), new, strict=True)))
        for index, row in zip(which, new, strict=True):
            fill(index, row)
        done += len(images)
        report(stage, done, len(missing), 0.0)
    for index, digest in enumerate(digests):
        if not pixels[index]:
            pixels[index], table[index] = pixels[first[digest]], table[first[digest]]
    table[:, :size] *= scorer.feature_scale
    return FolderFeatures(folder, table[:, :size], table[:, size:], tuple(pixels), len(missing))


def _described_at_once(scorer: Scorer) -> int:
    return _BATCH if scorer.construction == LITE else _LARGE_AT_ONCE


def _verified_at_once(scorer: Scorer) -> int:
    return _VERIFIED if scorer.construction == LITE else _LARGE_AT_ONCE // 2


def _rows(scorer: Scorer, images: NDArray[np.uint8], folder: ImageFolder, which: Sequence[int]) -> list[bytes]:
    """What the store keeps of each image: digest of pixels, features, fingerprint."""
    try:
        described = describe(
            scorer.fingerprinter, images, extractor=scorer.extractor, batch_size=_described_at_once(scorer)
        )
    except CheckpointRefused as error:
        raise DatasetError(
            f"a feature of an image between {folder.path(which[0])} and {folder.path(which[-1])} is not a number",
            hint="The scorer does not fit these images; train another one.",
        ) from error
    dtype = next(scorer.fingerprinter.parameters()).detach().cpu().numpy().dtype
    table = np.concatenate([described.features, described.fingerprints], axis=1).astype(dtype)
    return [hashlib.sha256(image.tobytes()).digest() + row.tobytes() for image, row in zip(images, table, strict=True)]


def pair_similarities(
    scorer: Scorer, first: ImageFolder, second: ImageFolder, pairs: NDArray[np.int64], report: Report = silent
) -> NDArray[np.float64]:
    """s in [0, 1] of each pair; ``pairs`` (P, 2) indexes the first and the second folder. Unrounded.

    No other images are in memory than those of a few pairs.
    """
    found = np.empty(len(pairs))
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    for start in range(0, len(pairs), _PAIRS):
        block = order[start : start + _PAIRS]
        images: list[NDArray[np.uint8]] = []
        places = []
        for column, folder in enumerate((first, second)):
            unique, place = np.unique(pairs[block, column], return_inverse=True)
            images += read_images(folder, unique, channels=scorer.channels, side=scorer.image_size, batch_size=_PAIRS)
            places.append(place)
        ours, theirs = images
        within = np.stack(places, axis=1)
        for done in range(0, len(block), _REPORTED):
            rows = slice(done, done + _REPORTED)
            found[block[rows]] = similarities(
                scorer.fingerprinter, scorer.verifier, ours, theirs, within[rows], batch_size=_verified_at_once(scorer)
            )
            report("verify pairs", min(start + rows.stop, len(pairs)), len(pairs), 0.0)
    return found
