"""What replicas say to each other, in canonical encoding.

`ProposalMessage`, `VoteMessage` and `CertificateMessage` carry signatures of authorities and may be flooded: each
stands for itself, whoever hands it on. `VotesMessage`, `FinalBlockMessage` and `RoundStatus` go to direct
neighbours only: answers, and a statement of what the sender has. A status is unsigned and believed only so far as
to send something that the receiver checks anyway.

On the wire every message travels inside one `ConsensusMessage`, so that a node decodes one type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from pdfedchain.codec import canonical
from pdfedchain.ids import Hash, Height, Range, Round, Size, UInt
from pdfedchain.limits import AUTHORITIES_MAX, BLOCK_SIZE_BYTES_MAX
from pdfedchain.types.block import Block, FinalBlock
from pdfedchain.types.vote import Certificate, Proposal, Vote

__all__ = [
    "MESSAGE_SIZE_BYTES_MAX",
    "CertificateMessage",
    "ConsensusMessage",
    "FinalBlockMessage",
    "Message",
    "ProposalMessage",
    "RoundStatus",
    "VoteMessage",
    "VotesMessage",
]

#: A block and what surrounds it: a certificate of `AUTHORITIES_MAX` signatures takes below 24 KiB.
MESSAGE_SIZE_BYTES_MAX: Final = BLOCK_SIZE_BYTES_MAX + 131_072

#: A round's votes of both kinds.
_VOTES_MAX: Final = 2 * AUTHORITIES_MAX
_BITMAP_SIZE_BYTES_MAX: Final = (AUTHORITIES_MAX + 7) // 8


@canonical("pdfed/msg-proposal/v1")
@dataclass(frozen=True, slots=True)
class ProposalMessage:
    """A proposal with its block, and with the polka a re-proposal rests on."""

    proposal: Proposal
    block: Block
    polka: Certificate | None


@canonical("pdfed/msg-vote/v1")
@dataclass(frozen=True, slots=True)
class VoteMessage:
    """One vote."""

    vote: Vote


@canonical("pdfed/msg-votes/v1")
@dataclass(frozen=True, slots=True)
class VotesMessage:
    """Several votes of one height: the reason why a round was entered, or what a neighbour lacks."""

    votes: Annotated[tuple[Vote, ...], Size(_VOTES_MAX, low=1)]


@canonical("pdfed/msg-certificate/v1")
@dataclass(frozen=True, slots=True)
class CertificateMessage:
    """A polka, or the finality of a block whose body the receiver has or will ask for."""

    certificate: Certificate


@canonical("pdfed/msg-final-block/v1")
@dataclass(frozen=True, slots=True)
class FinalBlockMessage:
    """A final block for a neighbour that is one height behind."""

    final: FinalBlock


@canonical("pdfed/msg-round-status/v1")
@dataclass(frozen=True, slots=True)
class RoundStatus:
    """Where the sender is, so that neighbours send what it lacks.

    Attributes:
        height: the height being decided, one above the last final block.
        begun: whether round 0 has started; an idle height is a fact, not a stall.
        step: 0 new, 1 propose, 2 prevote, 3 precommit.
        has_proposal: whether the proposal of this round is known.
        prevotes, precommits: one bit per member in order of turns, least significant first: votes of this round.
        valid_round: round of the newest polka known with its block, counted from 1; 0 for none.
        wanted: hash of a block that a quorum voted for and the sender does not have.
    """

    height: Height
    round: Round
    begun: bool
    step: Annotated[int, Range(0, 4)]
    has_proposal: bool
    prevotes: Annotated[bytes, Size(_BITMAP_SIZE_BYTES_MAX)]
    precommits: Annotated[bytes, Size(_BITMAP_SIZE_BYTES_MAX)]
    valid_round: UInt
    wanted: Hash | None


Message = ProposalMessage | VoteMessage | VotesMessage | CertificateMessage | FinalBlockMessage | RoundStatus


@canonical("pdfed/consensus-message/v1")
@dataclass(frozen=True, slots=True)
class ConsensusMessage:
    """The envelope: ``decode(ConsensusMessage, frame, size_bytes_max=MESSAGE_SIZE_BYTES_MAX).body``."""

    body: ProposalMessage | VoteMessage | VotesMessage | CertificateMessage | FinalBlockMessage | RoundStatus
