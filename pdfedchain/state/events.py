"""What the ledger tells those who follow the chain: typed events, and the way to and from `Event`.

============================  ==================================================================
kind                          when
============================  ==================================================================
transferred                   an amount moved
registered                    a participant joined or changed its registration
admitted                      an authority allowed somebody to register
task-created                  a task was deployed
task-funded                   units were put into the pool of a task
checkpoint-submitted          a checkpoint was offered; ``queued`` when it must wait
checkpoint-opened             a queued one's turn came: authorities fetch its weights
weights-held                  one authority has the weights
checkpoint-held               a quorum has them; the electorate is fixed
scoring-started               the seed is fixed
ballot-committed              a report was sealed
reveal-opened                 a quorum of scores is sealed: from this height on they may be opened
ballot-revealed               a report was opened
checkpoint-accepted           settled with a score within the ceilings
checkpoint-rejected           settled otherwise, and why
bond-settled                  a submission's bond was returned, or went to the pool of its task
deposit-burned                a sealed ballot was not opened in time
private-window-changed        private ballots on an accepted checkpoint may be sealed, opened, or no longer
checkpoint-quarantined        private ballots found too much memorised
quarantine-lifted             a quorum of authorities ended that
rewarded                      a task paid somebody
change-proposed               an authority proposed a change of the rules
change-approved               another one approved it
change-enacted                a quorum has: from which height on it is in effect
change-refused                a quorum has, but it has become impossible
change-expired                no quorum has in time
authorities-changed           another set votes from the next block on
rules-changed                 parameters or the version are different from this block on
evidence-accepted             an authority contradicted itself; it leaves, unless it is the last one
onion-renewed                 an authority anchored its next contributions to the beacon
onion-exhausted               an authority has none left
============================  ==================================================================

Those of admission, money and quarantine are defined in `pdfedchain.state.money_events`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from pdfedchain.codec import canonical, decode, encode
from pdfedchain.errors import DecodeError
from pdfedchain.ids import Address, Cid, Hash, Height, Name, Size, UInt
from pdfedchain.limits import AUTHORITIES_MAX, PARENTS_MAX
from pdfedchain.state.governance_events import (
    AuthoritiesChanged,
    ChangeApproved,
    ChangeEnacted,
    ChangeExpired,
    ChangeProposed,
    ChangeRefused,
    EvidenceAccepted,
    OnionExhausted,
    OnionRenewed,
    RulesChanged,
)
from pdfedchain.state.money_events import (
    Admitted,
    BondSettled,
    CheckpointQuarantined,
    DepositBurned,
    QuarantineLifted,
    Rewarded,
    TaskFunded,
)
from pdfedchain.types.ballot import BallotKind
from pdfedchain.types.checkpoint import RejectionReason
from pdfedchain.types.event import Event
from pdfedchain.types.ledger import PrivateWindow
from pdfedchain.types.score import ScoreReport, Unscorable

__all__ = [
    "Admitted",
    "BallotCommitted",
    "BallotRevealed",
    "BondSettled",
    "CheckpointAccepted",
    "CheckpointHeld",
    "CheckpointOpened",
    "CheckpointQuarantined",
    "CheckpointRejected",
    "CheckpointSubmitted",
    "DepositBurned",
    "LedgerEvent",
    "PrivateWindowChanged",
    "QuarantineLifted",
    "Registered",
    "RevealOpened",
    "Rewarded",
    "ScoringStarted",
    "TaskCreated",
    "TaskFunded",
    "Transferred",
    "WeightsHeld",
    "event_of",
    "ledger_event",
]

Addresses = Annotated[tuple[Address, ...], Size(AUTHORITIES_MAX)]
_EVENT_SIZE_BYTES_MAX: Final = 65_536


@canonical("pdfed/event/transferred/v1")
@dataclass(frozen=True, slots=True)
class Transferred:
    kind: ClassVar[str] = "transferred"
    sender: Address
    to: Address
    amount: UInt

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return self.sender, self.to


@canonical("pdfed/event/registered/v1")
@dataclass(frozen=True, slots=True)
class Registered:
    kind: ClassVar[str] = "registered"
    participant: Address
    name: Name
    roles: UInt
    reward_address: Address

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return (self.participant,)


@canonical("pdfed/event/task-created/v1")
@dataclass(frozen=True, slots=True)
class TaskCreated:
    kind: ClassVar[str] = "task-created"
    task: Hash
    name: Name

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return (self.task,)


@canonical("pdfed/event/checkpoint-submitted/v1")
@dataclass(frozen=True, slots=True)
class CheckpointSubmitted:
    """``retry``: the same weights were rejected before as unavailable or as a disagreement."""

    kind: ClassVar[str] = "checkpoint-submitted"
    checkpoint: Cid
    task: Hash
    author: Address
    parents: Annotated[tuple[Cid, ...], Size(PARENTS_MAX)]
    queued: bool
    retry: bool

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return self.checkpoint, self.author, self.task


@canonical("pdfed/event/checkpoint-opened/v1")
@dataclass(frozen=True, slots=True)
class CheckpointOpened:
    kind: ClassVar[str] = "checkpoint-opened"
    checkpoint: Cid

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return (self.checkpoint,)


@canonical("pdfed/event/weights-held/v1")
@dataclass(frozen=True, slots=True)
class WeightsHeld:
    kind: ClassVar[str] = "weights-held"
    checkpoint: Cid
    authority: Address

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return self.checkpoint, self.authority


@canonical("pdfed/event/checkpoint-held/v1")
@dataclass(frozen=True, slots=True)
class CheckpointHeld:
    kind: ClassVar[str] = "checkpoint-held"
    checkpoint: Cid
    electorate: Addresses

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return (self.checkpoint,)


@canonical("pdfed/event/scoring-started/v1")
@dataclass(frozen=True, slots=True)
class ScoringStarted:
    kind: ClassVar[str] = "scoring-started"
    checkpoint: Cid
    seed: Hash

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return (self.checkpoint,)


@canonical("pdfed/event/ballot-committed/v1")
@dataclass(frozen=True, slots=True)
class BallotCommitted:
    kind: ClassVar[str] = "ballot-committed"
    checkpoint: Cid
    ballot: BallotKind
    voter: Address

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return self.checkpoint, self.voter


@canonical("pdfed/event/reveal-opened/v1")
@dataclass(frozen=True, slots=True)
class RevealOpened:
    kind: ClassVar[str] = "reveal-opened"
    checkpoint: Cid
    from_height: Height

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return (self.checkpoint,)


@canonical("pdfed/event/ballot-revealed/v1")
@dataclass(frozen=True, slots=True)
class BallotRevealed:
    kind: ClassVar[str] = "ballot-revealed"
    checkpoint: Cid
    ballot: BallotKind
    voter: Address
    report: ScoreReport | Unscorable

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return self.checkpoint, self.voter


@canonical("pdfed/event/checkpoint-accepted/v1")
@dataclass(frozen=True, slots=True)
class CheckpointAccepted:
    """
    Attributes:
        agreeing: voters of the group whose medians the report holds.
        outliers: voters who revealed something else; recorded, never punished.
        best: whether it is the task's best from now on.
    """

    kind: ClassVar[str] = "checkpoint-accepted"
    checkpoint: Cid
    task: Hash
    author: Address
    report: ScoreReport
    qn_micro: UInt
    agreeing: Addresses
    outliers: Addresses
    best: bool

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return self.checkpoint, self.author, self.task


@canonical("pdfed/event/checkpoint-rejected/v1")
@dataclass(frozen=True, slots=True)
class CheckpointRejected:
    """``report`` is there when a score was agreed on and exceeds a ceiling."""

    kind: ClassVar[str] = "checkpoint-rejected"
    checkpoint: Cid
    task: Hash
    author: Address
    reason: RejectionReason
    report: ScoreReport | None
    agreeing: Addresses
    outliers: Addresses

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return self.checkpoint, self.author, self.task


@canonical("pdfed/event/private-window-changed/v1")
@dataclass(frozen=True, slots=True)
class PrivateWindowChanged:
    kind: ClassVar[str] = "private-window-changed"
    checkpoint: Cid
    window: PrivateWindow

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return (self.checkpoint,)


LedgerEvent = (
    Transferred
    | Registered
    | Admitted
    | TaskCreated
    | TaskFunded
    | CheckpointSubmitted
    | CheckpointOpened
    | WeightsHeld
    | CheckpointHeld
    | ScoringStarted
    | BallotCommitted
    | RevealOpened
    | BallotRevealed
    | CheckpointAccepted
    | CheckpointRejected
    | BondSettled
    | DepositBurned
    | PrivateWindowChanged
    | CheckpointQuarantined
    | QuarantineLifted
    | Rewarded
    | AuthoritiesChanged
    | ChangeApproved
    | ChangeEnacted
    | ChangeExpired
    | ChangeProposed
    | ChangeRefused
    | EvidenceAccepted
    | OnionExhausted
    | OnionRenewed
    | RulesChanged
)

_BY_KIND: Final[dict[str, type[LedgerEvent]]] = {
    cls.kind: cls
    for cls in (
        Transferred,
        Registered,
        Admitted,
        TaskCreated,
        TaskFunded,
        CheckpointSubmitted,
        CheckpointOpened,
        WeightsHeld,
        CheckpointHeld,
        ScoringStarted,
        BallotCommitted,
        RevealOpened,
        BallotRevealed,
        CheckpointAccepted,
        CheckpointRejected,
        BondSettled,
        DepositBurned,
        PrivateWindowChanged,
        CheckpointQuarantined,
        QuarantineLifted,
        Rewarded,
        AuthoritiesChanged,
        ChangeApproved,
        ChangeEnacted,
        ChangeExpired,
        ChangeProposed,
        ChangeRefused,
        EvidenceAccepted,
        OnionExhausted,
        OnionRenewed,
        RulesChanged,
    )
}


def event_of(value: LedgerEvent) -> Event:
    """The event as stores keep it."""
    return Event(value.kind, value.subjects, encode(value))


def ledger_event(event: Event) -> LedgerEvent:
    """Inverse of `event_of`.

    Raises:
        DecodeError: the kind is unknown, or the data are not that kind's.
    """
    cls = _BY_KIND.get(event.kind)
    if cls is None:
        raise DecodeError(f"{event.kind!r} is no event of the ledger")
    return decode(cls, event.data, size_bytes_max=_EVENT_SIZE_BYTES_MAX)
