"""Giving a picture the sharpness and brightness of another: small changes are undone, other pictures stay others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion.sampler import to_unit
from diffusion.score.alterations import alter
from diffusion.score.register import in_line
from diffusion.score.tone import blurred, toned
from tests.diffusion.score.pictures import DIGITS, levels

ALTERED = {
    "blurred": lambda images: images + 0.5 * (blurred(images) - images),
    "darker": lambda images: images - 0.08,
    "flatter": lambda images: 0.96 * images,
    "all of it": lambda images: 0.97 * (images + 0.4 * (blurred(images) - images)) + 0.05,
}


@pytest.mark.parametrize("altered", ALTERED.values(), ids=ALTERED)
def test_what_a_copy_lost_its_source_loses_too(altered: Callable[[torch.Tensor], torch.Tensor]) -> None:
    sources = to_unit(DIGITS, torch.float64)
    copies = altered(sources)
    assert float((levels(toned(sources, copies), copies) / levels(sources, copies)).max()) < 0.1


@pytest.mark.parametrize("kind", ["blur", "colour shift"])
def test_alterations_by_another_program_are_undone(kind: str) -> None:
    """Values that are cut off at black and white cannot be given back: so not all of it."""
    sources, copies = to_unit(DIGITS), to_unit(alter(DIGITS, kind, np.random.default_rng(1)))
    before, after = levels(sources, copies), levels(in_line(sources, copies), copies)
    assert float((after / before).median()) < 0.6


def test_channels_are_shifted_each_by_itself() -> None:
    sources = to_unit(np.repeat(DIGITS, 3, axis=1), torch.float64)
    copies = sources + torch.tensor([0.08, -0.05, 0.0], dtype=torch.float64)[:, None, None]
    assert float(levels(toned(sources, copies), copies).max()) < 0.5


def test_no_more_than_passes_for_a_copy() -> None:
    """Inverted, black or wholly smeared, a picture stays far from itself."""
    sources = to_unit(DIGITS, torch.float64)
    smeared = sources
    for _ in range(8):
        smeared = blurred(smeared)
    for copies, part in ((-sources, 0.9), (torch.full_like(sources, -1), 0.7), (smeared, 0.3)):
        before, after = levels(sources, copies), levels(toned(sources, copies), copies)
        assert float((after / before).min()) > part


def test_other_pictures_stay_far_away() -> None:
    sources, others = to_unit(DIGITS), to_unit(np.roll(DIGITS, 1, axis=0))
    before, after = levels(sources, others), levels(toned(sources, others), others)
    assert float((after / before).median()) > 0.8


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([8, 16]), st.sampled_from([1, 3]))
def test_any_pictures_stay_finite_and_do_not_depend_on_company(seed: int, side: int, channels: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = (to_unit(rng.integers(0, 256, (5, channels, side, side), np.uint8), torch.float64) for _ in "12")
    first[0], second[1] = 1, -1  # flat pictures say nothing
    together = toned(first, second)
    assert bool(torch.isfinite(together).all())
    assert float((together - first).abs().max()) < 1.2
    alone = torch.cat([toned(first[k : k + 1], second[k : k + 1]) for k in range(5)])
    torch.testing.assert_close(together, alone, atol=1e-12, rtol=0)
    torch.testing.assert_close(toned(first, first), first, atol=1e-12, rtol=0)


def test_float32_is_close_to_float64() -> None:
    pairs = [DIGITS, np.roll(DIGITS, 1, axis=0)]
    single, double = (toned(*(to_unit(some, dtype) for some in pairs)) for dtype in (torch.float32, torch.float64))
    torch.testing.assert_close(single.double(), double, atol=1e-4, rtol=0)
