from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diffusion import jobs
from diffusion.checkpoint import load_weights, weights_digest
from diffusion.checks import differences
from diffusion.data import Split
from diffusion.data.images import LabelledImages, read_shard, write_shard
from diffusion.errors import CheckpointRefused, DatasetError
from diffusion.progress import silent
from diffusion.score.fingerprint import Fingerprinter
from diffusion.score.learn import LearningPlan
from diffusion.score.scorer import LITE, Scorer, read_scorer, write_scorer
from diffusion.score.spec import tolerance_of
from diffusion.score.verifier import Verifier
from pdfedchain.errors import PdfedError, UsageError
from pdfedchain.ids import Hash
from pdfedchain.types.jobs import Calibrate, Calibrated, Evaluate, Prepare, Sample, Score, SelfTest, SelfTested
from pdfedchain.types.score import MICRO, ArithmeticProfile, ScoreReport, Unscorable, UnscorableReason
from tests.diffusion.conftest import SEED, TinyTask

Trained = tuple[Path, Hash]


def score_request(task: TinyTask, trained: Trained, **changes: object) -> Score:
    fields: dict[str, object] = {
        "model": task.prepared.model,
        "scoring": dataclasses.replace(task.prepared.scoring, n=20, sampling_steps=3),
        "checkpoint": str(trained[0]),
        "weights_digest": trained[1],
        "reference": task.reference_folder,
        "scorer": task.scorer_folder,
        "seed": SEED,
        "device": "cpu",
    }
    return Score(**(fields | changes))  # type: ignore[arg-type]


def evaluate_request(task: TinyTask, trained: Trained, **changes: object) -> Evaluate:
    score = score_request(task, trained)
    fields: dict[str, object] = {
        "model": score.model,
        "scoring": task.prepared.scoring,
        "checkpoint": score.checkpoint,
        "weights_digest": score.weights_digest,
        "data": task.shard_folder(1),
        "scorer": score.scorer,
        "seed": SEED,
        "device": "cpu",
    }
    return Evaluate(**(fields | changes))  # type: ignore[arg-type]


def sample_request(task: TinyTask, trained: Trained, output: Path, **changes: object) -> Sample:
    fields: dict[str, object] = {
        "model": task.prepared.model,
        "checkpoint": str(trained[0]),
        "weights_digest": trained[1],
        "per_class": 3,
        "sampling_steps": 2,
        "scale": 2,
        "seed": SEED,
        "output": str(output),
        "device": "cpu",
    }
    return Sample(**(fields | changes))  # type: ignore[arg-type]


# Prepare


def test_a_prepared_task_is_complete_and_sane(task: TinyTask, digits: Split) -> None:
    prepared = task.prepared
    assert prepared.shard_sizes == (399, 399, 399)
    np.testing.assert_array_equal(digits.shards[1].images, read_shard(Path(task.shard_folder(1))).images)
    np.testing.assert_array_equal(digits.reference.test.images, task.reference().test.images)
    assert (prepared.model.image_size, prepared.model.channels, prepared.model.classes) == (8, 1, 10)
    assert prepared.scoring.profile is ArithmeticProfile.F64
    assert prepared.scoring.extractor == "lite-8px-1ch"
    assert prepared.scoring.novelty_weight > 0
    assert prepared.ceilings.fid_micro_max % MICRO == 0
    assert 0 < prepared.ceilings.r_c_micro_max < MICRO


def test_a_folder_of_images_becomes_a_task(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for name, index in itertools.product(("a", "b"), range(16)):
        (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "data" / name / f"{index}.png")
    plan = jobs.LearningPlan(fingerprinter_steps=1, verifier_steps=1, views=1, blends=1)
    request = Prepare(str(tmp_path / "data"), 2, SEED, str(tmp_path / "out"), "cpu")
    prepared = jobs.prepare(request, plan=plan)
    assert prepared.shard_sizes == (8, 8)
    assert (prepared.model.image_size, prepared.model.channels, prepared.model.classes) == (16, 3, 2)


@pytest.mark.parametrize("existing", ["reference", "scorer", "private/1"])
def test_prepare_overwrites_nothing(tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).mkdir(parents=True)
    with pytest.raises(UsageError, match=f"{existing} exists already"):
        jobs.prepare(Prepare("digits", 2, SEED, str(tmp_path), "cpu"))


def test_prepare_wants_a_data_set_that_is_large_enough(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no data set"):
        jobs.prepare(Prepare("dgits", 2, SEED, str(tmp_path), "cpu"))
    with pytest.raises(DatasetError, match="need 400"):
        jobs.prepare(Prepare("digits", 100, SEED, str(tmp_path), "cpu"))


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "cpu:x", ""])
def test_an_unknown_device_is_named(tmp_path: Path, device: str) -> None:
    with pytest.raises(UsageError, match="no device"):
        jobs.prepare(Prepare("digits", 2, SEED, str(tmp_path), device))


# Train


def test_training_writes_what_it_says(task: TinyTask, trained: Trained, tmp_path: Path) -> None:
    result = jobs.train_checkpoint(task.train_request(tmp_path / "out", parents=(str(trained[0]),)))
    weights = load_weights(tmp_path / "out", task.prepared.model, result.weights_digest)
    assert weights_digest(weights) == result.weights_digest
    assert (result.steps, result.images_seen) == (5, 80)
    assert 0 < result.loss_micro < 10 * MICRO
    parent = load_weights(trained[0], task.prepared.model, trained[1])
    moved = [float(np.abs(weights[name] - parent[name]).max()) for name in weights]
    assert 0 < max(moved) < 0.1


def test_several_parents_are_averaged(task: TinyTask, trained: Trained, tmp_path: Path) -> None:
    other = jobs.train_checkpoint(task.train_request(tmp_path / "other", parents=(str(trained[0]),), steps=2))
    request = task.train_request(
        tmp_path / "out", parents=(str(trained[0]), str(tmp_path / "other")), steps=1, learning_rate_nano=1
    )
    jobs.train_checkpoint(request)
    model = task.prepared.model
    first, second, result = (
        load_weights(folder, model, None) for folder in (trained[0], tmp_path / "other", tmp_path / "out")
    )
    assert other.weights_digest != trained[1]
    for name, array in result.items():
        np.testing.assert_allclose(array, (first[name] + second[name]) / 2, atol=1e-6)


def test_excluded_images_are_left_out_of_the_first_folder_only(
    task: TinyTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[LabelledImages] = []

    def spy(config: object, schedule: object, start: object, data: LabelledImages, **_: object) -> None:
        seen.append(data)
        raise PdfedError("seen enough")

    monkeypatch.setattr(jobs, "train", spy)
    with pytest.raises(PdfedError, match="seen enough"):
        jobs.train_checkpoint(task.train_request(tmp_path / "out", exclude=(0, 398)))
    shard, public = read_shard(Path(task.shard_folder(0))), task.reference().train
    np.testing.assert_array_equal(seen[0].images, np.concatenate([shard.images[1:398], public.images]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exclude": (399,)}, "image 399 is to be left out"),
        ({"exclude": tuple(range(399)), "data": 1}, "all images are left out"),
        ({"data": ("/nowhere",)}, "does not exist"),
        ({"parents": ("/nowhere",)}, "not a folder"),
        ({"device": "tpu"}, "no device"),
    ],
)
def test_a_training_that_cannot_be_is_refused(
    task: TinyTask, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    if changes.get("data") == 1:
        changes = changes | {"data": (task.shard_folder(0),)}
    with pytest.raises(UsageError, match=message):
        jobs.train_checkpoint(task.train_request(tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


def test_an_existing_output_is_refused_before_training(task: TinyTask, trained: Trained) -> None:
    with pytest.raises(UsageError, match="exists already"):
        jobs.train_checkpoint(task.train_request(trained[0], steps=10**6))


def test_a_damaged_parent_is_refused(task: TinyTask, tmp_path: Path) -> None:
    (tmp_path / "parent").mkdir()
    with pytest.raises(CheckpointRefused, match="missing"):
        jobs.train_checkpoint(task.train_request(tmp_path / "out", parents=(str(tmp_path / "parent"),)))


@pytest.mark.parametrize(
    ("shape", "label", "message"),
    [((1, 16, 16), 0, "shape"), ((3, 8, 8), 0, "shape"), ((1, 8, 8), 10, "labels"), ((1, 8, 8), -1, "labels")],
)
def test_images_that_do_not_fit_the_task_are_refused(
    task: TinyTask, tmp_path: Path, shape: tuple[int, ...], label: int, message: str
) -> None:
    write_shard(tmp_path, LabelledImages(np.zeros((5, *shape), np.uint8), np.full(5, label, np.int64)))
    with pytest.raises(DatasetError, match=message):
        jobs.train_checkpoint(task.train_request(tmp_path / "out", data=(str(tmp_path),)))


# Score and Evaluate


def test_a_score_is_a_report(task: TinyTask, trained: Trained) -> None:
    scored = jobs.score(score_request(task, trained))
    assert isinstance(scored.outcome, ScoreReport)
    assert scored.outcome.n == 20
    assert scored.wall_ms >= scored.sample_ms + scored.feature_ms - 2
    assert jobs.score(score_request(task, trained)).outcome == scored.outcome


def test_weights_that_were_not_signed_are_unscorable(task: TinyTask, trained: Trained) -> None:
    wrong = Hash(bytes(32))
    expected = Unscorable(UnscorableReason.DIGEST_MISMATCH)
    assert jobs.score(score_request(task, trained, weights_digest=wrong)).outcome == expected
    evaluated = jobs.evaluate(evaluate_request(task, trained, weights_digest=wrong))
    assert (evaluated.outcome, evaluated.memorised) == (expected, ())


def test_a_version_that_is_not_installed_is_not_scored(task: TinyTask, trained: Trained) -> None:
    scoring = dataclasses.replace(task.prepared.scoring, version=2)
    with pytest.raises(UsageError, match="version 2, this installation has version 1"):
        jobs.score(score_request(task, trained, scoring=scoring))


def test_a_machine_that_scores_otherwise_does_not_score(
    task: TinyTask, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffusion.checks.golden_self_test", lambda *_: ("confirmed is 1 instead of 2",))
    differences.cache_clear()
    try:
        with pytest.raises(PdfedError, match=r"self-test.*confirmed is 1 instead of 2") as caught:
            jobs.score(score_request(task, trained))
    finally:
        differences.cache_clear()
    assert not isinstance(caught.value, UsageError)


def test_the_self_test_passes_here_in_both_profiles() -> None:
    assert jobs.run(SelfTest("cpu"), silent) == SelfTested((), ())


def test_a_task_in_float32_has_tolerances_and_its_known_scores_are_found_again(tmp_path: Path) -> None:
    plan = LearningPlan(fingerprinter_steps=2, fingerprinter_batch=8, verifier_steps=2, views=1, blends=1)
    request = Prepare("digits", 1, SEED, str(tmp_path / "task"), "cpu", ArithmeticProfile.F32)
    prepared = jobs.prepare(request, plan=plan)
    scoring, ceiling = prepared.scoring, prepared.ceilings.fid_micro_max
    assert scoring.profile is ArithmeticProfile.F32
    assert scoring.tolerance == tolerance_of(ArithmeticProfile.F32, ceiling)
    assert (scoring.tolerance.checked, scoring.tolerance.confirmed) == (1, 1)
    assert scoring.tolerance.fid_micro == ceiling // 10_000
    folders = (str(tmp_path / "task/reference"), str(tmp_path / "task/scorer"))
    answer = jobs.run(Calibrate(prepared.model, scoring, *folders, "cpu"), silent)
    assert isinstance(answer, Calibrated)
    for known, found in zip(answer.known, answer.found, strict=True):
        assert known.agrees_with(found, scoring.tolerance)


def calibrate_request(task: TinyTask, **changes: object) -> Calibrate:
    fields: dict[str, object] = {
        "model": task.prepared.model,
        "scoring": task.prepared.scoring,
        "reference": task.reference_folder,
        "scorer": task.scorer_folder,
        "device": "cpu",
    }
    return Calibrate(**(fields | changes))  # type: ignore[arg-type]


def test_the_makers_scores_are_found_again(task: TinyTask) -> None:
    answer = jobs.run(calibrate_request(task), silent)
    assert isinstance(answer, Calibrated)
    assert answer.found == answer.known
    sampled, noisy = answer.known
    assert sampled.fid_micro > 0
    assert noisy.confirmed > 0
    assert noisy.checked > noisy.confirmed
    assert answer.self_test == ()
    assert answer.score_ms > 0


def test_a_scorer_without_known_scores_is_named(task: TinyTask, tmp_path: Path) -> None:
    folder = tmp_path / "scorer"
    shutil.copytree(task.scorer_folder, folder)
    (folder / "known-scores.json").write_text("[1]")
    with pytest.raises(DatasetError, match="holds no scores"):
        jobs.run(calibrate_request(task, scorer=str(folder)), silent)
    (folder / "known-scores.json").unlink()
    with pytest.raises(DatasetError, match="no known scores"):
        jobs.run(calibrate_request(task, scorer=str(folder)), silent)


def copy_scorer(task: TinyTask, folder: Path) -> None:
    for path in Path(task.scorer_folder).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())


def remove_key(folder: Path) -> None:
    (folder / "scorer.json").write_text(f'{{"construction":"{LITE}","image_size":8,"channels":1}}')


def other_construction(folder: Path) -> None:
    text = (folder / "scorer.json").read_text()
    (folder / "scorer.json").write_text(text.replace(LITE, "dino/v2"))


def cut(folder: Path) -> None:
    (folder / "verifier.safetensors").write_bytes(b"short")


def exchange(folder: Path) -> None:
    (folder / "verifier.safetensors").replace(folder / "fingerprinter.safetensors")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("channels", 2),
        ("channels", -1),
        ("image_size", 12),
        ("image_size", float("inf")),
        ("feature_scale", 0),
        ("feature_scale", 10**400),
        ("feature_scale", "wide"),
    ],
)
def test_a_scorer_that_describes_no_networks_is_an_error(task: TinyTask, tmp_path: Path, key: str, value: Any) -> None:
    copy_scorer(task, tmp_path)
    about = json.loads((tmp_path / "scorer.json").read_text())
    (tmp_path / "scorer.json").write_text(json.dumps(about | {key: value}))
    with pytest.raises(DatasetError, match="is not a scorer"):
        read_scorer(tmp_path, profile=ArithmeticProfile.F64)


def test_a_verifier_of_another_form_is_not_written(tmp_path: Path) -> None:
    scorer = Scorer(8, 1, Fingerprinter(), Verifier(Fingerprinter.map_channels, plain=True), 1.0)
    with pytest.raises(ValueError, match="plain=True is no part of lite"):
        write_scorer(tmp_path, scorer)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", [remove_key, other_construction, cut, exchange])
def test_a_damaged_scorer_is_an_error_and_no_finding(
    task: TinyTask, trained: Trained, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    copy_scorer(task, tmp_path)
    damage(tmp_path)
    with pytest.raises(DatasetError, match="scorer"):
        jobs.score(score_request(task, trained, scorer=str(tmp_path)))


def test_a_reference_that_does_not_fit_is_an_error(task: TinyTask, trained: Trained) -> None:
    with pytest.raises(DatasetError, match="lacks train_images"):
        jobs.score(score_request(task, trained, reference=task.shard_folder(0)))


def test_an_evaluation_names_the_private_images_found(
    task: TinyTask, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = read_shard(Path(task.shard_folder(1)))
    copied = [3, 10, 101, 246]

    def regurgitate(*_: object, **__: object) -> LabelledImages:
        return shard.take(np.array(copied))

    monkeypatch.setattr("diffusion.score.report.generate", regurgitate)
    evaluated = jobs.evaluate(evaluate_request(task, trained))
    assert list(evaluated.memorised) == copied
    assert isinstance(evaluated.outcome, ScoreReport)
    assert evaluated.outcome.confirmed == 4


def test_an_evaluation_generates_fewer_images(task: TinyTask, trained: Trained) -> None:
    outcome = jobs.evaluate(evaluate_request(task, trained)).outcome
    assert isinstance(outcome, ScoreReport)
    assert outcome.n == 200


def test_too_few_private_images_cannot_evaluate(task: TinyTask, trained: Trained, tmp_path: Path) -> None:
    write_shard(tmp_path, read_shard(Path(task.shard_folder(0))).take(np.arange(3)))
    with pytest.raises(DatasetError, match="at least 4"):
        jobs.evaluate(evaluate_request(task, trained, data=str(tmp_path)))


# Sample


def test_a_grid_has_one_row_per_class(task: TinyTask, trained: Trained, tmp_path: Path) -> None:
    sampled = jobs.sample(sample_request(task, trained, tmp_path / "new" / "grid.png"))
    with Image.open(sampled.output) as image:
        assert image.size == (sampled.width, sampled.height) == (3 * 18 + 2, 10 * 18 + 2)
        assert image.mode == "L"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["grid.png"]


def test_a_grid_of_unsigned_weights_is_refused(task: TinyTask, trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(CheckpointRefused):
        jobs.sample(sample_request(task, trained, tmp_path / "grid.png", weights_digest=Hash(bytes(32))))
