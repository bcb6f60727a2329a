"""Events of admission, money and quarantine; `pdfedchain.state.events` tells when each happens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pdfedchain.codec import canonical
from pdfedchain.ids import Address, Cid, Hash, Size, UInt
from pdfedchain.limits import AUTHORITIES_MAX
from pdfedchain.types.ballot import BallotKind
from pdfedchain.types.economy import RewardKind

__all__ = [
    "Admitted",
    "BondSettled",
    "CheckpointQuarantined",
    "DepositBurned",
    "QuarantineLifted",
    "Rewarded",
    "TaskFunded",
]


@canonical("pdfed/event/admitted/v1")
@dataclass(frozen=True, slots=True)
class Admitted:
    kind: ClassVar[str] = "admitted"
    participant: Address
    authority: Address

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return self.participant, self.authority


@canonical("pdfed/event/task-funded/v1")
@dataclass(frozen=True, slots=True)
class TaskFunded:
    kind: ClassVar[str] = "task-funded"
    task: Hash
    sender: Address
    amount: UInt

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return self.task, self.sender


@canonical("pdfed/event/bond-settled/v1")
@dataclass(frozen=True, slots=True)
class BondSettled:
    """``returned`` to the author; otherwise the pool of the task has it."""

    kind: ClassVar[str] = "bond-settled"
    checkpoint: Cid
    author: Address
    amount: UInt
    returned: bool

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return self.checkpoint, self.author


@canonical("pdfed/event/deposit-burned/v1")
@dataclass(frozen=True, slots=True)
class DepositBurned:
    kind: ClassVar[str] = "deposit-burned"
    checkpoint: Cid
    ballot: BallotKind
    voter: Address
    amount: UInt

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return self.checkpoint, self.voter


@canonical("pdfed/event/checkpoint-quarantined/v1")
@dataclass(frozen=True, slots=True)
class CheckpointQuarantined:
    """``above`` of ``voters`` revealed private ballots exceed the task's ceiling of R_C."""

    kind: ClassVar[str] = "checkpoint-quarantined"
    checkpoint: Cid
    author: Address
    voters: UInt
    above: UInt

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return self.checkpoint, self.author


@canonical("pdfed/event/quarantine-lifted/v1")
@dataclass(frozen=True, slots=True)
class QuarantineLifted:
    kind: ClassVar[str] = "quarantine-lifted"
    checkpoint: Cid
    authorities: Annotated[tuple[Address, ...], Size(AUTHORITIES_MAX)]

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return (self.checkpoint,)


@canonical("pdfed/event/rewarded/v1")
@dataclass(frozen=True, slots=True)
class Rewarded:
    """
    Attributes:
        checkpoint: whose settlement, private ballots or improvement this is paid for.
        earned_by: the checkpoint that earned it as author's or ancestor's share; the same one otherwise.
        participant: whose work it was.
        to: the participant's reward address.
    """

    kind: ClassVar[str] = "rewarded"
    checkpoint: Cid
    reward: RewardKind
    earned_by: Cid
    participant: Address
    to: Address
    amount: UInt

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return self.checkpoint, self.earned_by, self.participant, self.to
