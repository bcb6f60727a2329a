"""A scorer trained on the way is remembered by what it was made from, and by how."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusion.data.listing import ImageFolder, list_images
from diffusion.errors import DatasetError
from diffusion.score import scorer, small_scorer
from diffusion.score.learn import LearningPlan
from pdfedchain.types.score import ArithmeticProfile

PLAN = LearningPlan(fingerprinter_steps=1, verifier_steps=1, views=1, blends=1, hard_negatives=1)


@pytest.fixture
def folder(tmp_path: Path) -> ImageFolder:
    root = tmp_path / "images"
    root.mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (16, 8, 8), dtype=np.uint8)):
        Image.fromarray(pixels).save(root / f"{number}.png")
    return list_images(root)


def test_it_is_trained_once_for_the_same_images_and_plan(
    folder: ImageFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remembered = tmp_path / "scorers"
    first = small_scorer.small_scorer(folder, remembered, plan=PLAN)
    monkeypatch.setattr(small_scorer, "train_scorer", None)
    again = small_scorer.small_scorer(folder, remembered, plan=PLAN)
    for name, tensor in first.verifier.state_dict().items():
        np.testing.assert_array_equal(again.verifier.state_dict()[name], tensor)


def test_a_damaged_one_is_trained_again(folder: ImageFolder, tmp_path: Path) -> None:
    remembered = tmp_path / "scorers"
    first = small_scorer.small_scorer(folder, remembered, plan=PLAN)
    (kept,) = remembered.iterdir()
    (kept / "verifier.safetensors").write_bytes(b"short")
    again = small_scorer.small_scorer(folder, remembered, plan=PLAN)
    assert again.feature_scale == pytest.approx(first.feature_scale)
    assert scorer.read_scorer(kept, profile=ArithmeticProfile.F32).construction == scorer.LITE


def test_one_of_an_earlier_construction_is_made_anew(
    folder: ImageFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remembered = tmp_path / "scorers"
    with monkeypatch.context() as before:
        before.setattr(small_scorer, "LITE", "lite/v0")
        small_scorer.small_scorer(folder, remembered, plan=PLAN)
    (old,) = remembered.iterdir()
    about = old / "scorer.json"
    about.write_text(about.read_text().replace(scorer.LITE, "lite/v0"))
    with pytest.raises(DatasetError, match="construction 'lite/v0'") as refused:
        scorer.read_scorer(old, profile=ArithmeticProfile.F32)
    assert "train-scorer" in (refused.value.hint or "")
    assert small_scorer.small_scorer(folder, remembered, plan=PLAN).construction == scorer.LITE
    assert len(list(remembered.iterdir())) == 2
