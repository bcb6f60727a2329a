"""Properties of a score that hold for any images, with a scorer of integer weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion.data.images import LabelledImages, Reference
from diffusion.score.integer_weights import integer_scorer
from diffusion.score.report import DescribedReference, describe_reference, score_images
from diffusion.score.spec import default_scoring
from pdfedchain.types.score import MICRO, ScoreReport

SCORER = integer_scorer()
#: The scorer has learned nothing, so its similarities are low.
SCORING = replace(default_scoring("integer"), retrieval_deviations_micro=0, match_threshold_micro=300_000, pairs_max=30)
CLASSES = 3


def pictures(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)


def described(reference: Reference) -> DescribedReference:
    return describe_reference(SCORER, SCORING, reference, classes=CLASSES)


TRAIN = LabelledImages(pictures(1, 24), np.arange(24) % CLASSES)
TEST = LabelledImages(pictures(2, 12), np.arange(12) % CLASSES)
PLAIN = described(Reference(TRAIN, TEST))


def generated(seed: int, count: int, copied: int) -> np.ndarray:
    """Random images, some of them reference images with a grey level changed here and there."""
    rng = np.random.default_rng(seed)
    images = pictures(seed + 100, count)
    both = np.concatenate([TRAIN.images, TEST.images])
    copies = both[rng.permutation(len(both))[: min(copied, count)]]
    images[: len(copies)] = np.clip(copies.astype(int) + rng.integers(-9, 10, copies.shape), 0, 255)
    return images


def score(images: np.ndarray, reference: DescribedReference = PLAIN) -> ScoreReport:
    return score_images(SCORER, SCORING, reference, images).report


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1_000), st.integers(2, 20), st.integers(0, 20))
def test_components_are_in_range(seed: int, count: int, copied: int) -> None:
    report = score(generated(seed, count, copied))
    assert report.n == count
    assert 0 <= report.confirmed <= min(report.checked, count)
    assert report.checked <= min(SCORING.pairs_max, count * SCORING.neighbours)
    assert 0 <= report.v_a_micro <= MICRO
    if report.confirmed:
        assert SCORING.match_threshold_micro <= report.v_c_micro <= MICRO
    else:
        assert report.v_c_micro == 0
    assert report.qn_micro(1_000) >= report.fid_micro // 2


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1_000), st.integers(2, 16), st.integers(1, 16), st.randoms(use_true_random=False))
def test_the_order_of_images_changes_nothing_but_their_hash(seed: int, count: int, copied: int, random: object) -> None:
    images = generated(seed, count, copied)
    rng = np.random.default_rng(random.randrange(2**32))  # type: ignore[attr-defined]

    def mixed(part: LabelledImages) -> LabelledImages:
        return part.take(rng.permutation(len(part)))

    plain = score(images)
    shuffled = score(images[rng.permutation(count)], described(Reference(mixed(TRAIN), mixed(TEST))))
    assert replace(shuffled, images_hash=plain.images_hash) == plain


@pytest.mark.parametrize("what", ["black", "white", "one training image", "one test image"])
@pytest.mark.parametrize("count", [2, 25])
def test_a_model_that_has_collapsed_gets_a_bad_score_and_not_an_error(what: str, count: int) -> None:
    one = {
        "black": np.zeros((1, 8, 8), np.uint8),
        "white": np.full((1, 8, 8), 255, np.uint8),
        "one training image": TRAIN.images[0],
        "one test image": TEST.images[0],
    }[what]
    report = score(np.repeat(one[None], count, axis=0))
    spread = score(pictures(3, 25))
    assert report.fid_micro > spread.fid_micro
    assert report.confirmed <= 36, "each reference image counts once"
    if what.startswith("one"):
        assert report.checked >= min(count, SCORING.pairs_max)
