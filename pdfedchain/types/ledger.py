"""Initial data of the federated-learning ledger, its settlement list and its indexes."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Annotated

from pdfedchain.codec import canonical
from pdfedchain.ids import Address, Cid, Hash, Height, Name, Size, TimeMs, UInt
from pdfedchain.limits import (
    AUTHORITIES_MAX,
    GENESIS_ALLOCATIONS_MAX,
    GENESIS_TASKS_MAX,
    PRIVATE_VOTERS_MAX,
    PRIVATE_WINDOWS_MAX,
    SETTLEMENTS_PER_BLOCK_MAX,
    TASKS_MAX,
    UNOPENED_MAX,
)
from pdfedchain.types.governance import AuthorityOnion
from pdfedchain.types.parameters import Deadline, LedgerParameters
from pdfedchain.types.task import TaskSpec
from pdfedchain.types.transaction import Register

__all__ = [
    "Admission",
    "Allocation",
    "Deadline",
    "Extension",
    "GenesisParticipant",
    "LedgerGenesis",
    "LedgerIndex",
    "LedgerParameters",
    "OpenCount",
    "PrivateBallots",
    "PrivateWindow",
    "Quarantine",
    "TaskPool",
    "Unopened",
]


@canonical("pdfed/allocation/v1")
@dataclass(frozen=True, slots=True)
class Allocation:
    """Initial balance of an account."""

    address: Address
    amount: UInt


@canonical("pdfed/task-pool/v1")
@dataclass(frozen=True, slots=True)
class TaskPool:
    """Units that genesis puts into the pool of one of its tasks, by the task's name."""

    task: Name
    amount: UInt


@canonical("pdfed/genesis-participant/v1")
@dataclass(frozen=True, slots=True)
class GenesisParticipant:
    """A participant registered from the start."""

    address: Address
    registration: Register


@canonical("pdfed/ledger-genesis/v1")
@dataclass(frozen=True, slots=True)
class LedgerGenesis:
    """`Genesis.application_state` of the ledger.

    Attributes:
        onions: first anchors of authorities; those without one contribute nothing of their own to the beacon.
    """

    parameters: LedgerParameters
    allocations: Annotated[tuple[Allocation, ...], Size(GENESIS_ALLOCATIONS_MAX)]
    participants: Annotated[tuple[GenesisParticipant, ...], Size(GENESIS_ALLOCATIONS_MAX)]
    tasks: Annotated[tuple[TaskSpec, ...], Size(GENESIS_TASKS_MAX)]
    pools: Annotated[tuple[TaskPool, ...], Size(GENESIS_TASKS_MAX)] = ()
    onions: Annotated[tuple[AuthorityOnion, ...], Size(AUTHORITIES_MAX)] = ()


@canonical("pdfed/extension/v1")
@dataclass(frozen=True, slots=True)
class Extension:
    """`BlockBody.extension` of the ledger; empty bytes stand for an extension that says nothing.

    Attributes:
        settlements: checkpoints this block settles, in order of submission. Only the list is proposed; the outcome
            follows from the revealed ballots.
        preimage: the proposer's contribution to the beacon (`pdfedchain.state.beacon`).
    """

    settlements: Annotated[tuple[Cid, ...], Size(SETTLEMENTS_PER_BLOCK_MAX)]
    preimage: Hash | None


class PrivateWindow(enum.StrEnum):
    """What may be done with private ballots on an accepted checkpoint."""

    COMMIT = "commit"
    REVEAL = "reveal"
    CLOSED = "closed"


@canonical("pdfed/private-ballots/v1")
@dataclass(frozen=True, slots=True)
class PrivateBallots:
    """The window of private ballots on one accepted checkpoint; deleted when it closes.

    ``voters`` have sealed one, in order of sealing.
    """

    window: PrivateWindow
    since_height: Height
    since_time_ms: TimeMs
    voters: Annotated[tuple[Address, ...], Size(PRIVATE_VOTERS_MAX)] = ()


@canonical("pdfed/unopened/v1")
@dataclass(frozen=True, slots=True)
class Unopened:
    """A settled checkpoint's sealed scores that may still be opened; deleted when all are, or it is too late."""

    voters: Annotated[tuple[Address, ...], Size(AUTHORITIES_MAX)]
    since_height: Height
    since_time_ms: TimeMs


@canonical("pdfed/quarantine/v1")
@dataclass(frozen=True, slots=True)
class Quarantine:
    """Why a checkpoint is quarantined, and which authorities want it lifted; deleted when it is.

    Attributes:
        voters: private ballots revealed.
        above: how many of them exceed the task's ceiling of R_C.
    """

    voters: UInt
    above: UInt
    since_height: Height
    lifted_by: Annotated[tuple[Address, ...], Size(AUTHORITIES_MAX)]


@canonical("pdfed/admission/v1")
@dataclass(frozen=True, slots=True)
class Admission:
    """An authority's word that somebody may register; used up by the registration."""

    authority: Address
    height: Height


@canonical("pdfed/open-count/v1")
@dataclass(frozen=True, slots=True)
class OpenCount:
    """How many unsettled submissions one account has in one task, or how many tasks one authority has deployed."""

    count: UInt


@canonical("pdfed/ledger-index/v1")
@dataclass(frozen=True, slots=True)
class LedgerIndex:
    """What has to be looked at without being asked for: the state tree finds keys, it does not list them.

    Attributes:
        tasks: in order of creation.
        private: accepted checkpoints whose private ballots are not closed yet, in order of acceptance.
        unopened: settled checkpoints that have an `Unopened`, in order of settlement.
    """

    tasks: Annotated[tuple[Hash, ...], Size(TASKS_MAX)]
    private: Annotated[tuple[Cid, ...], Size(PRIVATE_WINDOWS_MAX)]
    unopened: Annotated[tuple[Cid, ...], Size(UNOPENED_MAX)] = ()
