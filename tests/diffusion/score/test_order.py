"""What the order test calls an inversion."""

from __future__ import annotations

from pdfedchain.ids import Hash
from pdfedchain.types.score import ScoreReport
from tests.diffusion.order import BRIEFLY, COPIES, NOISE, WELL, Outcome, inversions

REPORT = ScoreReport(
    n=10, checked=0, confirmed=0, v_a_micro=0, v_c_micro=0, fid_micro=1_000_000, images_hash=Hash(bytes(32))
)


def outcomes(well: Outcome) -> list[Outcome]:
    return [
        well,
        Outcome(BRIEFLY, REPORT, (), 20.0),
        Outcome(NOISE, REPORT, ("FID",), 5.0),
        Outcome(COPIES, REPORT, ("R_C",), 1.0),
    ]


def test_refused_images_are_behind_whatever_their_score() -> None:
    assert inversions(outcomes(Outcome(WELL, REPORT, (), 10.0))) == []


def test_a_better_score_of_something_accepted_is_an_inversion() -> None:
    assert inversions(outcomes(Outcome(WELL, REPORT, (), 30.0))) == [
        "undertrained (QN 20.0) before well-trained (QN 30.0)"
    ]


def test_a_good_model_that_is_refused_is_one() -> None:
    assert inversions(outcomes(Outcome(WELL, REPORT, ("FID", "R_C"), 10.0))) == [
        "well-trained is refused by FID and R_C"
    ]
