from __future__ import annotations

import pytest

from diffusion.score.quantise import to_micro, to_report
from pdfedchain.ids import Hash


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, 0), (1.0, 1_000_000), (0.1, 100_000), (4e-7, 0), (6e-7, 1), (12_345.678_901_4, 12_345_678_901)],
)
def test_millionths_are_rounded(value: float, expected: int) -> None:
    assert to_micro(value) == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_what_no_score_contains_is_a_bug(value: float) -> None:
    with pytest.raises(AssertionError):
        to_micro(value)


def test_a_report_stays_in_range() -> None:
    report = to_report(n=4, checked=3, confirmed=2, v_a=1.0 + 1e-12, v_c=0.9, fid=2.5, images_hash=Hash(bytes(32)))
    assert (report.v_a_micro, report.v_c_micro, report.fid_micro) == (1_000_000, 900_000, 2_500_000)
