"""The authority set: equal weights, a fixed order of turns, and the quorum arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pdfedchain.codec import canonical
from pdfedchain.ids import Address, Height, Round, Size, UInt
from pdfedchain.limits import AUTHORITIES_MAX

__all__ = ["AuthoritySet"]


@canonical("pdfed/authorities/v1")
@dataclass(frozen=True, slots=True)
class AuthoritySet:
    """Who may propose and vote. ``set_id`` grows by one with every change of membership.

    Attributes:
        members: distinct addresses in order of turns.
    """

    set_id: UInt
    members: Annotated[tuple[Address, ...], Size(AUTHORITIES_MAX, low=1)]

    def __post_init__(self) -> None:
        if len(set(self.members)) != len(self.members):
            raise ValueError("an authority is listed twice")

    def __len__(self) -> int:
        return len(self.members)

    def __contains__(self, address: object) -> bool:
        return address in self.members

    def proposer(self, height: Height, round_: Round) -> Address:
        """Whose turn it is: rotation by height, and on by one each round."""
        return self.members[(height + round_) % len(self.members)]

    def is_quorum(self, count: int) -> bool:
        """More than two thirds: ``3 * count > 2 * total``."""
        return 3 * count > 2 * len(self.members)

    @property
    def faults_max(self) -> int:
        """f: the most Byzantine members under which safety and liveness hold, ``f < n / 3``."""
        return (len(self.members) - 1) // 3
