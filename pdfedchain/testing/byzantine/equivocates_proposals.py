"""Proposes one valid block to one half of the nodes and another valid block to the other half."""

from __future__ import annotations

from collections.abc import Sequence

from pdfedchain.consensus.blocks import build_block
from pdfedchain.consensus.messages import Message, ProposalMessage
from pdfedchain.testing.byzantine.actor import Situation, resigned_proposal
from pdfedchain.types.vote import NO_ROUND

__all__ = ["EquivocatesProposals"]


class EquivocatesProposals:
    """See the module's text. Both blocks are structurally valid; the votes are honest ones for the first."""

    def __init__(self, situation: Situation) -> None:
        self._situation = situation
        self._second: dict[tuple[int, int], ProposalMessage] = {}

    def says(self, message: Message, recipient: int) -> Sequence[Message]:
        own = isinstance(message, ProposalMessage) and message.proposal.proposer == self._situation.key.address
        if not isinstance(message, ProposalMessage) or not own or message.proposal.valid_round != NO_ROUND:
            return (message,)
        if recipient % 2 == 0 or message.proposal.height != self._situation.position().height:
            return (message,)
        return (self._other(message),)

    def hears(self, message: Message) -> Sequence[Message]:
        return ()

    def _other(self, message: ProposalMessage) -> ProposalMessage:
        proposal, header = message.proposal, message.block.header
        slot = (proposal.height, proposal.round)
        if slot not in self._second:
            block, _ = build_block(
                self._situation.application,
                self._situation.position(),
                round_=header.round,
                time_ms=header.time_ms + 1,
                proposer=header.proposer,
                candidates=(b"another " + proposal.block,),
            )
            self._second[slot] = ProposalMessage(
                resigned_proposal(proposal, block.hash, self._situation.key), block, None
            )
        return self._second[slot]
