from __future__ import annotations

import hashlib

import numpy as np

from diffusion.score.golden_values import NOISE_TABLE
from diffusion.score.noise import labels_balanced, noise_images, quantile_table
from pdfedchain.ids import Hash

SEED = Hash(bytes(range(32)))


def test_the_table_is_pinned() -> None:
    table = quantile_table()
    assert hashlib.sha256(table.astype("<i4").tobytes()).hexdigest() == NOISE_TABLE
    assert table.shape == (65_536,)
    assert (np.diff(table) >= 0).all()
    assert (table == -table[::-1]).all()


def test_the_noise_is_pinned() -> None:
    values = noise_images(SEED, 5, 3, (1, 8, 8))
    integers = (values * 2**20).astype("<i8")
    assert (
        hashlib.sha256(integers.tobytes()).hexdigest()
        == "eb64cafadcc4f2358b930d6247774377f747b0b63e49753c0c36d588e59b4258"
    )
    assert (integers / 2**20 == values).all()
    assert (values.astype(np.float32) == values).all()


def test_noise_belongs_to_the_image_index() -> None:
    together = noise_images(SEED, 0, 6, (3, 4, 4))
    apart = np.concatenate([noise_images(SEED, first, 2, (3, 4, 4)) for first in (0, 2, 4)])
    np.testing.assert_array_equal(together, apart)
    assert not np.array_equal(together[0], together[1])
    assert not np.array_equal(together, noise_images(Hash(bytes(32)), 0, 6, (3, 4, 4)))


def test_the_noise_is_normal() -> None:
    values = noise_images(SEED, 0, 400, (1, 8, 8)).flatten()
    assert abs(values.mean()) < 0.03
    assert abs(values.std() - 1) < 0.02
    assert abs((values**4).mean() / values.var() ** 2 - 3) < 0.15


def test_labels_are_balanced() -> None:
    assert np.bincount(labels_balanced(23, 10)).tolist() == [3, 3, 3] + [2] * 7
