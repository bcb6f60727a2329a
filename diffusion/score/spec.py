"""The scoring specification that new tasks get.

Sizes are chosen so that one float64 score of the smallest model takes a few seconds of one thread. The match threshold
and the retrieval deviations are the paper's.
"""

from __future__ import annotations

from typing import Final

from pdfedchain.types.score import ArithmeticProfile, ScoringSpec, Tolerance

__all__ = ["SCORING_VERSION", "default_scoring"]

#: The scoring procedure implemented here. Any change of a score's value is a new version.
SCORING_VERSION: Final = 1

#: Image size in pixels -> images per score; sampling costs grow much faster than the size.
_IMAGES: Final = {8: 400, 16: 400, 32: 200, 64: 200}


def default_scoring(extractor: str, *, image_size: int) -> ScoringSpec:
    """Specification with a provisional ``novelty_weight`` of 0, which `calibrate` replaces."""
    return ScoringSpec(
        version=SCORING_VERSION,
        profile=ArithmeticProfile.F64,
        n=_IMAGES[image_size],
        sampling_steps=10,
        neighbours=5,
        pairs_max=1_000,
        match_threshold_micro=800_000,
        retrieval_deviations_micro=500_000,
        novelty_weight=0,
        extractor=extractor,
        tolerance=Tolerance(checked=0, confirmed=0, v_a_micro=1, v_c_micro=1, fid_micro=1),
    )
