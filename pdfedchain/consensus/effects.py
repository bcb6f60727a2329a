"""What the core and the replica want done: closed unions of small frozen values. Nothing here acts.

`CoreEffect` is between the core of one height (`pdfedchain.consensus.engine`) and its replica. `Effect` is what
leaves a replica; whoever drives it executes them in order, and all of it may leave the node at once: what had to
be durable first is durable already.
"""

from __future__ import annotations

from dataclasses import dataclass

from pdfedchain.application import Execution
from pdfedchain.consensus.inputs import Timer
from pdfedchain.consensus.messages import Message
from pdfedchain.errors import StateError
from pdfedchain.ids import Address, Hash
from pdfedchain.types.block import FinalBlock
from pdfedchain.types.vote import Proposal, Vote, VoteKind

__all__ = [
    "BehindPeer",
    "BlockRefused",
    "Broadcast",
    "CastVote",
    "Committed",
    "CoreEffect",
    "Decide",
    "Effect",
    "EnteredRound",
    "Evidence",
    "InvalidCommit",
    "NeedJudgement",
    "PeerFault",
    "Propose",
    "Relay",
    "ScoreOverridden",
    "SendTo",
    "SigningRefused",
    "StartTimer",
    "Stop",
    "ValueAt",
]


@dataclass(frozen=True, slots=True)
class ValueAt:
    """A block and a round in which it had a polka: the paper's (lockedValue, lockedRound) and (valid...)."""

    round: int
    block: Hash


@dataclass(frozen=True, slots=True)
class CastVote:
    """Sign and send a vote, and tell the core of it."""

    round: int
    kind: VoteKind
    block: Hash | None


@dataclass(frozen=True, slots=True)
class Propose:
    """It is our turn: send ``valid`` again, or ask the application for a block where it is ``None``."""

    round: int
    valid: ValueAt | None


@dataclass(frozen=True, slots=True)
class NeedJudgement:
    """The prevote on this fresh proposal waits for our own opinion."""

    block: Hash


@dataclass(frozen=True, slots=True)
class EnteredRound:
    """A round has started; for rounds above 0 neighbours are told why."""

    round: int


@dataclass(frozen=True, slots=True)
class Decide:
    """A quorum has precommitted a block we have and find structurally valid."""

    round: int
    block: Hash


@dataclass(frozen=True, slots=True)
class InvalidCommit:
    """A quorum has precommitted a block that fails our structural verdict: software differs, or too many lie."""

    block: Hash


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Call `Replica.on_timeout` with ``timer`` after this delay. Starting a running timer again restarts it."""

    timer: Timer
    delay_ms: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """Two different messages that one authority signed for one height, round and step."""

    culprit: Address
    first: Vote | Proposal
    second: Vote | Proposal


@dataclass(frozen=True, slots=True)
class Stop:
    """The replica cannot go on with this program and ignores everything from now on: end the node with this error."""

    error: StateError


@dataclass(frozen=True, slots=True)
class ScoreOverridden:
    """A quorum went past our own INVALID: a dispute to record and to raise an alarm about. We follow."""

    height: int
    block: Hash


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Send to every neighbour."""

    message: Message


@dataclass(frozen=True, slots=True)
class SendTo:
    """Send to one neighbour."""

    peer: str
    message: Message


@dataclass(frozen=True, slots=True)
class Relay:
    """A neighbour's message was valid and new: hand it on to the others (where not all are connected)."""

    source: str
    message: Message


@dataclass(frozen=True, slots=True)
class Committed:
    """The block is final, executed and durable. Afterwards say again whether transactions are waiting."""

    final: FinalBlock
    execution: Execution


@dataclass(frozen=True, slots=True)
class BehindPeer:
    """A neighbour says that ``height`` is final there and we are more than one block below: fetch, then
    `Replica.apply_synced`. The claim is unsigned."""

    peer: str
    height: int


@dataclass(frozen=True, slots=True)
class SigningRefused:
    """The signer record contradicts what we wanted to sign: state was lost or a second node has our key. Alarm."""

    height: int
    round: int
    reason: str


@dataclass(frozen=True, slots=True)
class BlockRefused:
    """A proposed block fails the structural verdict; its proposer is at fault, or our software differs."""

    height: int
    block: Hash
    proposer: Address
    reason: str


@dataclass(frozen=True, slots=True)
class PeerFault:
    """A message kept for later turned out wrong: the same fault as an `InputError` raised at once."""

    peer: str
    reason: str


CoreEffect = (
    CastVote | Propose | NeedJudgement | EnteredRound | Decide | InvalidCommit | StartTimer | Evidence | ScoreOverridden
)
Effect = (
    Broadcast
    | SendTo
    | Relay
    | StartTimer
    | Committed
    | BehindPeer
    | Evidence
    | ScoreOverridden
    | SigningRefused
    | BlockRefused
    | PeerFault
    | Stop
)
