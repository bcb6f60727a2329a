"""Initial data of the federated-learning ledger, its settlement list and its indexes."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Annotated

from pdfedchain.codec import canonical
from pdfedchain.ids import Address, Cid, Hash, Height, Size, TimeMs, UInt
from pdfedchain.limits import (
    GENESIS_ALLOCATIONS_MAX,
    GENESIS_TASKS_MAX,
    PRIVATE_WINDOWS_MAX,
    SETTLEMENTS_PER_BLOCK_MAX,
    TASKS_MAX,
)
from pdfedchain.types.parameters import Deadline, LedgerParameters
from pdfedchain.types.task import TaskSpec
from pdfedchain.types.transaction import Register

__all__ = [
    "Allocation",
    "Deadline",
    "GenesisParticipant",
    "LedgerGenesis",
    "LedgerIndex",
    "LedgerParameters",
    "OpenCount",
    "PrivateBallots",
    "PrivateWindow",
    "Settlements",
]


@canonical("pdfed/allocation/v1")
@dataclass(frozen=True, slots=True)
class Allocation:
    """Initial balance of an account."""

    address: Address
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
    """`Genesis.application_state` of the ledger."""

    parameters: LedgerParameters
    allocations: Annotated[tuple[Allocation, ...], Size(GENESIS_ALLOCATIONS_MAX)]
    participants: Annotated[tuple[GenesisParticipant, ...], Size(GENESIS_ALLOCATIONS_MAX)]
    tasks: Annotated[tuple[TaskSpec, ...], Size(GENESIS_TASKS_MAX)]


@canonical("pdfed/settlements/v1")
@dataclass(frozen=True, slots=True)
class Settlements:
    """`BlockBody.extension` of the ledger: checkpoints this block settles, in order of submission.

    Only the list is proposed; the outcome follows from the revealed ballots. An empty extension lists none.
    """

    checkpoints: Annotated[tuple[Cid, ...], Size(SETTLEMENTS_PER_BLOCK_MAX, low=1)]


class PrivateWindow(enum.StrEnum):
    """What may be done with private ballots on an accepted checkpoint."""

    COMMIT = "commit"
    REVEAL = "reveal"
    CLOSED = "closed"


@canonical("pdfed/private-ballots/v1")
@dataclass(frozen=True, slots=True)
class PrivateBallots:
    """The window of private ballots on one accepted checkpoint; deleted when it closes."""

    window: PrivateWindow
    since_height: Height
    since_time_ms: TimeMs


@canonical("pdfed/open-count/v1")
@dataclass(frozen=True, slots=True)
class OpenCount:
    """How many unsettled submissions one account has in one task."""

    count: UInt


@canonical("pdfed/ledger-index/v1")
@dataclass(frozen=True, slots=True)
class LedgerIndex:
    """What has to be looked at without being asked for: the state tree finds keys, it does not list them.

    Attributes:
        tasks: in order of creation.
        private: accepted checkpoints whose private ballots are not closed yet, in order of acceptance.
    """

    tasks: Annotated[tuple[Hash, ...], Size(TASKS_MAX)]
    private: Annotated[tuple[Cid, ...], Size(PRIVATE_WINDOWS_MAX)]
