"""What each request of `pdfedchain.types.jobs` does, as plain functions from request to result.

The worker calls `run`; a program that wants no worker process calls the functions directly. Checks of a request that
cost nothing come before work that costs minutes.
"""

from __future__ import annotations

import dataclasses
import json
import time
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch

from diffusion.aggregate import average_weights
from diffusion.arithmetic import exact_arithmetic
from diffusion.calibrate_machine import calibrate_machine
from diffusion.checkpoint import load_weights, tensor_specs, write_checkpoint, write_folder
from diffusion.checks import check_images, differences, scoring_device, usable_device
from diffusion.config import canonical_json, scheduler_config, unet_config
from diffusion.data import load_dataset, split
from diffusion.data.images import (
    LabelledImages,
    Reference,
    concatenate,
    read_reference,
    read_shard,
    read_training_images,
    write_reference,
    write_shard,
)
from diffusion.errors import DatasetError
from diffusion.grid import write_grid
from diffusion.progress import Report, silent
from diffusion.sampler import sample_images
from diffusion.schedule import schedule_from_config
from diffusion.score.calibrate import calibrate
from diffusion.score.files import score_folders_to_files
from diffusion.score.known import known_scores, write_known
from diffusion.score.learn import LearningPlan, train_scorer
from diffusion.score.report import score_checkpoint
from diffusion.score.scorer import read_scorer, write_scorer
from diffusion.score.shipped import shipped_fingerprinter
from diffusion.score.shipping import train_scorer_to_folder
from diffusion.score.spec import default_scoring, tolerance_of
from diffusion.train import load_model, new_weights, train
from pdfedchain.crypto import tagged_hash
from pdfedchain.errors import UsageError
from pdfedchain.ids import Hash
from pdfedchain.types.jobs import (
    Calibrate,
    Calibrated,
    Evaluate,
    Evaluated,
    FoldersScored,
    Prepare,
    Prepared,
    Sample,
    Sampled,
    Score,
    Scored,
    ScoreFolders,
    ScorerTrained,
    SelfTest,
    SelfTested,
    Train,
    Trained,
    TrainScorer,
)
from pdfedchain.types.score import MICRO, ArithmeticProfile, ScoreReport
from pdfedchain.types.task import ModelSpec

__all__ = ["evaluate", "model_spec", "prepare", "run", "sample", "score", "train_checkpoint"]

#: Images generated for a private vote: its components are rounded before they leave, so fewer do.
_EVALUATION_IMAGES_MAX: Final = 200
#: A checkpoint folder holds the tensors, their header and three short texts.
_FOLDER_OVERHEAD_BYTES: Final = 262_144


def run(
    request: Prepare | Train | Score | Evaluate | Sample | ScoreFolders | TrainScorer | SelfTest | Calibrate,
    report: Report,
) -> Prepared | Trained | Scored | Evaluated | Sampled | FoldersScored | ScorerTrained | SelfTested | Calibrated:
    """Do one job.

    Raises:
        PdfedError: the request is wrong (`InputError`), or it cannot be done here.
    """
    match request:
        case Prepare():
            return prepare(request, report)
        case Train():
            return train_checkpoint(request, report)
        case Score():
            return score(request, report)
        case Evaluate():
            return evaluate(request, report)
        case Sample():
            return sample(request, report)
        case ScoreFolders():
            usable_device(request.device)
            return score_folders_to_files(request, report)
        case TrainScorer():
            usable_device(request.device)
            return train_scorer_to_folder(request, report)
        case SelfTest():
            device = usable_device(request.device)
            return SelfTested(
                f64=differences(ArithmeticProfile.F64, device), f32=differences(ArithmeticProfile.F32, device)
            )
        case Calibrate():
            return calibrate_machine(request, report)


def model_spec(*, image_size: int, channels: int, classes: int) -> ModelSpec:
    """The model of a new task for images of this kind."""
    config = unet_config(image_size=image_size, channels=channels, classes=classes)
    tensors = new_weights(config, Hash(bytes(32)))
    return ModelSpec(
        image_size=image_size,
        channels=channels,
        classes=classes,
        unet_config=canonical_json(config),
        scheduler_config=canonical_json(scheduler_config()),
        tensors=tensor_specs(tensors),
        size_bytes_max=sum(array.nbytes for array in tensors.values()) + _FOLDER_OVERHEAD_BYTES,
    )


@exact_arithmetic()
def prepare(request: Prepare, report: Report = silent, *, plan: LearningPlan | None = None) -> Prepared:
    """Make the reference set, the private shards and the scorer of a new task, and calibrate its ceilings.

    Raises:
        DatasetError: the data set is unknown, unreadable or too small.
        UsageError: an output folder exists already.
    """
    usable_device(request.device)
    output = Path(request.output)
    folders = [output / "reference", output / "scorer", *(output / f"private/{k}" for k in range(request.shards))]
    for folder in folders:
        if folder.exists():
            raise UsageError(f"{folder} exists already", hint="Choose a new folder, or remove this one first.")
    data = load_dataset(request.dataset, shards=request.shards, report=report)
    parts = split(data, shards=request.shards, seed=request.split_seed)
    _, channels, image_size, _ = data.images.shape
    model = model_spec(image_size=image_size, channels=channels, classes=int(data.labels.max()) + 1)
    seed = tagged_hash("pdfed/scorer-seed/v1", request.split_seed)
    scorer = train_scorer(
        # both parts: copies are looked for among both, and a verifier confirms wrongly what it has not seen (ADR 0144)
        concatenate(parts.reference.train, parts.reference.test),
        seed=seed,
        plan=plan,
        start=shipped_fingerprinter(),
        device=request.device,
        report=report,
    )
    scoring = default_scoring(scorer.extractor_name, profile=request.profile)
    calibration = calibrate(scorer, scoring, parts, seed=seed, report=report)
    write_folder(output / "reference", lambda folder: write_reference(folder, parts.reference))
    known = known_scores(model, scoring, parts.reference, scorer.to(scoring.profile), report=report)

    def write_scoring(folder: Path) -> None:
        write_scorer(folder, scorer)
        write_known(folder, known.reports)

    write_folder(output / "scorer", write_scoring)
    for index, shard in enumerate(parts.shards):
        write_folder(output / f"private/{index}", partial(write_shard, shard=shard))
    return Prepared(
        model=model,
        scoring=dataclasses.replace(
            scoring,
            novelty_weight=calibration.novelty_weight,
            tolerance=tolerance_of(request.profile, calibration.ceilings.fid_micro_max),
        ),
        ceilings=calibration.ceilings,
        shard_sizes=tuple(len(shard) for shard in parts.shards),
    )


def train_checkpoint(request: Train, report: Report = silent) -> Trained:
    """Train from parents, or from scratch, and write a checkpoint folder.

    Raises:
        CheckpointRefused: a parent is not a checkpoint of this task.
        DatasetError: a data folder is none, or does not fit the task.
        TrainingDiverged: the loss is not finite.
        UsageError: the output exists already, or too much is excluded.
    """
    started = time.monotonic()
    device, output = usable_device(request.device), Path(request.output)
    if output.exists():
        raise UsageError(f"{output} exists already", hint="Choose a new folder, or remove this one first.")
    data = _training_images(request)
    config = json.loads(request.model.unet_config)
    parents = [load_weights(Path(parent), request.model, None) for parent in request.parents]
    start = average_weights(parents) if parents else new_weights(config, request.seed)
    if tensor_specs(start) != request.model.tensors:
        raise UsageError("the task's tensor list does not follow from its network configuration")
    result = train(
        config,
        schedule_from_config(json.loads(request.model.scheduler_config)),
        start,
        data,
        continued=bool(parents),
        steps=request.steps,
        batch_size=request.batch_size,
        learning_rate=request.learning_rate_nano / 1e9,
        seed=request.seed,
        device=device,
        report=report,
    )
    digest = write_checkpoint(output, request.model, result.weights)
    return Trained(
        weights_digest=digest,
        steps=request.steps,
        images_seen=result.images_seen,
        loss_micro=round(result.loss * MICRO),
        wall_ms=_ms_since(started),
    )


@exact_arithmetic()
def score(request: Score, report: Report = silent) -> Scored:
    """The consensus score of a checkpoint.

    Raises:
        DatasetError: reference set or scorer cannot be used.
        UsageError: the scoring version is not installed, or the checkpoint folder is missing.
        PdfedError: this machine fails the self-test and must not score.
    """
    started = time.monotonic()
    device = scoring_device(request.device, request.scoring)
    reference = read_reference(Path(request.reference))
    for part in (reference.train, reference.test):
        check_images(part, request.model, Path(request.reference))
    assessed = score_checkpoint(
        request.model,
        request.scoring,
        Path(request.checkpoint),
        request.weights_digest,
        reference,
        read_scorer(Path(request.scorer), profile=request.scoring.profile, device=device),
        seed=request.seed,
        device=device,
        report=report,
    )
    return Scored(
        outcome=assessed.outcome,
        sample_ms=assessed.sample_ms,
        feature_ms=assessed.feature_ms,
        wall_ms=_ms_since(started),
    )


@exact_arithmetic()
def evaluate(request: Evaluate, report: Report = silent) -> Evaluated:
    """The same components on private images: even indices are the training part, odd ones the test part.

    In float32, since nobody has to reproduce a private vote.

    Raises:
        DatasetError: the private images or the scorer cannot be used.
        UsageError: the scoring version is not installed, or the checkpoint folder is missing.
    """
    started = time.monotonic()
    scoring = dataclasses.replace(
        request.scoring, profile=ArithmeticProfile.F32, n=min(request.scoring.n, _EVALUATION_IMAGES_MAX)
    )
    device = scoring_device(request.device, scoring)
    shard = read_shard(Path(request.data))
    check_images(shard, request.model, Path(request.data))
    if len(shard) < 4:
        raise DatasetError(f"{request.data} has {len(shard)} images, at least 4 are needed to evaluate a model")
    order = np.concatenate([np.arange(0, len(shard), 2), np.arange(1, len(shard), 2)])
    half = (len(shard) + 1) // 2
    assessed = score_checkpoint(
        request.model,
        scoring,
        Path(request.checkpoint),
        request.weights_digest,
        Reference(train=shard.take(order[:half]), test=shard.take(order[half:])),
        read_scorer(Path(request.scorer), profile=scoring.profile, device=device),
        seed=request.seed,
        device=device,
        report=report,
    )
    memorised = tuple(sorted(int(order[index]) for index in assessed.memorised))
    return Evaluated(
        outcome=assessed.outcome,
        memorised=memorised if isinstance(assessed.outcome, ScoreReport) else (),
        wall_ms=_ms_since(started),
    )


def sample(request: Sample, report: Report = silent) -> Sampled:
    """Write a grid of samples, one row per class.

    Raises:
        CheckpointRefused: the checkpoint cannot be loaded, or its images are not finite.
        UsageError: the checkpoint folder is missing.
    """
    device, model = usable_device(request.device), request.model
    weights = load_weights(Path(request.checkpoint), model, request.weights_digest)
    images = sample_images(
        load_model(json.loads(model.unet_config), weights, dtype=torch.float32, device=device),
        schedule_from_config(json.loads(model.scheduler_config)),
        np.repeat(np.arange(model.classes, dtype=np.int64), request.per_class),
        shape=(model.channels, model.image_size, model.image_size),
        steps=request.sampling_steps,
        seed=request.seed,
        report=report,
    )
    width, height = write_grid(Path(request.output), images, columns=request.per_class, scale=request.scale)
    return Sampled(output=request.output, width=width, height=height)


def _training_images(request: Train) -> LabelledImages:
    parts = []
    for position, folder in enumerate(request.data):
        part = read_training_images(Path(folder))
        check_images(part, request.model, Path(folder))
        if position == 0 and request.exclude:
            if max(request.exclude) >= len(part):
                raise UsageError(f"image {max(request.exclude)} is to be left out of {folder}, which has {len(part)}")
            part = part.take(np.setdiff1d(np.arange(len(part)), np.array(request.exclude)))
        parts.append(part)
    data = concatenate(*parts)
    if len(data) == 0:
        raise UsageError("all images are left out of the training", hint="Exclude fewer.")
    return data


def _ms_since(started_s: float) -> int:
    return round(1_000 * (time.monotonic() - started_s))
