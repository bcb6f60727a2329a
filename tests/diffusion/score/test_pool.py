"""The pool test in small (``make pool`` is the large one): copies among real images are found, real ones left alone."""

from __future__ import annotations

import numpy as np
import pytest

from diffusion.score.alterations import ALTERATIONS, alter
from diffusion.score.learn import LearningPlan, train_scorer
from diffusion.score.shipped import shipped_fingerprinter
from pdfedchain.ids import Hash
from tests.diffusion.pool import NEAR_DUPLICATE_LEVELS, Case, load_case, run_case, see, summary


@pytest.fixture(scope="module")
def case() -> Case:
    return load_case("digits", 200)


def test_novel_images_are_not_in_the_training_part(case: Case) -> None:
    gap = case.novel[:, None].astype(float) - case.train.images[None]
    assert np.sqrt((gap**2).mean(axis=(2, 3, 4))).min() >= NEAR_DUPLICATE_LEVELS
    assert len(case.novel) + case.removed == 200


@pytest.mark.parametrize("name", ALTERATIONS)
def test_alterations_are_seeded_and_mild(case: Case, name: str) -> None:
    images = case.train.images
    first, second = (alter(images, name, np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    away = np.sqrt(((first.astype(float) - images) ** 2).mean(axis=(1, 2, 3)))
    assert 0 < np.median(away) < 40
    assert alter(np.repeat(images[:2], 3, axis=1), name, np.random.default_rng(1)).shape == (2, 3, 8, 8)


def test_copies_are_found_and_the_score_rises_with_them(case: Case) -> None:
    scorer = train_scorer(
        case.train,
        seed=Hash(b"\x08" * 32),
        plan=LearningPlan(fingerprinter_steps=0, verifier_steps=150, views=8, negative_weight=1),
        start=shipped_fingerprinter(),
    )
    rows = np.array([5, 3, 90])
    some, chosen = see(scorer, case, case.train.images[rows]), see(scorer, case, case.train.images).take(rows)
    np.testing.assert_allclose(chosen.features, some.features, atol=1e-4)
    assert sorted(map(tuple, chosen.pairs)) == sorted(map(tuple, some.pairs))
    np.testing.assert_allclose(np.sort(chosen.similarity), np.sort(some.similarity), atol=1e-4)

    report = summary(run_case(case, scorer, seeds=2, kinds=("plain", "recompression")))
    assert report["plain"]["found"] > 0.95
    assert report["plain"]["not_retrieved"] == 0
    assert report["recompression"]["found"] > 0.8
    assert report["plain"]["false"] < 0.05
    assert report["plain"]["qn_rises"]
