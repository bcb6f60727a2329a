"""Tells the truth, but not to everybody: each height and round a drawn few hear it, and nobody is helped later."""

from __future__ import annotations

from collections.abc import Sequence

from pdfedchain.consensus.messages import Message, ProposalMessage, RoundStatus, VoteMessage
from pdfedchain.testing.byzantine.actor import Situation

__all__ = ["Withholds"]


class Withholds:
    """See the module's text. Its votes complete a quorum for some and not for others: locks that nobody else sees."""

    def __init__(self, situation: Situation) -> None:
        self._random = situation.random
        self._audiences: dict[tuple[int, int, int, int], bool] = {}

    def says(self, message: Message, recipient: int) -> Sequence[Message]:
        match message:
            case VoteMessage(vote):
                slot = (vote.height, vote.round, int(vote.kind), recipient)
            case ProposalMessage(proposal):
                slot = (proposal.height, proposal.round, 0, recipient)
            case RoundStatus():
                return (message,)
            case _:
                return ()
        if slot not in self._audiences:
            self._audiences[slot] = self._random.random() < 0.5
        return (message,) if self._audiences[slot] else ()

    def hears(self, message: Message) -> Sequence[Message]:
        return ()
