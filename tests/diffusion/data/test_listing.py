"""Images of a folder in batches, read in place or by threads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusion.data import listing
from diffusion.data.listing import digest_files, list_images, read_images
from diffusion.errors import DatasetError

COUNT = 70


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Images of several sizes, some far larger as files than others."""
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        side = (16, 20, 120)[number % 3]
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(tmp_path / f"{number:02}.png")
    return tmp_path


def batches(root: Path, *, size: int = 33) -> list[np.ndarray]:
    return list(read_images(list_images(root), range(COUNT), channels=3, side=16, batch_size=size))


@pytest.mark.parametrize("first_side", [16, 200])
def test_threads_and_none_read_the_same(root: Path, first_side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (first_side, first_side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(root / "00.png")
    as_it_is, digests = batches(root), digest_files(list_images(root))
    assert [len(batch) for batch in as_it_is] == [33, 33, 4]
    for threshold in (0, 10**9):
        monkeypatch.setattr(listing, "_SMALL_SIZE_BYTES", threshold)
        np.testing.assert_array_equal(np.concatenate(batches(root)), np.concatenate(as_it_is))
        assert digest_files(list_images(root)) == digests


@pytest.mark.parametrize("threshold", [0, 10**9])
def test_an_unreadable_file_is_named_when_its_turn_comes(
    root: Path, threshold: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "40.png").write_bytes(b"no image")
    monkeypatch.setattr(listing, "_SMALL_SIZE_BYTES", threshold)
    reading = read_images(list_images(root), range(COUNT), channels=3, side=16, batch_size=10)
    assert [len(next(reading)) for _ in range(3)] == [10, 10, 10]
    with pytest.raises(DatasetError, match=r"40\.png is not a readable image"):
        list(reading)


def test_a_file_that_vanished_is_named(root: Path) -> None:
    listed = list_images(root)
    (root / "00.png").unlink()
    with pytest.raises(DatasetError, match=r"00\.png cannot be read"):
        digest_files(listed)
    with pytest.raises(DatasetError, match=r"00\.png is not a readable image"):
        list(read_images(listed, range(COUNT), channels=3, side=16, batch_size=10))
