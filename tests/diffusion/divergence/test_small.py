"""The campaign in small: one checkpoint at two stages under the settings that need no process of their own."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from diffusion.arithmetic import exact_arithmetic
from diffusion.checkpoint import load_weights
from diffusion.score.report import describe_reference, generate, score_images
from diffusion.score.spec import tolerance_of
from diffusion.train import new_weights
from pdfedchain.codec import encode
from pdfedchain.ids import Hash
from pdfedchain.types.score import ArithmeticProfile, ScoreReport, ScoringSpec
from tests.diffusion.conftest import TinyTask
from tests.diffusion.divergence.__main__ import main
from tests.diffusion.divergence.measure import no_onednn
from tests.diffusion.divergence.tables import agreement, is_caught, shifted, shifts_caught

SEED = Hash(b"\x07" * 32)
F64, F32 = ArithmeticProfile.F64, ArithmeticProfile.F32
REPORT = ScoreReport(400, 200, 20, 100_000, 900_000, 20_000_000, Hash(bytes(32)))


def scoring_of(task: TinyTask, profile: ArithmeticProfile) -> ScoringSpec:
    tolerance = tolerance_of(profile, task.prepared.ceilings.fid_micro_max)
    return replace(task.prepared.scoring, profile=profile, n=30, sampling_steps=3, tolerance=tolerance)


@pytest.mark.parametrize("profile", [F64, F32])
def test_no_setting_of_this_machine_is_refused(
    task: TinyTask, trained: tuple[Path, Hash], profile: ArithmeticProfile
) -> None:
    scoring, model = scoring_of(task, profile), task.prepared.model
    scorer = task.scorer(profile)
    described = describe_reference(scorer, scoring, task.reference(), classes=10)
    config = json.loads(model.unet_config)
    for weights in (new_weights(config, SEED), load_weights(trained[0], model, trained[1])):
        reports = []
        for onednn, batch_size in ((True, 64), (False, 64), (True, 7), (False, 1)):
            options: dict[str, Any] = {"batch_size": batch_size}
            with exact_arithmetic(), nullcontext() if onednn else no_onednn():
                images = generate(model, scoring, weights, seed=SEED, **options).images
                reports.append(score_images(scorer, scoring, described, images, **options).report)
        agreed = agreement(reports, scoring)
        assert agreed is not None
        assert not agreed.outliers
        assert all(one.agrees_with(other, scoring.tolerance) for one in reports for other in reports)


def test_the_command_scores_checkpoints_and_noisy_sets_and_prints_all_tables(
    task: TinyTask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(task.folder, tmp_path / "task")
    (tmp_path / "prepared.bin").write_bytes(encode(task.prepared))
    options = ["--checkpoints", "1", "--copies", "2", "--settings", "f64", "f64, batches of 7", "f32"]
    assert main([str(tmp_path), *options]) == 0
    printed = capsys.readouterr().out
    assert "| f64, batches of 7 | 3 |" in printed
    assert "| f32 | 3 |" in printed
    assert "0 of 3 pairs of reports outside tolerance" in printed
    written = (tmp_path / "reports" / "f32.jsonl").read_text()
    assert main([str(tmp_path), *options, "--jobs", "2"]) == 0
    assert (tmp_path / "reports" / "f32.jsonl").read_text() == written
    assert capsys.readouterr().out == printed


def test_the_score_of_other_weights_is_caught(task: TinyTask, trained: tuple[Path, Hash]) -> None:
    scoring, model = scoring_of(task, F64), task.prepared.model
    scorer = task.scorer()
    described = describe_reference(scorer, scoring, task.reference(), classes=10)
    weights = load_weights(trained[0], model, trained[1])
    longer = {name: array * 1.001 for name, array in weights.items()}
    honest, false = (
        score_images(scorer, scoring, described, generate(model, scoring, some, seed=SEED).images).report
        for some in (weights, longer)
    )
    assert is_caught(honest, false, scoring)


def test_in_float64_two_units_are_caught_and_one_moves_nothing(task: TinyTask) -> None:
    scoring = replace(task.prepared.scoring, n=400, tolerance=tolerance_of(F64, 0))
    for name in ("v_a_micro", "v_c_micro", "fid_micro"):
        assert shifts_caught(name, scoring, {"0000": REPORT}).endswith("always from 2 on")
    for name in ("checked", "confirmed"):
        assert shifts_caught(name, scoring, {"0000": REPORT}).endswith("always from 1 on")


def test_in_float32_two_pairs_are_caught(task: TinyTask) -> None:
    scoring = replace(task.prepared.scoring, n=400, profile=F32, tolerance=tolerance_of(F32, 100_000_000))
    for name, by in (
        ("checked", 2),
        ("confirmed", 2),
        ("v_a_micro", 5_101),
        ("v_c_micro", 50_101),
        ("fid_micro", 10_001),
    ):
        caught, passed = (shifted(REPORT, name, shift) for shift in (by, by - 1))
        assert caught is not None
        assert passed is not None
        assert is_caught(REPORT, caught, scoring)
        assert not is_caught(REPORT, passed, scoring)
