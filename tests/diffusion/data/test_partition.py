from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion.data import LabelledImages, Split, load_dataset, split
from diffusion.data.images import concatenate
from diffusion.data.partition import images_per_class_min, permutation
from diffusion.errors import DatasetError
from pdfedchain.ids import Hash

SEED = Hash(b"\x01" * 32)


def numbered(counts: list[int]) -> LabelledImages:
    """Images that carry their own number in their pixels."""
    labels = np.repeat(np.arange(len(counts)), counts)
    pixels = np.zeros((len(labels), 1, 2, 2), np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = np.divmod(np.arange(len(labels)), 256)
    return LabelledImages(pixels, labels)


def numbers(part: LabelledImages) -> list[int]:
    return [int(number) for number in part.images[:, 0, 0, 0].astype(int) * 256 + part.images[:, 0, 0, 1]]


def test_digits_are_split_as_the_demonstration_says(digits: Split) -> None:
    assert (len(digits.reference.train), len(digits.reference.test)) == (300, 300)
    assert sorted(len(shard) for shard in digits.shards) == [399, 399, 399]
    for part in (digits.reference.train, digits.reference.test):
        assert np.bincount(part.labels).tolist() == [30] * 10
    for shard in digits.shards:
        assert np.ptp(np.bincount(shard.labels)) <= 3


def test_digits_keep_their_values() -> None:
    digits = load_dataset("digits", shards=0)
    assert digits.images.shape == (1797, 1, 8, 8)
    assert np.unique(digits.images).tolist() == [round(value * 255 / 16) for value in range(17)]


def test_the_permutation_is_pinned() -> None:
    order = permutation(1797, SEED)
    assert sorted(order) == list(range(1797))
    digest = hashlib.sha256(order.astype("<i8").tobytes()).hexdigest()
    assert digest == "a2ed2df87e3117aa34da8f8adf965025b839fe1b6d178bb943ed78308e48d5fd"


@given(
    st.lists(st.integers(16, 60), min_size=2, max_size=6),
    st.integers(0, 4),
    st.binary(min_size=32, max_size=32),
)
def test_no_image_is_lost_or_doubled(counts: list[int], shards: int, seed: bytes) -> None:
    data = numbered(counts)
    parts = split(data, shards=shards, seed=Hash(seed))
    public = concatenate(parts.reference.train, parts.reference.test)
    assert numbers(data) == sorted(numbers(public) + numbers(parts.held_out))
    if shards:
        assert sorted(numbers(parts.held_out)) == sorted(numbers(concatenate(*parts.shards)))
        sizes = [len(shard) for shard in parts.shards]
        assert max(sizes) - min(sizes) <= 1
    for part in (parts.reference.train, parts.reference.test, *parts.shards):
        assert sorted(set(part.labels.tolist())) == list(range(len(counts)))
        assert numbers(part) == sorted(numbers(part))


def test_a_class_that_is_too_small_is_named() -> None:
    counts = [40, 15, 40]
    with pytest.raises(DatasetError, match=f"class 1 has 15 images.* need {images_per_class_min(2)}"):
        split(numbered(counts), shards=2, seed=SEED)


def test_more_shards_need_more_images() -> None:
    assert images_per_class_min(20) == 80
