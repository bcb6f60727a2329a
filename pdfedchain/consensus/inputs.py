"""What the core of one height is told: a closed union of small frozen values.

Whoever feeds the core has checked each message first: chain, height, set, membership and signature. What the core
is never told is the time, the network or the contents of a block: a block is its hash and the round in its header,
plus the two verdicts of the replica.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from pdfedchain.application import Judgement
from pdfedchain.ids import Hash
from pdfedchain.types.vote import Certificate, Proposal, Vote

__all__ = [
    "Begin",
    "CertificateReceived",
    "Input",
    "Judged",
    "ProposalReceived",
    "Recovered",
    "TimeoutExpired",
    "Timer",
    "TimerKind",
    "VoteReceived",
]


class TimerKind(enum.IntEnum):
    """What a timer is for. The first three are the paper's; the others pace heights and repair losses."""

    PROPOSE = 1
    PREVOTE = 2
    PRECOMMIT = 3
    #: The least time between two blocks has passed.
    INTERVAL = 4
    #: An empty block is due.
    HEARTBEAT = 5
    #: Own votes and the own status are to be sent again.
    REBROADCAST = 6


@dataclass(frozen=True, slots=True)
class Timer:
    """Names one timer. A timer that fires late or twice is harmless: each is guarded by height and round."""

    height: int
    round: int
    kind: TimerKind


@dataclass(frozen=True, slots=True)
class Begin:
    """There is a reason for a block: start round 0."""


@dataclass(frozen=True, slots=True)
class ProposalReceived:
    """A proposal by the proposer of its round.

    Attributes:
        header_round: `Header.round` of the block.
        block_valid: the structural verdict of the block.
    """

    proposal: Proposal
    header_round: int
    block_valid: bool


@dataclass(frozen=True, slots=True)
class Judged:
    """This authority's own opinion of a fresh proposal, or a new one after PENDING."""

    block: Hash
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class Recovered:
    """The signer record remembers what the log does not: go on from the last thing signed.

    Attributes:
        round, step: of that; step 0 is a proposal, 1 a prevote, 2 a precommit.
        locked_round, locked_block: the last precommit for a block; ``None`` for none.
        votes: our own of that round.
    """

    round: int
    step: int
    locked_round: int | None
    locked_block: Hash | None
    votes: tuple[Vote, ...]


@dataclass(frozen=True, slots=True)
class VoteReceived:
    """A vote of a member of the set, possibly our own."""

    vote: Vote


@dataclass(frozen=True, slots=True)
class CertificateReceived:
    """A quorum of equal votes, verified."""

    certificate: Certificate


@dataclass(frozen=True, slots=True)
class TimeoutExpired:
    """One of the paper's three timers has fired."""

    kind: TimerKind
    round: int


Input = Begin | Recovered | ProposalReceived | Judged | VoteReceived | CertificateReceived | TimeoutExpired
