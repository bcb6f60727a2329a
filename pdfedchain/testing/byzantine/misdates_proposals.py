"""Claims a valid round that its proposal has not: a polka that never was, for a block that is too young for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pdfedchain.consensus.messages import Message, ProposalMessage
from pdfedchain.testing.byzantine.actor import Situation, resigned_proposal

__all__ = ["MisdatesProposals"]


class MisdatesProposals:
    """See the module's text. One proposal per round, the same for everybody, and without any polka."""

    def __init__(self, situation: Situation) -> None:
        self._key = situation.key

    def says(self, message: Message, recipient: int) -> Sequence[Message]:
        own = isinstance(message, ProposalMessage) and message.proposal.proposer == self._key.address
        if not isinstance(message, ProposalMessage) or not own or message.proposal.round == 0:
            return (message,)
        wrong = replace(message.proposal, valid_round=message.proposal.round - 1)
        return (ProposalMessage(resigned_proposal(wrong, wrong.block, self._key), message.block, None),)

    def hears(self, message: Message) -> Sequence[Message]:
        return ()
