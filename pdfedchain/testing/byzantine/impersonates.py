"""Speaks in the name of others: votes, proposals and whole certificates that they never signed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pdfedchain.consensus.messages import CertificateMessage, Message, ProposalMessage, VoteMessage
from pdfedchain.ids import Address, Hash
from pdfedchain.testing.byzantine.actor import Situation, resigned_proposal, resigned_vote
from pdfedchain.types.vote import Certificate, CertificateSignature, Vote

__all__ = ["Impersonates"]


class Impersonates:
    """See the module's text. Every signature is its own, under the address of somebody else."""

    def __init__(self, situation: Situation) -> None:
        self._key = situation.key
        self._position = situation.position
        self._last: Hash | None = None

    def says(self, message: Message, recipient: int) -> Sequence[Message]:
        match message:
            case VoteMessage(vote) if vote.voter == self._key.address:
                return (message, self._certificate(vote), *self._votes(vote))
            case ProposalMessage(proposal, block, polka):
                signed = resigned_proposal(proposal, proposal.block, self._key)
                victims = (victim for victim in self._others() if victim != proposal.proposer)
                return (message, *(ProposalMessage(replace(signed, proposer=v), block, polka) for v in victims))
            case _:
                return (message,)

    def hears(self, message: Message) -> Sequence[Message]:
        if isinstance(message, ProposalMessage):
            self._last = message.proposal.block
        return ()

    def _others(self) -> tuple[Address, ...]:
        return tuple(one for one in self._position().authorities.members if one != self._key.address)

    def _votes(self, vote: Vote) -> tuple[VoteMessage, ...]:
        other = self._last if vote.block is None else None
        forged = resigned_vote(vote, other, self._key)
        return tuple(VoteMessage(replace(forged, voter=victim)) for victim in self._others())

    def _certificate(self, vote: Vote) -> CertificateMessage:
        """The same signature as often as it takes, once under each address."""
        entries = tuple(CertificateSignature(one, vote.signature) for one in sorted((*self._others(), vote.voter)))
        return CertificateMessage(
            Certificate(vote.chain_id, vote.set_id, vote.height, vote.round, vote.kind, vote.block, entries)
        )
