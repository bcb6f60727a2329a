"""Messages between a node and its worker process (``python -m diffusion.worker``).

The node never imports torch. It starts a worker, writes one request frame to its standard input and reads frames
from its standard output: any number of `Progress`, then exactly one result or `JobFailed`. A frame is a 4-byte
big-endian length and the canonical encoding of one message. One job runs at a time; to cancel a job, kill the
process. Paths are absolute and local; fractional quantities are integers with the unit in the name.

========== =====================  ==========================================================
request    result                 work
========== =====================  ==========================================================
Prepare    Prepared               make reference set, private shards, scorer of a new task
Train      Trained                train from parents (or from scratch) on private images
Score      Scored                 the consensus score, or why the weights cannot be scored
Evaluate   Evaluated              the same components on private images, for a ballot
Sample     Sampled                a PNG grid of samples
SelfTest   SelfTested             a known score, computed before any other
Calibrate  Calibrated             scores that a task's makers computed, computed again
========== =====================  ==========================================================

Two more serve people without a node: `ScoreFolders` (`FoldersScored`) and `TrainScorer` (`ScorerTrained`). Their
results are files, since their figures are no chain's and need no integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pdfedchain.codec import canonical
from pdfedchain.ids import Hash, Name, Range, Size, UInt
from pdfedchain.types.score import ArithmeticProfile, ScoreReport, ScoringSpec, Unscorable
from pdfedchain.types.task import Ceilings, ModelSpec

__all__ = [
    "Calibrate",
    "Calibrated",
    "Evaluate",
    "Evaluated",
    "FoldersScored",
    "JobFailed",
    "JobMessage",
    "Prepare",
    "Prepared",
    "Progress",
    "Sample",
    "Sampled",
    "Score",
    "ScoreFolders",
    "Scored",
    "ScorerTrained",
    "SelfTest",
    "SelfTested",
    "Train",
    "TrainScorer",
    "Trained",
]

Path = Annotated[str, Size(4_096, low=1)]
Device = Annotated[str, Size(32, low=1)]
Count = Annotated[int, Range(0, 10**9)]


@canonical("pdfed/job/prepare/v1")
@dataclass(frozen=True, slots=True)
class Prepare:
    """Make what a new task pins. Every folder named must not exist yet.

    ``shards`` class-balanced private shards are written to ``output/private/0`` ... as ``images.safetensors``;
    the reference set to ``output/reference``, the scorer to ``output/scorer``.
    """

    dataset: Annotated[str, Size(4_096, low=1)]
    shards: Count
    split_seed: Hash
    output: Path
    device: Device
    profile: ArithmeticProfile = ArithmeticProfile.F64


@canonical("pdfed/job/prepared/v1")
@dataclass(frozen=True, slots=True)
class Prepared:
    """The parts of a `TaskSpec` that only torch can tell."""

    model: ModelSpec
    scoring: ScoringSpec
    ceilings: Ceilings
    shard_sizes: Annotated[tuple[UInt, ...], Size(10_000)]


@canonical("pdfed/job/train/v1")
@dataclass(frozen=True, slots=True)
class Train:
    """Train ``steps`` optimiser steps and write a checkpoint folder.

    Attributes:
        parents: checkpoint folders; none trains from scratch, several are averaged first.
        data: folders with ``images.safetensors`` (private shard, and the public reference train part).
        exclude: indices into the first data folder's images that de-duplication leaves out.
        output: folder to create; it appears complete or not at all.
    """

    model: ModelSpec
    parents: Annotated[tuple[Path, ...], Size(16)]
    data: Annotated[tuple[Path, ...], Size(16, low=1)]
    exclude: Annotated[tuple[UInt, ...], Size(1_000_000)]
    output: Path
    steps: Annotated[int, Range(1, 10**9)]
    batch_size: Annotated[int, Range(1, 65_536)]
    learning_rate_nano: Annotated[int, Range(1, 10**9)]
    seed: Hash
    device: Device


@canonical("pdfed/job/trained/v1")
@dataclass(frozen=True, slots=True)
class Trained:
    """What a finished training says of itself; it goes into the provenance record."""

    weights_digest: Hash
    steps: Count
    images_seen: UInt
    loss_micro: UInt
    wall_ms: UInt


@canonical("pdfed/job/score/v1")
@dataclass(frozen=True, slots=True)
class Score:
    """Compute the consensus score of one checkpoint folder against the task's reference set."""

    model: ModelSpec
    scoring: ScoringSpec
    checkpoint: Path
    weights_digest: Hash
    reference: Path
    scorer: Path
    seed: Hash
    device: Device


@canonical("pdfed/job/scored/v1")
@dataclass(frozen=True, slots=True)
class Scored:
    """A report, or the reason why there is none."""

    outcome: ScoreReport | Unscorable
    sample_ms: UInt
    feature_ms: UInt
    wall_ms: UInt


@canonical("pdfed/job/evaluate/v1")
@dataclass(frozen=True, slots=True)
class Evaluate:
    """Compute the same components against private images, for a private ballot.

    The first data folder is the private shard: its images play both the training part (novelty) and, in
    disjoint halves by index, the test part (quality).
    """

    model: ModelSpec
    scoring: ScoringSpec
    checkpoint: Path
    weights_digest: Hash
    data: Path
    scorer: Path
    seed: Hash
    device: Device


@canonical("pdfed/job/evaluated/v1")
@dataclass(frozen=True, slots=True)
class Evaluated:
    """``memorised``: indices of private images that had a confirmed match. They never leave the node."""

    outcome: ScoreReport | Unscorable
    memorised: Annotated[tuple[UInt, ...], Size(1_000_000)]
    wall_ms: UInt


@canonical("pdfed/job/sample/v1")
@dataclass(frozen=True, slots=True)
class Sample:
    """Write a PNG grid with one row per class and ``per_class`` columns."""

    model: ModelSpec
    checkpoint: Path
    weights_digest: Hash
    per_class: Annotated[int, Range(1, 1_000)]
    sampling_steps: Annotated[int, Range(1, 10_000)]
    scale: Annotated[int, Range(1, 64)]
    seed: Hash
    output: Path
    device: Device


@canonical("pdfed/job/sampled/v1")
@dataclass(frozen=True, slots=True)
class Sampled:
    """Where the grid is, and its size in pixels."""

    output: Path
    width: Count
    height: Count


@canonical("pdfed/job/score-folders/v1")
@dataclass(frozen=True, slots=True)
class ScoreFolders:
    """Score a folder of images against folders of training and test images.

    Attributes:
        scorer: folder of a scorer; ``None`` trains a small one on the training images.
        novelty_weight: ``None`` calibrates one.
        cache: folder in which features are remembered; ``None`` remembers none.
        output: folder to create: ``report.json``, ``pairs.csv`` and, with pairs to show, ``worst.png``.
        shown: at most so many pairs in the picture.
    """

    generated: Path
    train: Path
    test: Path
    scorer: Path | None
    novelty_weight: Annotated[int, Range(0, 10**9)] | None
    cache: Path | None
    profile: ArithmeticProfile
    output: Path
    shown: Annotated[int, Range(0, 1_000)]
    device: Device


@canonical("pdfed/job/folders-scored/v1")
@dataclass(frozen=True, slots=True)
class FoldersScored:
    """Where the files are."""

    output: Path


@canonical("pdfed/job/train-scorer/v1")
@dataclass(frozen=True, slots=True)
class TrainScorer:
    """Train a scorer on images, and measure it on some that are held out.

    Attributes:
        images: a known data set or a folder of images; several only for a fingerprinter alone.
        output: folder to create, complete or not at all; what is unfinished lies beside it.
        resume: go on where an interrupted training of the same output stopped; else one is an error.
        fingerprinter_steps: of tuning the shipped fingerprinter, or of training one alone.
        verifier_steps: 0 trains a fingerprinter alone, for every image size.
    """

    images: Annotated[tuple[Path, ...], Size(64, low=1)]
    output: Path
    resume: bool
    fingerprinter_steps: Count
    verifier_steps: Count
    seed: Annotated[int, Range(0, 2**32 - 1)]
    device: Device


@canonical("pdfed/job/scorer-trained/v1")
@dataclass(frozen=True, slots=True)
class ScorerTrained:
    """Where the scorer and its ``card.json`` are."""

    output: Path


@canonical("pdfed/job/self-test/v1")
@dataclass(frozen=True, slots=True)
class SelfTest:
    """Compute the known score of this version in both profiles."""

    device: Device


#: What a self-test found to differ, one phrase each.
Differences = Annotated[tuple[Annotated[str, Size(256)], ...], Size(64)]


@canonical("pdfed/job/self-tested/v1")
@dataclass(frozen=True, slots=True)
class SelfTested:
    """What differs from the known score; nothing where this machine may score in that profile."""

    f64: Differences
    f32: Differences


@canonical("pdfed/job/calibrate/v1")
@dataclass(frozen=True, slots=True)
class Calibrate:
    """Compute again the scores that a task's scorer folder says are known, and the self-test."""

    model: ModelSpec
    scoring: ScoringSpec
    reference: Path
    scorer: Path
    device: Device


@canonical("pdfed/job/calibrated/v1")
@dataclass(frozen=True, slots=True)
class Calibrated:
    """What was known and what was found, in the same order, and what a whole score costs here.

    Attributes:
        known, found: of images sampled by a network of integer weights; of reference images with noise.
        self_test: what differs from the known score of this version in the task's profile.
        score_ms: time of one score with the task's number of images, from a part of them.
    """

    known: Annotated[tuple[ScoreReport, ...], Size(8)]
    found: Annotated[tuple[ScoreReport, ...], Size(8)]
    self_test: Differences
    score_ms: UInt


@canonical("pdfed/job/progress/v1")
@dataclass(frozen=True, slots=True)
class Progress:
    """How far the running job is. ``loss_micro`` is zero for stages without a loss."""

    stage: Name
    done: UInt
    total: UInt
    loss_micro: UInt


@canonical("pdfed/job/failed/v1")
@dataclass(frozen=True, slots=True)
class JobFailed:
    """The job could not be done. ``usage`` is true when the request was wrong rather than the machine."""

    usage: bool
    message: Annotated[str, Size(4_096)]
    hint: Annotated[str, Size(4_096)]


@canonical("pdfed/job/message/v1")
@dataclass(frozen=True, slots=True)
class JobMessage:
    """The envelope of every frame, so that a reader needs to know one type only."""

    body: (
        Prepare
        | Prepared
        | Train
        | Trained
        | Score
        | Scored
        | Evaluate
        | Evaluated
        | Sample
        | Sampled
        | ScoreFolders
        | FoldersScored
        | TrainScorer
        | ScorerTrained
        | SelfTest
        | SelfTested
        | Calibrate
        | Calibrated
        | Progress
        | JobFailed
    )
