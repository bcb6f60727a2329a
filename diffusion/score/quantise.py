"""The one place where floating-point numbers of a score become integers."""

from __future__ import annotations

import math

from pdfedchain.ids import Hash
from pdfedchain.types.score import MICRO, ScoreReport

__all__ = ["to_micro", "to_report"]


def to_micro(value: float) -> int:
    """Millionths, rounded half to even."""
    assert math.isfinite(value), value
    assert value >= 0, value
    return round(value * MICRO)


def to_report(
    *, n: int, checked: int, confirmed: int, v_a: float, v_c: float, fid: float, images_hash: Hash
) -> ScoreReport:
    """The on-chain form of a score's components."""
    return ScoreReport(
        n=n,
        checked=checked,
        confirmed=confirmed,
        v_a_micro=min(to_micro(v_a), MICRO),
        v_c_micro=min(to_micro(v_c), MICRO),
        fid_micro=to_micro(fid),
        images_hash=images_hash,
    )
