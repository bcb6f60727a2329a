"""Never re-proposes: whatever has had a polka, it offers a new block, as if it had no memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pdfedchain.consensus.blocks import build_block
from pdfedchain.consensus.messages import CertificateMessage, Message, ProposalMessage
from pdfedchain.testing.byzantine.actor import Situation, resigned_proposal
from pdfedchain.types.vote import NO_ROUND

__all__ = ["ProposesAfresh"]


class ProposesAfresh:
    """See the module's text. It keeps polkas to itself and votes honestly otherwise."""

    def __init__(self, situation: Situation) -> None:
        self._situation = situation
        self._made: dict[tuple[int, int], ProposalMessage] = {}

    def says(self, message: Message, recipient: int) -> Sequence[Message]:
        if isinstance(message, CertificateMessage):
            return ()
        own = isinstance(message, ProposalMessage) and message.proposal.proposer == self._situation.key.address
        if not isinstance(message, ProposalMessage) or not own or message.proposal.valid_round == NO_ROUND:
            return (message,)
        if message.proposal.height != self._situation.position().height:
            return ()
        return (self._afresh(message),)

    def hears(self, message: Message) -> Sequence[Message]:
        return ()

    def _afresh(self, message: ProposalMessage) -> ProposalMessage:
        proposal, position = message.proposal, self._situation.position()
        slot = (proposal.height, proposal.round)
        if slot not in self._made:
            block, _ = build_block(
                self._situation.application,
                position,
                round_=proposal.round,
                time_ms=message.block.header.time_ms + proposal.round,
                proposer=proposal.proposer,
                candidates=(b"afresh %d" % proposal.round,),
            )
            fresh = replace(proposal, valid_round=NO_ROUND)
            self._made[slot] = ProposalMessage(resigned_proposal(fresh, block.hash, self._situation.key), block, None)
        return self._made[slot]
