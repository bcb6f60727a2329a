from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffusion.data import Split
from diffusion.data.images import (
    IMAGES_FILE,
    read_reference,
    read_shard,
    read_training_images,
    write_reference,
    write_shard,
)
from diffusion.errors import DatasetError
from diffusion.tensorfile import write_tensors


def test_shards_and_references_survive_the_disk(digits: Split, tmp_path: Path) -> None:
    (tmp_path / "shard").mkdir()
    write_shard(tmp_path / "shard", digits.shards[0])
    write_reference(tmp_path, digits.reference)
    for expected, actual in (
        (digits.shards[0], read_shard(tmp_path / "shard")),
        (digits.shards[0], read_training_images(tmp_path / "shard")),
        (digits.reference.train, read_reference(tmp_path).train),
        (digits.reference.test, read_reference(tmp_path).test),
        (digits.reference.train, read_training_images(tmp_path)),
    ):
        np.testing.assert_array_equal(expected.images, actual.images)
        np.testing.assert_array_equal(expected.labels, actual.labels)


IMAGES = np.zeros((2, 1, 8, 8), np.uint8)
LABELS = np.zeros(2, np.int64)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": IMAGES}, "lacks"),
        ({"labels": LABELS}, "lacks"),
        ({"images": IMAGES.astype(np.float32), "labels": LABELS}, "needs uint8"),
        ({"images": IMAGES[:, 0], "labels": LABELS}, "needs uint8"),
        ({"images": IMAGES, "labels": LABELS.astype(np.int32)}, "needs uint8"),
        ({"images": IMAGES, "labels": LABELS[:1]}, "2 images and 1 labels"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "0 images and 0 labels"),
    ],
)
def test_what_is_no_shard_is_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    write_tensors(tmp_path / IMAGES_FILE, arrays)
    with pytest.raises(DatasetError, match=message):
        read_shard(tmp_path)


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        read_shard(tmp_path)
    (tmp_path / IMAGES_FILE).write_bytes(b"junk")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_reference(tmp_path)
