"""The scoring specification that new tasks get.

Sizes are chosen so that one float64 score of the smallest model takes a few seconds of one thread. The match threshold
and the retrieval deviations are the paper's.
"""

from __future__ import annotations

from typing import Final

from pdfedchain.types.score import ArithmeticProfile, ScoringSpec, Tolerance

__all__ = ["SCORING_VERSION", "default_scoring", "tolerance_of"]

#: The scoring procedure implemented here. Any change of a score's value is a new version.
SCORING_VERSION: Final = 1

#: Image size in pixels -> images per score; sampling costs grow much faster than the size.
_IMAGES: Final = {8: 400, 16: 400, 32: 200, 64: 200}


#: Share of the FID ceiling by which float32 scores may differ; docs/portability.md has what was measured.
_F32_FID_SHARE: Final = 10_000


def tolerance_of(profile: ArithmeticProfile, fid_micro_max: int) -> Tolerance:
    """How closely machines must agree on scores of a task with this FID ceiling.

    In float64 counts are equal and the rest within one unit. In float32 one pair near a threshold may tip.
    """
    if profile is ArithmeticProfile.F64:
        return Tolerance(checked=0, confirmed=0, v_a_micro=1, v_c_micro=1, fid_micro=1)
    fid_micro = max(fid_micro_max // _F32_FID_SHARE, 1)
    return Tolerance(checked=1, confirmed=1, v_a_micro=100, v_c_micro=100, fid_micro=fid_micro)


def default_scoring(
    extractor: str, *, image_size: int, profile: ArithmeticProfile = ArithmeticProfile.F64
) -> ScoringSpec:
    """Specification with a provisional ``novelty_weight`` of 0 and tolerance, which a task's calibration replaces."""
    return ScoringSpec(
        version=SCORING_VERSION,
        profile=profile,
        n=_IMAGES[image_size],
        sampling_steps=10,
        neighbours=5,
        pairs_max=1_000,
        match_threshold_micro=800_000,
        retrieval_deviations_micro=500_000,
        novelty_weight=0,
        extractor=extractor,
        tolerance=tolerance_of(profile, 0),
    )
