"""Ceilings and novelty weight of a new task, derived from real images that the reference set does not contain.

Held-out real images are the best a model can do: they have the data's quality and copy nothing. Scoring them as if they
were generated tells what the score says of perfection, and the rules start from there:

- the FID ceiling is a fixed multiple of the held-out images' FID;
- the R_C ceiling is the held-out images' rate of confirmed matches (the verifier's false ones, and true
  near-duplicates in the data), three standard deviations of such a rate at n images, and a tolerated share;
- the novelty weight stands in the paper's relation to the FID of a good model, which is taken to be a fixed multiple of
  the held-out images'; it is lower where the held-out images' own novelty term would put them behind such a model.

ADR 0032 has the table of good, undertrained, memorising and noise "models" by which the constants of the ceilings were
chosen, ADR 0141 how the weight follows from the paper's Table 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from diffusion.data import Split
from diffusion.data.partition import permutation
from diffusion.progress import Report, silent
from diffusion.score.report import describe_reference, score_images
from diffusion.score.scorer import Scorer
from pdfedchain.ids import Hash
from pdfedchain.types.score import MICRO, ArithmeticProfile, ScoreReport, ScoringSpec
from pdfedchain.types.task import Ceilings

__all__ = ["Calibration", "calibrate", "ceilings_from", "novelty_weight_from", "novelty_weight_max"]

#: Worst FID accepted, as a multiple of the held-out images'.
_FID_FACTOR: Final = 4
#: Share of a model's images that may be confirmed copies, beyond the held-out images' rate.
_COPIES_TOLERATED: Final = 0.03
#: The paper's weight (100,000 with R_C in [0, 1]) divided by the mean FID of its Table 1 (715).
_PAPER_WEIGHT: Final = 140
#: FID of a good model, in hundredths of the held-out images'.
_GOOD_FID_PERCENT: Final = 130
#: The largest that a `ScoringSpec` takes.
_WEIGHT_MAX: Final = 10**9


@dataclass(frozen=True, slots=True)
class Calibration:
    """``held_out`` is the report that the rest was derived from."""

    ceilings: Ceilings
    novelty_weight: int
    held_out: ScoreReport


def calibrate(
    scorer: Scorer, scoring: ScoringSpec, parts: Split, *, seed: Hash, report: Report = silent
) -> Calibration:
    """Score held-out real images, as many as a score generates or as there are, and derive the task's limits."""
    held_out = parts.held_out.take(permutation(len(parts.held_out), seed)[: scoring.n])
    precise = scorer.to(ArithmeticProfile.F64)
    described = describe_reference(
        precise, scoring, parts.reference, classes=int(parts.reference.train.labels.max()) + 1, report=report
    )
    return ceilings_from(score_images(precise, scoring, described, held_out.images, report=report).report, scoring.n)


def ceilings_from(held_out: ScoreReport, n: int) -> Calibration:
    """The three rules. FID and the weight are rounded up to whole units, R_C to thousandths."""
    fid = math.ceil(held_out.fid_micro * _FID_FACTOR / MICRO)
    # Laplace's estimate, so that no match among few images is not taken for a rate of zero
    rate = (held_out.confirmed + 1) / (held_out.n + 2)
    r_c = rate + 3 * float(np.sqrt(rate * (1 - rate) / n)) + _COPIES_TOLERATED
    return Calibration(
        ceilings=Ceilings(fid_micro_max=fid * MICRO, r_c_micro_max=min(math.ceil(r_c * 1_000) * 1_000, MICRO)),
        novelty_weight=min(novelty_weight_from(held_out.fid_micro), novelty_weight_max(held_out)),
        held_out=held_out,
    )


def novelty_weight_from(held_out_fid_micro: int) -> int:
    """w with the paper's balance: 1 % of certain copies cost 1.4 times a good model's FID."""
    return -(-held_out_fid_micro * _PAPER_WEIGHT * _GOOD_FID_PERCENT // (100 * MICRO))


def novelty_weight_max(held_out: ScoreReport) -> int:
    """The largest w with which real images are not behind a good model that copies nothing.

    What is confirmed among real images are the verifier's mistakes, and near-duplicates in the data. Both are more
    frequent the more real images look, so with a larger weight a model would lose by the last improvements.
    """
    novelty = held_out.v_c_micro * held_out.v_a_micro * held_out.confirmed
    if novelty == 0:
        return _WEIGHT_MAX
    room_micro = held_out.fid_micro * (_GOOD_FID_PERCENT - 100)
    return room_micro * MICRO * held_out.n // (100 * novelty)
