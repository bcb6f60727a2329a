"""Bringing a picture into line with another: crops are undone, and nothing else is done."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diffusion.sampler import to_unit
from diffusion.score.register import aligned
from tests.diffusion.score.pictures import DIGITS, levels


def enlarged(side: int, channels: int = 1) -> np.ndarray:
    images = [np.asarray(Image.fromarray(digit[0]).resize((side, side), Image.Resampling.BICUBIC)) for digit in DIGITS]
    return np.repeat(np.stack(images)[:, None], channels, axis=1)


def cropped(images: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """By Pillow, whose interpolation is another program."""
    rows = []
    for image in images:
        size = image.shape[-1]
        side = size * share
        left, top = rng.uniform(0, size - side, 2)
        box = (left, top, left + side, top + side)
        planes = [
            np.asarray(Image.fromarray(plane).resize((size, size), Image.Resampling.BICUBIC, box)) for plane in image
        ]
        rows.append(np.stack(planes))
    return np.stack(rows)


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (16, 1), (32, 3), (64, 1)])
def test_a_crop_is_undone(side: int, channels: int) -> None:
    images = DIGITS if side == 8 else enlarged(side, channels)
    copies = to_unit(cropped(images, 0.94, np.random.default_rng(1)))
    sources = to_unit(images)
    before, after = levels(sources, copies), levels(aligned(sources, copies), copies)
    assert float(after.median()) < 0.3 * float(before.median())
    assert float((after / before).quantile(0.95)) < 0.6


def test_other_pictures_stay_far_away() -> None:
    sources, others = to_unit(DIGITS), to_unit(np.roll(DIGITS, 1, axis=0))
    before, after = levels(sources, others), levels(aligned(sources, others), others)
    assert float((after / before).median()) > 0.8


def test_an_image_stays_as_it_is_beside_itself_whatever_its_brightness_and_contrast() -> None:
    images = to_unit(DIGITS, torch.float64)
    torch.testing.assert_close(aligned(images, images), images, atol=1e-12, rtol=0)
    torch.testing.assert_close(aligned(images, 0.8 * images - 0.1), images, atol=0.02, rtol=0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([8, 16, 32]), st.sampled_from([1, 3]))
def test_any_pictures_stay_finite_and_do_not_depend_on_company(seed: int, side: int, channels: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = (to_unit(rng.integers(0, 256, (5, channels, side, side), np.uint8), torch.float64) for _ in "12")
    first[0], second[1] = 1, -1  # flat pictures say nothing about where they are
    together = aligned(first, second)
    assert bool(torch.isfinite(together).all())
    assert float(together.abs().max()) < 2
    alone = torch.cat([aligned(first[k : k + 1], second[k : k + 1]) for k in range(5)])
    torch.testing.assert_close(together, alone, atol=1e-12, rtol=0)


def test_float32_is_close_to_float64() -> None:
    pairs = [DIGITS, np.roll(DIGITS, 1, axis=0)]
    single, double = (aligned(*(to_unit(some, dtype) for some in pairs)) for dtype in (torch.float32, torch.float64))
    torch.testing.assert_close(single.double(), double, atol=1e-4, rtol=0)
