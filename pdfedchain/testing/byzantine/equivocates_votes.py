"""Votes one way towards one half of the nodes and another way towards the other half, in both steps."""

from __future__ import annotations

from collections.abc import Sequence

from pdfedchain.consensus.messages import Message, ProposalMessage, VoteMessage
from pdfedchain.ids import Hash
from pdfedchain.testing.byzantine.actor import Situation, resigned_vote

__all__ = ["EquivocatesVotes"]


class EquivocatesVotes:
    """See the module's text. Half get the honest vote; the others nil for a block, the last block heard of for nil."""

    def __init__(self, situation: Situation) -> None:
        self._key = situation.key
        self._last: Hash | None = None

    def says(self, message: Message, recipient: int) -> Sequence[Message]:
        own = isinstance(message, VoteMessage) and message.vote.voter == self._key.address
        if not isinstance(message, VoteMessage) or not own or recipient % 2 == 0:
            return (message,)
        other = self._last if message.vote.block is None else None
        return (VoteMessage(resigned_vote(message.vote, other, self._key)),)

    def hears(self, message: Message) -> Sequence[Message]:
        if isinstance(message, ProposalMessage):
            self._last = message.proposal.block
        return ()
