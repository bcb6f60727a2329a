"""The scoring specification that new tasks get.

The number of images is what ranking needs (ADR 0143); one float64 score of the smallest model then takes a few seconds
of one thread. The match threshold and the retrieval deviations are the paper's.
"""

from __future__ import annotations

from typing import Final

from pdfedchain.types.score import ArithmeticProfile, ScoringSpec, Tolerance

__all__ = ["SCORING_VERSION", "default_scoring", "tolerance_of"]

#: The scoring procedure implemented here. Once one is released, any change of a score's value is a new version.
SCORING_VERSION: Final = 1

#: Images per score, whatever their size: with half as many, scores of one model lie more than twice as far apart.
_IMAGES: Final = 400
#: Most pairs that are verified. Copies of a whole reference set need 1.5 to 1.7 per image.
_PAIRS_MAX: Final = _IMAGES * 5 // 2
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


def default_scoring(extractor: str, *, profile: ArithmeticProfile = ArithmeticProfile.F64) -> ScoringSpec:
    """Specification with a provisional ``novelty_weight`` of 0 and tolerance, which a task's calibration replaces."""
    return ScoringSpec(
        version=SCORING_VERSION,
        profile=profile,
        n=_IMAGES,
        sampling_steps=10,
        neighbours=5,
        pairs_max=_PAIRS_MAX,
        match_threshold_micro=800_000,
        retrieval_deviations_micro=500_000,
        novelty_weight=0,
        extractor=extractor,
        tolerance=tolerance_of(profile, 0),
    )
