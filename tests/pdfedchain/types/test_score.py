"""Score arithmetic on chain: integers, exact."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdfedchain.testing.strategies import values_of
from pdfedchain.types.score import MICRO, ScoreReport, Tolerance
from tests.pdfedchain.ledger_world import GOOD, varied

NONE = Tolerance(0, 0, 0, 0, 0)


@given(report=values_of(ScoreReport), weight=st.integers(0, 10**9))
def test_qn_is_the_formula_of_the_paper_rounded_down_once(report: ScoreReport, weight: int) -> None:
    v_a, v_c = Fraction(report.v_a_micro, MICRO), Fraction(report.v_c_micro, MICRO)
    qn = (Fraction(report.fid_micro, MICRO) + v_c * v_a * Fraction(report.confirmed, report.n) * weight) / 2
    assert report.qn_micro(weight) == int(qn * MICRO)


@given(report=values_of(ScoreReport))
def test_the_share_of_copies_lies_between_0_and_1(report: ScoreReport) -> None:
    assert 0 <= report.r_c_micro <= MICRO
    assert (report.r_c_micro == MICRO) == (report.confirmed == report.n)


@pytest.mark.parametrize(
    ("name", "allowed"),
    [("checked", "checked"), ("confirmed", "confirmed"), ("v_a_micro",) * 2, ("v_c_micro",) * 2, ("fid_micro",) * 2],
)
def test_reports_agree_within_the_tolerance_of_each_component(name: str, allowed: str) -> None:
    tolerance = Tolerance(**{**dict.fromkeys(NONE.__slots__, 0), allowed: 3})
    for difference in (-4, -3, 0, 3, 4):
        base = varied(checked=50, confirmed=20)
        other = varied(base, **{name: getattr(base, name) + difference})
        assert base.agrees_with(other, tolerance) == (abs(difference) <= 3)
        assert other.agrees_with(base, tolerance) == base.agrees_with(other, tolerance)
        assert base.agrees_with(other, NONE) == (difference == 0)


def test_a_mean_may_differ_by_what_as_many_pairs_as_may_tip_can_move_it() -> None:
    tips = Tolerance(checked=1, confirmed=1, v_a_micro=100, v_c_micro=100, fid_micro=0)
    base = varied(checked=49, confirmed=20, v_a_micro=300_000, v_c_micro=850_000)
    for name, count, grown in (("v_a_micro", 50, "checked"), ("v_c_micro", 21, "confirmed")):
        most = MICRO // count + 100
        for difference in (-most - 1, -most, most, most + 1):
            other = varied(base, **{grown: count, name: getattr(base, name) + difference})
            assert base.agrees_with(other, tips) == other.agrees_with(base, tips) == (abs(difference) <= most)
    none = varied(base, confirmed=0, v_c_micro=0)
    assert none.agrees_with(varied(none, confirmed=1, v_c_micro=MICRO), tips)


@given(report=values_of(ScoreReport), similarity=st.integers(0, MICRO), confirmed=st.booleans())
def test_one_more_pair_never_takes_a_report_out_of_its_tolerance(
    report: ScoreReport, similarity: int, confirmed: bool
) -> None:
    """Whatever its similarity: means in millionths, with one pair more, as a machine has where a pair tipped."""
    tips = Tolerance(checked=1, confirmed=1, v_a_micro=1, v_c_micro=1, fid_micro=0)
    confirmed &= report.confirmed < min(report.n, report.checked + 1)
    other = varied(
        report,
        checked=report.checked + 1,
        v_a_micro=_mean_with(report.v_a_micro, report.checked, similarity),
        confirmed=report.confirmed + confirmed,
        v_c_micro=_mean_with(report.v_c_micro, report.confirmed, similarity) if confirmed else report.v_c_micro,
    )
    assert report.checked == 0 or report.agrees_with(other, tips)


def _mean_with(mean: int, count: int, one: int) -> int:
    return (mean * count + one) // (count + 1)


def test_reports_of_different_numbers_of_images_never_agree() -> None:
    lax = Tolerance(10**6, 10**6, 10**6, 10**6, 10**9)
    assert not GOOD.agrees_with(varied(n=99), lax)


@pytest.mark.parametrize(("n", "checked", "confirmed"), [(10, 5, 6), (5, 10, 6)])
def test_there_are_no_more_confirmed_pairs_than_checked_ones_or_images(n: int, checked: int, confirmed: int) -> None:
    with pytest.raises(ValueError, match=f"{confirmed} confirmed"):
        varied(n=n, checked=checked, confirmed=confirmed)
