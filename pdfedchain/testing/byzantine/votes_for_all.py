"""Prevotes and precommits every block it hears of, at once and whatever its lock, and so helps every fork."""

from __future__ import annotations

from collections.abc import Sequence

from pdfedchain.consensus.messages import Message, ProposalMessage, VoteMessage
from pdfedchain.ids import Hash
from pdfedchain.testing.byzantine.actor import Situation, resigned_vote
from pdfedchain.types.vote import Proposal, Vote, VoteKind

__all__ = ["VotesForAll"]


class VotesForAll:
    """See the module's text. Its replica's own votes are not sent."""

    def __init__(self, situation: Situation) -> None:
        self._key = situation.key
        self._supported: set[tuple[int, int, Hash]] = set()

    def says(self, message: Message, recipient: int) -> Sequence[Message]:
        return () if isinstance(message, VoteMessage) else (message,)

    def hears(self, message: Message) -> Sequence[Message]:
        if not isinstance(message, ProposalMessage):
            return ()
        proposal = message.proposal
        slot = (proposal.height, proposal.round, proposal.block)
        if slot in self._supported:
            return ()
        self._supported.add(slot)
        return tuple(VoteMessage(self._vote(proposal, kind)) for kind in VoteKind)

    def _vote(self, proposal: Proposal, kind: VoteKind) -> Vote:
        blank = Vote(
            proposal.chain_id,
            proposal.set_id,
            proposal.height,
            proposal.round,
            kind,
            None,
            self._key.address,
            bytes(64),
        )
        return resigned_vote(blank, proposal.block, self._key)
