from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diffusion import jobs
from diffusion.arithmetic import arithmetic_in_force, exact_arithmetic
from diffusion.score import score_folders
from pdfedchain.ids import Hash
from pdfedchain.types.jobs import Evaluate, Score
from pdfedchain.types.score import ArithmeticProfile
from tests.diffusion.conftest import TinyTask
from tests.diffusion.score.conftest import Sets


def test_everything_that_costs_digits_is_off_inside_and_as_it_was_outside() -> None:
    convolutions = torch.backends.cudnn.conv
    before = convolutions.fp32_precision
    try:
        convolutions.fp32_precision = "tf32"
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert not arithmetic_in_force()
            with exact_arithmetic():
                assert arithmetic_in_force()
                assert (torch.ones(4, 4) @ torch.ones(4, 4)).dtype == torch.float32
            assert torch.is_autocast_enabled("cpu")
        assert convolutions.fp32_precision == "tf32"
    finally:
        convolutions.fp32_precision = before


def test_settings_come_back_after_an_error() -> None:
    before = torch.backends.cudnn.benchmark
    with pytest.raises(ZeroDivisionError), exact_arithmetic():
        raise ZeroDivisionError
    assert torch.backends.cudnn.benchmark == before


class _ReachedError(Exception):
    pass


def _tell(*_: object, **__: object) -> None:
    assert arithmetic_in_force()
    raise _ReachedError


@pytest.mark.parametrize("profile", ["f64", "f32"])
def test_every_score_is_computed_that_way(
    task: TinyTask, trained: tuple[Path, Hash], sets: Sets, monkeypatch: pytest.MonkeyPatch, profile: str
) -> None:
    scoring = replace(task.prepared.scoring, profile=ArithmeticProfile(profile))
    folder, digest = trained
    monkeypatch.setattr("diffusion.jobs.score_checkpoint", _tell)
    monkeypatch.setattr("diffusion.score.folders.describe_folder", _tell)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with pytest.raises(_ReachedError):
            jobs.score(
                Score(
                    task.prepared.model,
                    scoring,
                    str(folder),
                    digest,
                    task.reference_folder,
                    task.scorer_folder,
                    digest,
                    "cpu",
                )
            )
        with pytest.raises(_ReachedError):
            jobs.evaluate(
                Evaluate(
                    task.prepared.model,
                    scoring,
                    str(folder),
                    digest,
                    task.shard_folder(0),
                    task.scorer_folder,
                    digest,
                    "cpu",
                )
            )
        with pytest.raises(_ReachedError):
            score_folders(sets.folder / "generated", sets.folder / "train", sets.folder / "test", scorer=sets.scorer)
