"""Checks of messages of others before they touch anything: chain, set, membership, form and signature.

Every function raises `InputError` for what no honest node can have sent; the receiver then thinks less of the
neighbour that sent it. What is merely late, early or known already is not an error.
"""

from __future__ import annotations

from collections.abc import Callable

from pdfedchain.consensus.blocks import Position
from pdfedchain.consensus.messages import ProposalMessage
from pdfedchain.errors import InputError, InvalidProof
from pdfedchain.types.block import FinalBlock
from pdfedchain.types.vote import NO_ROUND, Certificate, Proposal, Vote, VoteKind

__all__ = ["SignatureCheck", "check_certificate", "check_final", "check_proposal", "check_signature", "check_vote"]

#: Verifies the signature of a vote or proposal, raising `SignatureError`. A simulator remembers the answers.
SignatureCheck = Callable[[Vote | Proposal], None]


def check_signature(message: Vote | Proposal) -> None:
    """The ordinary `SignatureCheck`."""
    message.verify()


def check_vote(vote: Vote, position: Position) -> None:
    """Everything about a vote of this height but its signature.

    Raises:
        InputError: another chain or set, or no member.
    """
    _check_set(vote.chain_id, vote.set_id, position)
    if vote.voter not in position.authorities:
        raise InputError(f"a vote by {vote.voter.hex()}, who is no authority")


def check_proposal(message: ProposalMessage, position: Position) -> None:
    """Everything about a proposal of this height but its signatures.

    Raises:
        InputError: another chain or set, not the proposer's turn, or parts that do not belong together.
    """
    proposal, polka = message.proposal, message.polka
    _check_set(proposal.chain_id, proposal.set_id, position)
    if proposal.proposer != position.authorities.proposer(proposal.height, proposal.round):
        raise InputError(f"a proposal by {proposal.proposer.hex()}, whose turn it is not")
    if proposal.valid_round >= proposal.round:
        raise InputError(f"a proposal of round {proposal.round} with the later valid round {proposal.valid_round}")
    if message.block.hash != proposal.block or not message.block.is_consistent:
        raise InputError("a proposal whose block is not the one it names")
    if polka is None:
        return
    expected = (proposal.height, proposal.valid_round, VoteKind.PREVOTE, proposal.block)
    if proposal.valid_round == NO_ROUND or expected != (polka.height, polka.round, polka.kind, polka.block):
        raise InputError("a proposal with a polka that is not its own")


def check_certificate(certificate: Certificate, position: Position, signature: SignatureCheck) -> None:
    """All of a certificate of this height.

    Raises:
        InvalidProof: it is not a quorum of this set.
    """
    _check_set(certificate.chain_id, certificate.set_id, position)
    if not position.authorities.is_quorum(len({entry.voter for entry in certificate.signatures})):
        raise InvalidProof("a certificate without a quorum")
    voters = [entry.voter for entry in certificate.signatures]
    if voters != sorted(set(voters)):
        raise InvalidProof("the voters of a certificate are not sorted and distinct")
    for vote in certificate.votes():
        check_vote(vote, position)
        signature(vote)


def check_final(final: FinalBlock, position: Position, signature: SignatureCheck) -> None:
    """That a quorum has precommitted this block at this height; not what the block does.

    Raises:
        InputError: it has not, or block and certificate do not belong together.
    """
    certificate, block = final.certificate, final.block
    if certificate.kind is not VoteKind.PRECOMMIT or certificate.block is None:
        raise InvalidProof("a final block needs a certificate of precommits for it")
    if certificate.height != position.height or block.header.height != position.height:
        raise InvalidProof(f"a final block of another height than {position.height}")
    if certificate.block != block.hash or not block.is_consistent:
        raise InvalidProof("a certificate for another block")
    check_certificate(certificate, position, signature)


def _check_set(chain_id: str, set_id: int, position: Position) -> None:
    expected = (position.genesis.chain_id, position.authorities.set_id)
    if (chain_id, set_id) != expected:
        raise InputError(f"a message of chain {chain_id!r}, set {set_id}; expected {expected[0]!r}, set {expected[1]}")
