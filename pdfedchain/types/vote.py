"""What authorities sign: proposals and votes; and what a quorum of votes proves: certificates.

A signature covers chain, authority set, height, round, kind and block, so none can be replayed elsewhere.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final

from pdfedchain.codec import canonical, encode
from pdfedchain.crypto import verify
from pdfedchain.errors import InvalidProof, SignatureError
from pdfedchain.ids import Address, Hash, Height, Name, Range, Round, Size, UInt
from pdfedchain.limits import AUTHORITIES_MAX, SIGNATURE_SIZE_BYTES, UINT_MAX
from pdfedchain.types.authorities import AuthoritySet

__all__ = ["NO_ROUND", "Certificate", "CertificateSignature", "Proposal", "Vote", "VoteKind"]

#: "No valid round" in a proposal, "never locked" in the core: the paper's -1.
NO_ROUND: Final = -1

Signature = Annotated[bytes, Size.exactly(SIGNATURE_SIZE_BYTES)]
RoundOrNone = Annotated[int, Range(NO_ROUND, UINT_MAX)]


class VoteKind(enum.IntEnum):
    """The two voting steps of a round (arXiv 1807.04938)."""

    PREVOTE = 1
    PRECOMMIT = 2


@canonical("pdfed/vote-statement/v1")
@dataclass(frozen=True, slots=True)
class _VoteStatement:
    chain_id: Name
    set_id: UInt
    height: Height
    round: Round
    kind: VoteKind
    block: Hash | None


@lru_cache(maxsize=64, typed=True)
def _statement_bytes(chain_id: str, set_id: int, height: int, round_: int, kind: VoteKind, block: Hash | None) -> bytes:
    # All who vote alike sign the same bytes.
    return encode(_VoteStatement(chain_id, set_id, height, round_, kind, block))


@canonical("pdfed/proposal-statement/v1")
@dataclass(frozen=True, slots=True)
class _ProposalStatement:
    chain_id: Name
    set_id: UInt
    height: Height
    round: Round
    valid_round: RoundOrNone
    block: Hash


@canonical("pdfed/vote/v1")
@dataclass(frozen=True, slots=True)
class Vote:
    """One authority's prevote or precommit; ``block`` is ``None`` for nil."""

    chain_id: Name
    set_id: UInt
    height: Height
    round: Round
    kind: VoteKind
    block: Hash | None
    voter: Address
    signature: Signature

    def signing_bytes(self) -> bytes:
        """What the signature covers."""
        return _statement_bytes(self.chain_id, self.set_id, self.height, self.round, self.kind, self.block)

    def verify(self) -> None:
        """Check the signature only; membership and chain are the caller's to check.

        Raises:
            SignatureError: it does not verify.
        """
        verify(self.voter, self.signing_bytes(), self.signature)


@canonical("pdfed/proposal/v1")
@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposer's signed statement that this block is its value for this round.

    ``valid_round`` is `NO_ROUND` for a fresh value, else the round in which the value had a polka.
    """

    chain_id: Name
    set_id: UInt
    height: Height
    round: Round
    valid_round: RoundOrNone
    block: Hash
    proposer: Address
    signature: Signature

    def signing_bytes(self) -> bytes:
        """What the signature covers."""
        return encode(
            _ProposalStatement(self.chain_id, self.set_id, self.height, self.round, self.valid_round, self.block)
        )

    def verify(self) -> None:
        """Check the signature only.

        Raises:
            SignatureError: it does not verify.
        """
        verify(self.proposer, self.signing_bytes(), self.signature)


@canonical("pdfed/certificate-signature/v1")
@dataclass(frozen=True, slots=True)
class CertificateSignature:
    """One voter's part of a certificate."""

    voter: Address
    signature: Signature


@canonical("pdfed/certificate/v1")
@dataclass(frozen=True, slots=True)
class Certificate:
    """A quorum of equal votes: of prevotes a *polka*, of precommits for a block its finality.

    Two certificates of one block may hold different signatures; neither is part of the block.
    """

    chain_id: Name
    set_id: UInt
    height: Height
    round: Round
    kind: VoteKind
    block: Hash | None
    signatures: Annotated[tuple[CertificateSignature, ...], Size(AUTHORITIES_MAX, low=1)]

    @classmethod
    def of(cls, votes: Iterable[Vote]) -> Certificate:
        """Collect equal votes, sorted by voter; the quorum is `verify`'s to check."""
        ordered = sorted(votes, key=lambda vote: vote.voter)
        first = ordered[0]
        signatures = tuple(CertificateSignature(vote.voter, vote.signature) for vote in ordered)
        return cls(first.chain_id, first.set_id, first.height, first.round, first.kind, first.block, signatures)

    def votes(self) -> tuple[Vote, ...]:
        """The votes it is made of."""
        return tuple(
            Vote(
                self.chain_id,
                self.set_id,
                self.height,
                self.round,
                self.kind,
                self.block,
                entry.voter,
                entry.signature,
            )
            for entry in self.signatures
        )

    def verify(self, chain_id: str, authorities: AuthoritySet) -> None:
        """Check chain, set, order, membership, quorum and every signature.

        Raises:
            InvalidProof: it is not a certificate of this authority set.
        """
        if (self.chain_id, self.set_id) != (chain_id, authorities.set_id):
            raise InvalidProof(
                f"certificate of chain {self.chain_id!r}, set {self.set_id};"
                f" expected {chain_id!r}, set {authorities.set_id}"
            )
        voters = [entry.voter for entry in self.signatures]
        if any(one >= two for one, two in itertools.pairwise(voters)):
            raise InvalidProof("the voters of a certificate are not sorted and distinct")
        if not authorities.is_quorum(len(voters)):
            raise InvalidProof(f"{len(voters)} signatures of {len(authorities)} authorities are no quorum")
        members = frozenset(authorities.members)
        for vote in self.votes():
            if vote.voter not in members:
                raise InvalidProof(f"{vote.voter.hex()} is no authority of set {authorities.set_id}")
            try:
                vote.verify()
            except SignatureError as error:
                raise InvalidProof(str(error)) from error
