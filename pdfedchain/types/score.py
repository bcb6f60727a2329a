"""What a score is on chain: the scoring specification of a task, and a report of integers.

Source of the formulas: PDFed (arXiv 2409.18245), section 3.2. Floats become integers in one place only,
``diffusion.score.quantise``; everything here is integer arithmetic, so all nodes agree to the bit.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Annotated, Final

from pdfedchain.codec import canonical
from pdfedchain.ids import Hash, Name, Range, UInt

__all__ = [
    "MICRO",
    "ArithmeticProfile",
    "ScoreReport",
    "ScoringSpec",
    "Tolerance",
    "Unscorable",
    "UnscorableReason",
]

#: Scale of all fractional quantities on chain: V_A, V_C, thresholds in millionths.
MICRO: Final = 1_000_000

Millionths = Annotated[int, Range(0, MICRO)]


class ArithmeticProfile(enum.StrEnum):
    """How floating-point work of a score is done, hence how closely machines agree."""

    #: float64 throughout, distances rounded to 1e-9 before thresholds: counts are equal on all machines.
    F64 = "f64"
    #: float32 without TF32 and without autocast, for models too large for float64: counts within one.
    F32 = "f32"


@canonical("pdfed/tolerance/v1")
@dataclass(frozen=True, slots=True)
class Tolerance:
    """Largest absolute difference per component at which two reports still agree, in on-chain units.

    Means get what differing counts can move them besides (`ScoreReport.agrees_with`).
    """

    checked: UInt
    confirmed: UInt
    v_a_micro: UInt
    v_c_micro: UInt
    fid_micro: UInt


@canonical("pdfed/scoring-spec/v1")
@dataclass(frozen=True, slots=True)
class ScoringSpec:
    """Everything that fixes a score besides the weights, the reference set and the seed."""

    #: Version of the scoring procedure; a node that does not have it cannot be an authority of the task.
    version: Annotated[int, Range(1, 65_535)]
    profile: ArithmeticProfile
    #: Number of generated images, spread evenly over the classes.
    n: Annotated[int, Range(2, 1_000_000)]
    #: Steps of the deterministic DDIM sampler (Song et al. 2021, eta = 0).
    sampling_steps: Annotated[int, Range(1, 10_000)]
    #: Nearest training images looked at per generated image.
    neighbours: Annotated[int, Range(1, 1_024)]
    #: Most pairs given to the verifier; the closest come first.
    pairs_max: Annotated[int, Range(1, 10_000_000)]
    #: A pair is a confirmed match at or above this similarity (the paper: 0.8).
    match_threshold_micro: Millionths
    #: T_c = mean - this * standard deviation of same-class neighbour distances (the paper: 0.5).
    retrieval_deviations_micro: Annotated[int, Range(0, 10 * MICRO)]
    #: w of QN = (FID + V_C * V_A * R_C * w) / 2, R_C in [0, 1]; calibrated per feature extractor.
    novelty_weight: Annotated[int, Range(0, 10**9)]
    #: Name of the fingerprinter and verifier, for example ``"lite-8px"``; their weights are pinned by the task.
    extractor: Name
    tolerance: Tolerance


class UnscorableReason(enum.StrEnum):
    """Why weights cannot be scored, in the order in which scorers check."""

    #: A file is missing, superfluous, too large, or not what its name says (only safetensors and JSON).
    MALFORMED = "malformed"
    #: Configuration or tensor list (names, shapes, types) differ from the task's.
    WRONG_ARCHITECTURE = "wrong_architecture"
    #: A weight is NaN or infinite.
    NON_FINITE = "non_finite"
    #: The digest of the tensors is not the one the author signed.
    DIGEST_MISMATCH = "digest_mismatch"
    #: The weights are finite, but a generated image or feature is not.
    DIVERGED = "diverged"


@canonical("pdfed/unscorable/v1")
@dataclass(frozen=True, slots=True)
class Unscorable:
    """An authority's finding that weights cannot be scored. A time-out is never one."""

    reason: UnscorableReason


@canonical("pdfed/score-report/v1")
@dataclass(frozen=True, slots=True)
class ScoreReport:
    """Components of one quality-novelty score.

    Attributes:
        n: generated images.
        checked: pairs given to the verifier.
        confirmed: confirmed matches, one to one; R_C = confirmed / n.
        v_a_micro: V_A, mean similarity over checked pairs, in millionths (0 without checked pairs).
        v_c_micro: V_C, mean similarity over confirmed pairs, in millionths (0 without confirmed pairs).
        fid_micro: Frechet distance between features of generated and test images, in millionths.
        images_hash: SHA-256 of the generated images as uint8; diagnostic, not part of agreement.
    """

    n: Annotated[int, Range(1, 1_000_000)]
    checked: UInt
    confirmed: UInt
    v_a_micro: Millionths
    v_c_micro: Millionths
    fid_micro: UInt
    images_hash: Hash

    def __post_init__(self) -> None:
        if self.confirmed > min(self.n, self.checked):
            raise ValueError(f"{self.confirmed} confirmed of {self.checked} checked pairs and {self.n} images")

    def qn_micro(self, novelty_weight: int) -> int:
        """QN = (FID + V_C * V_A * R_C * w) / 2 in millionths, rounded down once."""
        product = self.v_c_micro * self.v_a_micro * self.confirmed * novelty_weight
        return (self.fid_micro * MICRO * self.n + product) // (2 * MICRO * self.n)

    def coarse(self) -> ScoreReport:
        """What of a report on private images may be told (`BallotKind.PRIVATE`); ``coarse`` of that is itself.

        Counts are rounded down to multiples of 5, so fewer than 5 are hidden; V_A and V_C to multiples of 0.05, and
        to zero beside a count of zero; FID to two decimal digits; the hash is zero.
        """
        checked, confirmed = self.checked // 5 * 5, self.confirmed // 5 * 5
        fid_step = 10 ** max(len(str(self.fid_micro)) - 2, 0)
        return ScoreReport(
            n=self.n,
            checked=checked,
            confirmed=confirmed,
            v_a_micro=self.v_a_micro // 50_000 * 50_000 if checked else 0,
            v_c_micro=self.v_c_micro // 50_000 * 50_000 if confirmed else 0,
            fid_micro=self.fid_micro // fid_step * fid_step,
            images_hash=Hash(bytes(32)),
        )

    @property
    def r_c_micro(self) -> int:
        """R_C in millionths, rounded down."""
        return self.confirmed * MICRO // self.n

    def agrees_with(self, other: ScoreReport, tolerance: Tolerance) -> bool:
        """Whether every component lies within ``tolerance`` of the other's.

        Where counts may differ by some pairs, a mean may differ by what so many pairs can move it at that count: one
        similarity in [0, 1] more, less or exchanged moves a mean over k pairs by 1 / k at most. Where counts must be
        equal nothing is added.
        """
        tipped_a = tolerance.checked * MICRO // max(self.checked, other.checked, 1)
        tipped_c = tolerance.confirmed * MICRO // max(self.confirmed, other.confirmed, 1)
        return (
            self.n == other.n
            and abs(self.checked - other.checked) <= tolerance.checked
            and abs(self.confirmed - other.confirmed) <= tolerance.confirmed
            and abs(self.v_a_micro - other.v_a_micro) <= tolerance.v_a_micro + tipped_a
            and abs(self.v_c_micro - other.v_c_micro) <= tolerance.v_c_micro + tipped_c
            and abs(self.fid_micro - other.fid_micro) <= tolerance.fid_micro
        )
