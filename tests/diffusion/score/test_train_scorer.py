"""Training a scorer to keep: resumable to the bit, measured on held-out images, refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusion.data import Split
from diffusion.data.images import LabelledImages
from diffusion.errors import DatasetError
from diffusion.score.keeper import FileKeeper
from diffusion.score.learn import LearningPlan, train_scorer
from diffusion.score.scorer import Scorer, read_scorer
from diffusion.score.shipping import assess_scorer, train_scorer_to_folder
from pdfedchain.errors import UsageError
from pdfedchain.ids import Hash
from pdfedchain.types.jobs import ScorerTrained, TrainScorer
from pdfedchain.types.score import ArithmeticProfile
from tests.diffusion.conftest import TinyTask
from tests.diffusion.score.conftest import write_images

PLAN = LearningPlan(fingerprinter_steps=6, fingerprinter_batch=8, verifier_steps=6, verifier_batch=8, views=2, blends=1)
SEED = Hash(b"\x05" * 32)


class Interrupted(Exception):
    """Ctrl-C in the middle of a training."""


def interrupt_at(stage: str, step: int) -> object:
    def report(name: str, done: int, total: int, loss: float) -> None:
        if (name, done) == (stage, step):
            raise Interrupted

    return report


def weights(scorer: Scorer) -> list[bytes]:
    modules = (scorer.fingerprinter, scorer.verifier)
    return [tensor.numpy().tobytes() for module in modules for tensor in module.state_dict().values()]


@pytest.fixture
def few(digits: Split) -> LabelledImages:
    return digits.reference.train.take(np.arange(0, 300, 8))


@pytest.mark.parametrize("where", [("fingerprinter", 4), ("verifier", 1), ("verifier", 5)])
def test_an_interrupted_training_ends_with_the_same_weights(
    few: LabelledImages, tmp_path: Path, where: tuple[str, int]
) -> None:
    whole = train_scorer(few, seed=SEED, plan=PLAN)
    with pytest.raises(Interrupted):
        train_scorer(
            few,
            seed=SEED,
            plan=PLAN,
            report=interrupt_at(*where),
            keeper=FileKeeper(tmp_path, every_s=0),  # type: ignore[arg-type]
        )
    steps: list[tuple[str, int]] = []
    resumed = train_scorer(
        few, seed=SEED, plan=PLAN, report=lambda name, done, *_: steps.append((name, done)), keeper=FileKeeper(tmp_path)
    )
    assert weights(resumed) == weights(whole)
    assert where not in steps


def test_a_damaged_file_is_named(few: LabelledImages, tmp_path: Path) -> None:
    (tmp_path / "fingerprinter.safetensors").write_bytes(b"garbage, garbage")
    with pytest.raises(DatasetError, match=r"fingerprinter.safetensors cannot be resumed from"):
        train_scorer(few, seed=SEED, plan=PLAN, keeper=FileKeeper(tmp_path))


@pytest.fixture
def images(few: LabelledImages, tmp_path: Path) -> Path:
    return write_images(tmp_path / "images", few)


def request(images: Path | str, output: Path, **changes: object) -> TrainScorer:
    fields: dict[str, object] = {
        "images": (str(images),),
        "output": str(output),
        "resume": False,
        "fingerprinter_steps": 3,
        "verifier_steps": 3,
        "seed": 1,
        "device": "cpu",
    }
    return TrainScorer(**(fields | changes))  # type: ignore[arg-type]


def test_a_folder_becomes_a_scorer_with_a_card(images: Path, tmp_path: Path) -> None:
    output = tmp_path / "scorer"
    assert train_scorer_to_folder(request(images, output)) == ScorerTrained(str(output))
    scorer = read_scorer(output, profile=ArithmeticProfile.F32)
    assert (scorer.image_size, scorer.channels) == (8, 1)
    card = json.loads((output / "card.json").read_text())
    assert (card["trained_on"], card["held_out"], card["classes"], card["images"]) == (32, 6, 10, "images")
    assert all(0 <= value <= 1 for value in card["figures"].values())
    assert "| image confirmed as its own copy |" in (output / "README.md").read_text()
    assert not list(tmp_path.glob(".*unfinished"))


def test_an_unfinished_training_is_resumed_only_when_asked_and_only_if_it_is_the_same(
    images: Path, tmp_path: Path
) -> None:
    output = tmp_path / "scorer"
    with pytest.raises(Interrupted):
        train_scorer_to_folder(request(images, output), interrupt_at("verifier", 2))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="holds an unfinished training") as caught:
        train_scorer_to_folder(request(images, output))
    assert "--resume" in caught.value.hint
    with pytest.raises(UsageError, match="on other images, with other steps or another seed, or of another version"):
        train_scorer_to_folder(request(images, output, resume=True, verifier_steps=4))
    stages: list[str] = []
    train_scorer_to_folder(request(images, output, resume=True), lambda stage, *_: stages.append(stage))
    assert "fingerprinter" not in stages
    with pytest.raises(UsageError, match="exists already"):
        train_scorer_to_folder(request(images, output, resume=True))


def test_bad_images_are_refused(tmp_path: Path) -> None:
    def refusal(images: Path | str) -> str:
        with pytest.raises(DatasetError) as caught:
            train_scorer_to_folder(request(images, tmp_path / "out"))
        return str(caught.value)

    assert refusal(tmp_path / "nowhere") == f"{tmp_path}/nowhere is not a folder"
    same = tmp_path / "same"
    same.mkdir()
    assert refusal(same) == f"{same} holds no images"
    for index in range(20):
        Image.new("L", (8, 8), 77).save(same / f"{index:02}.png")
    assert refusal(same) == f"all 20 images of {same} are equal"
    for index in range(10, 20):
        (same / f"{index}.png").unlink()
    assert refusal(same) == f"{same} has 10 images, at least 16 are needed"


def test_the_figures_tell_a_trained_scorer_from_chance(task: TinyTask, digits: Split) -> None:
    figures = assess_scorer(task.scorer(), digits.reference.test.take(np.arange(0, 300, 4)), digits.reference.train)
    assert figures["found_0.5"] > 0.8
    assert figures["copies_confirmed_0.5"] > 5 * figures["nearest_confirmed"]
    assert figures["same_confirmed"] > 0.9
    assert figures["random_confirmed"] < 0.05
