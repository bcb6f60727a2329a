"""Scores that whoever made a task has computed, for others to compute again: does a machine score as the makers' did?

Two, of 64 images each: of images sampled by the task's network with integer weights (sampling and quality), and of
reference images with noise (search, verification, novelty). They lie beside the scorer as ``known-scores.json``, so
the task pins them with it. ``pdfed calibrate`` compares; no score on chain depends on them.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from diffusion.config import canonical_json
from diffusion.data.images import Reference, concatenate
from diffusion.errors import DatasetError
from diffusion.progress import Report, silent
from diffusion.score.integer_weights import integer_weights
from diffusion.score.noise import noise_images
from diffusion.score.report import describe_reference, generate, score_images
from diffusion.score.scorer import Scorer
from pdfedchain.crypto import tagged_hash
from pdfedchain.ids import Hash
from pdfedchain.types.score import ScoreReport, ScoringSpec
from pdfedchain.types.task import ModelSpec

__all__ = ["KnownScores", "known_scores", "read_known", "write_known"]

_FILE: Final = "known-scores.json"
_SIZE_BYTES_MAX: Final = 65_536
_SEED: Final = tagged_hash("pdfed/known-scores/v1", b"")
_IMAGES: Final = 64
#: Deviation of the noise on reference images, in grey levels.
_LEVELS: Final = 8


@dataclass(frozen=True, slots=True)
class KnownScores:
    """Reports of sampled images and of reference images with noise, and what they cost."""

    reports: tuple[ScoreReport, ...]
    sample_ms: int
    reference_ms: int
    feature_ms: int

    def score_ms(self, n: int) -> int:
        """Time of a score of n images: sampling and features grow with n, the reference is described once."""
        return self.reference_ms + (self.sample_ms + self.feature_ms) * n // self.reports[0].n


def known_scores(
    model: ModelSpec,
    scoring: ScoringSpec,
    reference: Reference,
    scorer: Scorer,
    *,
    device: str = "cpu",
    report: Report = silent,
) -> KnownScores:
    """Compute both scores in the task's profile; ``scorer`` has its precision already."""
    few = replace(scoring, n=min(scoring.n, _IMAGES))
    started = time.monotonic()
    weights = integer_weights({tensor.name: tensor.shape for tensor in model.tensors})
    sampled = generate(model, few, weights, seed=_SEED, device=device, report=report).images
    done_sampling = time.monotonic()
    described = describe_reference(scorer, few, reference, classes=model.classes, report=report)
    done_describing = time.monotonic()
    first = score_images(scorer, few, described, sampled, report=report).report
    done = time.monotonic()
    both = concatenate(reference.train, reference.test).images
    chosen = both[np.linspace(0, len(both) - 1, few.n).astype(np.int64)]
    noisy = chosen + np.rint(noise_images(_SEED, 0, few.n, both.shape[1:]) * _LEVELS)
    second = score_images(scorer, few, described, np.clip(noisy, 0, 255).astype(np.uint8), report=report).report
    return KnownScores(
        (first, second),
        sample_ms=_ms(started, done_sampling),
        reference_ms=_ms(done_sampling, done_describing),
        feature_ms=_ms(done_describing, done),
    )


def write_known(folder: Path, reports: tuple[ScoreReport, ...]) -> None:
    """Write the file into a scorer's folder."""
    plain = [{**asdict(report), "images_hash": report.images_hash.hex()} for report in reports]
    (folder / _FILE).write_text(canonical_json(plain), encoding="utf-8")


def read_known(folder: Path) -> tuple[ScoreReport, ...]:
    """The reports of a scorer's folder.

    Raises:
        DatasetError: there is no such file, or it holds something else.
    """
    try:
        with (folder / _FILE).open("rb") as file:
            plain = json.loads(file.read(_SIZE_BYTES_MAX))
        return tuple(
            ScoreReport(**{**entry, "images_hash": Hash(bytes.fromhex(entry["images_hash"]))}) for entry in plain
        )
    except FileNotFoundError as error:
        raise DatasetError(
            f"{folder} has no known scores", hint="The task was made without; score it as it is."
        ) from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DatasetError(
            f"{folder / _FILE} holds no scores: {error}", hint="Fetch the task's scorer again."
        ) from error


def _ms(start_s: float, end_s: float) -> int:
    return round(1_000 * (end_s - start_s))
