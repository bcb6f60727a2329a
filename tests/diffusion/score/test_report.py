from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from diffusion.checkpoint import load_weights, write_checkpoint
from diffusion.data import LabelledImages, Reference, Split
from diffusion.data.images import concatenate
from diffusion.errors import CheckpointRefused
from diffusion.jobs import model_spec
from diffusion.score.calibrate import ceilings_from, novelty_weight_from, novelty_weight_max
from diffusion.score.integer_weights import integer_scorer, integer_weights
from diffusion.score.noise import noise_images
from diffusion.score.report import Assessment, describe_reference, generate, score_checkpoint, score_images
from diffusion.score.scorer import FEATURE_VARIANCE, read_scorer, write_scorer
from diffusion.score.spec import default_scoring
from diffusion.train import new_weights
from pdfedchain.ids import Hash
from pdfedchain.types.score import MICRO, ArithmeticProfile, ScoreReport, Unscorable, UnscorableReason
from tests.diffusion.conftest import TinyTask

SEED = Hash(b"\x06" * 32)
MODEL = model_spec(image_size=8, channels=1, classes=10)
WEIGHTS = integer_weights({tensor.name: tensor.shape for tensor in MODEL.tensors})
SCORING = dataclasses.replace(default_scoring("lite-8px-1ch"), n=40, sampling_steps=4)


def tiny_reference(digits: Split) -> Reference:
    every_fifth = np.arange(0, 300, 5)
    return Reference(digits.reference.train.take(every_fifth), digits.reference.test.take(every_fifth))


def assess(task: TinyTask, images: np.ndarray) -> Assessment:
    scorer, scoring = task.scorer(), task.prepared.scoring
    return score_images(scorer, scoring, describe_reference(scorer, scoring, task.reference(), classes=10), images)


def near_copies(reference: Reference) -> np.ndarray:
    """Every second reference image with integer noise: close enough for every part of a score to have work."""
    images = concatenate(reference.train, reference.test).images[::2]
    shift = np.rint(noise_images(SEED, 0, len(images), images.shape[1:]) * 24)
    return np.clip(images + shift, 0, 255).astype(np.uint8)


def test_the_score_of_integer_weights_is_pinned(digits: Split, tmp_path: Path) -> None:
    """A change here is a new scoring version: authorities of running tasks would no longer agree."""
    digest = write_checkpoint(tmp_path / "checkpoint", MODEL, WEIGHTS)
    reference, scorer = tiny_reference(digits), integer_scorer()
    outcome = score_checkpoint(MODEL, SCORING, tmp_path / "checkpoint", digest, reference, scorer, seed=SEED).outcome
    assert isinstance(outcome, ScoreReport)
    assert outcome.images_hash.hex() == "64bb8b27b9815b993319dd1e26ae56a6f87e5b2074bca02dee3da96183c35f64"
    assert (outcome.checked, outcome.fid_micro) == (0, 7_907_827_763)

    # the scorer has learned nothing, so its similarities are low
    scoring = dataclasses.replace(SCORING, retrieval_deviations_micro=0, match_threshold_micro=300_000)
    described = describe_reference(scorer, scoring, reference, classes=10)
    report = score_images(scorer, scoring, described, near_copies(reference)).report
    assert (report.checked, report.confirmed) == (109, 32)
    assert (report.v_a_micro, report.v_c_micro, report.fid_micro) == (292_305, 360_932, 1_301_033_425)


def test_the_score_does_not_depend_on_batches_or_threads(task: TinyTask, trained: tuple[Path, Hash]) -> None:
    scoring = dataclasses.replace(task.prepared.scoring, n=60)
    outcomes = []
    for threads, batch_size in ((1, 64), (2, 64), (1, 7)):
        torch.set_num_threads(threads)
        try:
            assessed = score_checkpoint(
                task.prepared.model,
                scoring,
                *trained,
                task.reference(),
                task.scorer(),
                seed=SEED,
                batch_size=batch_size,
            )
        finally:
            torch.set_num_threads(1)
        outcomes.append((assessed.outcome, assessed.memorised))
    assert isinstance(outcomes[0][0], ScoreReport)
    assert outcomes[0][0].checked > 0
    assert outcomes == [outcomes[0]] * 3


def test_another_seed_gives_other_images(task: TinyTask, trained: tuple[Path, Hash]) -> None:
    scoring = dataclasses.replace(task.prepared.scoring, n=10)
    hashes = set()
    for seed in (b"\x01", b"\x02"):
        outcome = score_checkpoint(
            task.prepared.model, scoring, *trained, task.reference(), task.scorer(), seed=Hash(seed * 32)
        ).outcome
        assert isinstance(outcome, ScoreReport)
        hashes.add(outcome.images_hash)
    assert len(hashes) == 2


def test_copies_are_confirmed_and_remembered(task: TinyTask, digits: Split) -> None:
    reference = task.reference()
    copied = np.arange(0, 300, 3)
    images = np.concatenate([reference.train.images[copied], reference.test.images[copied]])
    assessment = assess(task, images)
    assert assessment.report.confirmed > 0.9 * len(images)
    expected = set(copied.tolist()) | set((300 + copied).tolist())
    assert len(expected & set(assessment.memorised)) > 0.9 * len(images)
    held_out = assess(task, digits.held_out.images[::6]).report
    assert held_out.r_c_micro < 0.4 * assessment.report.r_c_micro


def test_a_training_image_is_confirmed_once_however_often_it_is_copied(task: TinyTask) -> None:
    images = np.repeat(task.reference().train.images[:1], 20, axis=0)
    assessment = assess(task, images)
    assert assessment.report.checked >= 20
    assert len(set(assessment.memorised)) == len(assessment.memorised) == assessment.report.confirmed < 20


def test_noise_is_far_worse_than_real_images(task: TinyTask, digits: Split) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (200, 1, 8, 8), dtype=np.uint8)
    real = assess(task, digits.held_out.images[::6]).report
    assert assess(task, noise).report.fid_micro > task.prepared.ceilings.fid_micro_max > real.fid_micro


def test_neither_noise_nor_copies_beat_what_is_good(task: TinyTask, digits: Split, trained: tuple[Path, Hash]) -> None:
    weight = task.prepared.scoring.novelty_weight
    reference = task.reference()

    def of_model(weights: dict[str, np.ndarray]) -> np.ndarray:
        scoring = dataclasses.replace(task.prepared.scoring, n=200, profile=ArithmeticProfile.F32)
        return generate(task.prepared.model, scoring, weights, seed=SEED).images

    def qn(images: np.ndarray) -> int:
        return assess(task, images).report.qn_micro(weight)

    real = qn(digits.held_out.images[::6])
    model = qn(of_model(load_weights(trained[0], task.prepared.model, trained[1])))
    noise = qn(of_model(new_weights(json.loads(task.prepared.model.unet_config), SEED)))
    copies = qn(concatenate(reference.train, reference.test).images[::3])
    worst_accepted = task.prepared.ceilings.fid_micro_max // 2
    assert real < model < worst_accepted < min(noise, copies)


def test_the_order_of_reference_and_generated_images_does_not_matter(task: TinyTask, digits: Split) -> None:
    rng = np.random.default_rng(2)

    def shuffled(part: LabelledImages) -> LabelledImages:
        return part.take(rng.permutation(len(part)))

    scorer, scoring = task.scorer(), task.prepared.scoring
    images = concatenate(digits.held_out.take(np.arange(60)), task.reference().train.take(np.arange(0, 300, 9)))
    reference = task.reference()
    plain = assess(task, images.images).report
    mixed = Reference(shuffled(reference.train), shuffled(reference.test))
    described = describe_reference(scorer, scoring, mixed, classes=10)
    again = score_images(scorer, scoring, described, shuffled(images).images).report
    assert plain.confirmed > 0
    assert dataclasses.replace(again, images_hash=plain.images_hash) == plain


@pytest.mark.parametrize("count", [2, 11])
def test_components_are_in_range_for_any_images(task: TinyTask, count: int) -> None:
    black = np.zeros((count, 1, 8, 8), np.uint8)
    report = assess(task, black).report
    assert report.n == count
    assert report.confirmed <= report.checked
    assert report.fid_micro > 0


def test_each_finding_about_a_checkpoint_is_an_outcome(
    task: TinyTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = write_checkpoint(tmp_path / "checkpoint", MODEL, WEIGHTS)

    def outcome(signed: Hash) -> ScoreReport | Unscorable:
        return score_checkpoint(
            MODEL, SCORING, tmp_path / "checkpoint", signed, task.reference(), task.scorer(), seed=SEED
        ).outcome

    assert outcome(Hash(bytes(32))) == Unscorable(UnscorableReason.DIGEST_MISMATCH)

    def diverge(*_: object, **__: object) -> None:
        raise CheckpointRefused(UnscorableReason.DIVERGED, "as a test")

    monkeypatch.setattr("diffusion.score.report.generate", diverge)
    assert outcome(digest) == Unscorable(UnscorableReason.DIVERGED)


def test_the_scorer_survives_the_disk(tmp_path: Path) -> None:
    scorer = integer_scorer()
    write_scorer(tmp_path, scorer)
    again = read_scorer(tmp_path, profile=ArithmeticProfile.F64)
    assert again.feature_scale == scorer.feature_scale
    for expected, actual in (
        (scorer.fingerprinter, again.fingerprinter),
        (scorer.verifier, again.verifier),
    ):
        for name, tensor in expected.state_dict().items():
            torch.testing.assert_close(tensor, actual.state_dict()[name], atol=0, rtol=0)


def test_the_feature_scale_makes_the_variance_what_it_says(task: TinyTask) -> None:
    scorer, reference = task.scorer(), task.reference()
    described = describe_reference(scorer, task.prepared.scoring, reference, classes=10)
    variance = (described.novelty.features * scorer.feature_scale).var(axis=0).sum()
    assert variance == pytest.approx(FEATURE_VARIANCE, rel=1e-5)


def test_ceilings_follow_from_held_out_images() -> None:
    held_out = ScoreReport(
        n=398, checked=200, confirmed=3, v_a_micro=1, v_c_micro=1, fid_micro=20_300_000, images_hash=Hash(bytes(32))
    )
    calibration = ceilings_from(held_out, 400)
    assert calibration.ceilings.fid_micro_max == 82_000_000
    expected = 0.01 + 3 * math.sqrt(0.01 * 0.99 / 400) + 0.03
    assert calibration.ceilings.r_c_micro_max == math.ceil(expected * 1000) * 1000
    assert calibration.novelty_weight == 3_695


def test_the_weight_has_the_balance_of_the_papers_table() -> None:
    mean_fid = sum([624, 641, 692, 750, 677, 710, 739, 724, 741, 755, 800, 725]) / 12
    good_by_held_out = 1.3
    weight = novelty_weight_from(round(mean_fid / good_by_held_out * MICRO))
    assert weight == pytest.approx(100_000, rel=0.01)
    assert novelty_weight_from(1) == 1


def test_mistakes_of_the_verifier_never_put_real_images_behind_a_good_model() -> None:
    mistaken = ScoreReport(
        n=400,
        checked=300,
        confirmed=24,
        v_a_micro=200_000,
        v_c_micro=950_000,
        fid_micro=28_000_000,
        images_hash=Hash(bytes(32)),
    )
    good_model = dataclasses.replace(mistaken, confirmed=0, v_c_micro=0, fid_micro=28_000_000 * 13 // 10)
    most = novelty_weight_max(mistaken)
    assert mistaken.qn_micro(most) <= good_model.qn_micro(most) < mistaken.qn_micro(most + 1)
    assert ceilings_from(mistaken, 400).novelty_weight == most < novelty_weight_from(mistaken.fid_micro)
    assert novelty_weight_max(good_model) == 10**9
