"""The quality-novelty score of images, and of a checkpoint that generates them (PDFed, section 3.2).

`score_images` compares images with a reference set; `score_checkpoint` first samples them. Quality is measured
against the reference's test part, novelty against both parts: copying the public test images would otherwise give
the best quality unpunished. Everything up to `quantise` is floating point in the task's profile, with each comparison
made on rounded numbers; the report is integers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffusion.checkpoint import load_weights
from diffusion.data.images import LabelledImages, Reference, concatenate
from diffusion.errors import CheckpointRefused
from diffusion.progress import Report, silent
from diffusion.sampler import sample_images
from diffusion.schedule import schedule_from_config
from diffusion.score.fingerprint import Described, describe
from diffusion.score.frechet import frechet_distance
from diffusion.score.noise import labels_balanced
from diffusion.score.quantise import to_report
from diffusion.score.retrieval import DECIMALS, close_pairs, greedy_matching, thresholds_by_class
from diffusion.score.scorer import Scorer
from diffusion.score.verifier import similarities
from diffusion.train import load_model
from pdfedchain.crypto import tagged_hash
from pdfedchain.ids import Hash
from pdfedchain.types.score import MICRO, ArithmeticProfile, ScoreReport, ScoringSpec, Unscorable
from pdfedchain.types.task import ModelSpec

__all__ = [
    "Assessed",
    "Assessment",
    "DescribedReference",
    "describe_reference",
    "generate",
    "score_checkpoint",
    "score_images",
]


@dataclass(frozen=True, slots=True, eq=False)
class DescribedReference:
    """A reference set as the scorer sees it, to be compared with any number of sets of images.

    Attributes:
        novelty: the training part, then the test part; ``images`` (uint8) and ``labels`` in the same order.
        quality_features: scaled features of the test part.
        thresholds: T_c by class.
    """

    novelty: Described
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    quality_features: NDArray[np.float64]
    thresholds: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Assessment:
    """A report, and which reference images (training part first, then test) had a confirmed match."""

    report: ScoreReport
    memorised: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Assessed:
    """What scoring a checkpoint gave, and how long its parts took."""

    outcome: ScoreReport | Unscorable
    memorised: tuple[int, ...]
    sample_ms: int
    feature_ms: int


def describe_reference(
    scorer: Scorer, scoring: ScoringSpec, reference: Reference, *, classes: int, report: Report = silent
) -> DescribedReference:
    """Describe a reference set once."""
    both = concatenate(reference.train, reference.test)
    novelty = describe(scorer.fingerprinter, both.images, extractor=scorer.extractor, report=report)
    return DescribedReference(
        novelty=novelty,
        images=both.images,
        labels=both.labels,
        quality_features=novelty.features[len(reference.train) :] * scorer.feature_scale,
        thresholds=thresholds_by_class(
            novelty.fingerprints,
            both.labels,
            classes=classes,
            deviations=scoring.retrieval_deviations_micro / MICRO,
        ),
    )


def score_images(
    scorer: Scorer,
    scoring: ScoringSpec,
    reference: DescribedReference,
    images: NDArray[np.uint8],
    *,
    batch_size: int = 64,
    report: Report = silent,
) -> Assessment:
    """Score generated images, uint8 (n, C, S, S); ``scoring.n`` does not matter here.

    Raises:
        CheckpointRefused: a feature is not finite.
    """
    generated = describe(scorer.fingerprinter, images, extractor=scorer.extractor, batch_size=batch_size, report=report)
    pairs = close_pairs(
        generated.fingerprints,
        reference.novelty.fingerprints,
        reference.labels,
        reference.thresholds,
        neighbours=scoring.neighbours,
        pairs_max=scoring.pairs_max,
    )
    similarity = np.round(
        similarities(scorer.fingerprinter, scorer.verifier, images, reference.images, pairs, batch_size=batch_size),
        DECIMALS,
    )
    confirmed = greedy_matching(pairs, similarity, threshold=scoring.match_threshold_micro / MICRO)
    result = to_report(
        n=len(images),
        checked=len(pairs),
        confirmed=len(confirmed),
        v_a=float(similarity.mean()) if len(pairs) else 0.0,
        v_c=float(similarity[confirmed].mean()) if len(confirmed) else 0.0,
        fid=frechet_distance(generated.features * scorer.feature_scale, reference.quality_features),
        images_hash=tagged_hash("pdfed/images/v1", np.array(images.shape, dtype=">u8").tobytes(), images.tobytes()),
    )
    return Assessment(result, tuple(sorted(int(index) for index in pairs[confirmed, 1])))


def generate(
    model: ModelSpec,
    scoring: ScoringSpec,
    weights: Mapping[str, NDArray[Any]],
    *,
    seed: Hash,
    device: str = "cpu",
    batch_size: int = 64,
    report: Report = silent,
) -> LabelledImages:
    """The images by which a checkpoint is judged.

    Raises:
        CheckpointRefused: an image is not finite.
        UnsupportedModel: this version does not implement the task's configuration.
    """
    import torch

    dtype = torch.float64 if scoring.profile is ArithmeticProfile.F64 else torch.float32
    network = load_model(json.loads(model.unet_config), weights, dtype=dtype, device=device)
    labels = labels_balanced(scoring.n, model.classes)
    images = sample_images(
        network,
        schedule_from_config(json.loads(model.scheduler_config)),
        labels,
        shape=(model.channels, model.image_size, model.image_size),
        steps=scoring.sampling_steps,
        seed=seed,
        batch_size=batch_size,
        report=report,
    )
    return LabelledImages(images, labels)


def score_checkpoint(
    model: ModelSpec,
    scoring: ScoringSpec,
    checkpoint: Path,
    digest: Hash | None,
    reference: Reference,
    scorer: Scorer,
    *,
    seed: Hash,
    device: str = "cpu",
    batch_size: int = 64,
    report: Report = silent,
) -> Assessed:
    """Score a checkpoint folder; whatever is wrong with it is an outcome, not an error.

    Raises:
        UsageError: the folder does not exist.
        UnsupportedModel: this version does not implement the task's configuration.
        OSError: this machine cannot read it. Like a time-out, that is never a reason to call weights unscorable.
    """
    started = sampled = time.monotonic()
    try:
        weights = load_weights(checkpoint, model, digest)
        images = generate(
            model, scoring, weights, seed=seed, device=device, batch_size=batch_size, report=report
        ).images
        sampled = time.monotonic()
        described = describe_reference(scorer, scoring, reference, classes=model.classes, report=report)
        assessment = score_images(scorer, scoring, described, images, batch_size=batch_size, report=report)
    except CheckpointRefused as refused:
        return Assessed(Unscorable(refused.reason), (), _ms(started, time.monotonic()), 0)
    return Assessed(assessment.report, assessment.memorised, _ms(started, sampled), _ms(sampled, time.monotonic()))


def _ms(start_s: float, end_s: float) -> int:
    return round(1_000 * (end_s - start_s))
