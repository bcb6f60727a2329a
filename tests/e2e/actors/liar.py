"""An authority that commits to and reveals a false score: half the distance, and no copies at all.

Every liar tells the same lie, so two of them agree with each other.
"""

from dataclasses import replace
from typing import Any

from node.authority import AuthorityDuties
from pdfedchain.types.ballot import Outcome
from pdfedchain.types.score import ScoreReport
from tests.e2e.actors.start import start


class LyingAuthority(AuthorityDuties):
    """Computes the honest score, and says something else."""

    async def compute_outcome(self, *arguments: Any) -> Outcome:
        honest = await super().compute_outcome(*arguments)
        if not isinstance(honest, ScoreReport):
            return honest
        return replace(honest, fid_micro=honest.fid_micro // 2, checked=0, confirmed=0, v_a_micro=0, v_c_micro=0)


if __name__ == "__main__":
    start(lambda home, rest: {"duties": LyingAuthority})
