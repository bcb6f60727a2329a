"""Prevotes the proposal of every round, whatever it has precommitted before: amnesia, in good faith otherwise."""

from __future__ import annotations

from collections.abc import Sequence

from pdfedchain.consensus.messages import Message, ProposalMessage, VoteMessage
from pdfedchain.ids import Hash
from pdfedchain.testing.byzantine.actor import Situation, resigned_vote
from pdfedchain.types.vote import VoteKind

__all__ = ["IgnoresLocks"]


class IgnoresLocks:
    """See the module's text. One vote per round and step, the same for everybody: no evidence convicts it."""

    def __init__(self, situation: Situation) -> None:
        self._key = situation.key
        self._proposed: dict[tuple[int, int], Hash] = {}
        self._said: dict[tuple[int, int], Hash | None] = {}

    def says(self, message: Message, recipient: int) -> Sequence[Message]:
        if not isinstance(message, VoteMessage) or message.vote.voter != self._key.address:
            return (message,)
        vote = message.vote
        if vote.kind is not VoteKind.PREVOTE:
            return (message,)
        slot = (vote.height, vote.round)
        block = self._said.setdefault(slot, self._proposed.get(slot, vote.block))
        return (message if block == vote.block else VoteMessage(resigned_vote(vote, block, self._key)),)

    def hears(self, message: Message) -> Sequence[Message]:
        if isinstance(message, ProposalMessage):
            self._proposed.setdefault((message.proposal.height, message.proposal.round), message.proposal.block)
        return ()
