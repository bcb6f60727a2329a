"""Typed reads of the ledger's state.

What lies under which key (addresses, hashes and CIDs in binary)::

    parameters                        LedgerParameters
    chain-parameters                  ChainParameters
    index                             LedgerIndex
    totals                            Totals
    account/<address>                 Account; absent means balance and nonce zero
    participant/<address>             Participant
    admission/<address>               Admission; absent once used
    task/<task hash>                  TaskSpec
    task-record/<task hash>           TaskRecord
    task-name/<name in UTF-8>         the task's hash, 32 bytes
    open-count/<task hash><address>   OpenCount; absent means zero
    task-count/<address>              OpenCount: tasks that an authority has deployed; absent means zero
    checkpoint/<CID>                  Checkpoint
    digest/<weights digest>           the CID that holds the digest, 36 bytes
    ballot/<CID><kind>/<address>      Ballot; kind is "score" or "private"
    private/<CID>                     PrivateBallots; absent means closed
    unopened/<CID>                    Unopened; absent when there is nothing to wait for
    quarantine/<CID>                  Quarantine; absent unless quarantined
    governance                        Governance
    authority-set/<number, 8 bytes>   AuthoritySet; those that evidence may be about
    proposal/<transaction hash>       ChangeProposal, while it is open
    conviction/<address>              Conviction
    beacon                            32 bytes
    onion/<address>                   Onion
    onion-salt/<address><salt>        one byte: this authority has anchored an onion with this salt

All but five values are canonical encodings, so `Store.state_items` with a prefix lists them without a tree, and a
Merkle proof of a key shows a typed value to those who hold nothing but a header.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Protocol, TypeVar

from pdfedchain.codec import decode
from pdfedchain.crypto import StateTree
from pdfedchain.ids import Address, Cid, Hash
from pdfedchain.limits import STATE_VALUE_SIZE_BYTES_MAX
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.ballot import Ballot, BallotKind
from pdfedchain.types.checkpoint import Account, Checkpoint, Participant, TaskRecord
from pdfedchain.types.economy import Totals
from pdfedchain.types.genesis import ChainParameters
from pdfedchain.types.governance import ChangeProposal, Conviction, Governance, Onion, OnionAnchor
from pdfedchain.types.ledger import (
    Admission,
    LedgerIndex,
    LedgerParameters,
    OpenCount,
    PrivateBallots,
    PrivateWindow,
    Quarantine,
    Unopened,
)
from pdfedchain.types.task import TaskSpec

__all__ = [
    "ACCOUNT_PREFIX",
    "ADMISSION_PREFIX",
    "AUTHORITY_SET_PREFIX",
    "BALLOT_PREFIX",
    "BEACON_KEY",
    "CHAIN_PARAMETERS_KEY",
    "CHECKPOINT_PREFIX",
    "CONVICTION_PREFIX",
    "DIGEST_PREFIX",
    "GOVERNANCE_KEY",
    "INDEX_KEY",
    "ONION_PREFIX",
    "ONION_SALT_PREFIX",
    "OPEN_COUNT_PREFIX",
    "PARAMETERS_KEY",
    "PARTICIPANT_PREFIX",
    "PRIVATE_PREFIX",
    "PROPOSAL_PREFIX",
    "QUARANTINE_PREFIX",
    "TASK_COUNT_PREFIX",
    "TASK_NAME_PREFIX",
    "TASK_PREFIX",
    "TASK_RECORD_PREFIX",
    "TOTALS_KEY",
    "UNOPENED_PREFIX",
    "LedgerView",
    "Readable",
    "ballot_prefix",
]

PARAMETERS_KEY: Final = b"parameters"
CHAIN_PARAMETERS_KEY: Final = b"chain-parameters"
INDEX_KEY: Final = b"index"
TOTALS_KEY: Final = b"totals"
ACCOUNT_PREFIX: Final = b"account/"
PARTICIPANT_PREFIX: Final = b"participant/"
ADMISSION_PREFIX: Final = b"admission/"
TASK_PREFIX: Final = b"task/"
TASK_RECORD_PREFIX: Final = b"task-record/"
TASK_NAME_PREFIX: Final = b"task-name/"
OPEN_COUNT_PREFIX: Final = b"open-count/"
TASK_COUNT_PREFIX: Final = b"task-count/"
CHECKPOINT_PREFIX: Final = b"checkpoint/"
DIGEST_PREFIX: Final = b"digest/"
BALLOT_PREFIX: Final = b"ballot/"
PRIVATE_PREFIX: Final = b"private/"
UNOPENED_PREFIX: Final = b"unopened/"
QUARANTINE_PREFIX: Final = b"quarantine/"
GOVERNANCE_KEY: Final = b"governance"
AUTHORITY_SET_PREFIX: Final = b"authority-set/"
PROPOSAL_PREFIX: Final = b"proposal/"
CONVICTION_PREFIX: Final = b"conviction/"
BEACON_KEY: Final = b"beacon"
ONION_PREFIX: Final = b"onion/"
ONION_SALT_PREFIX: Final = b"onion-salt/"

T = TypeVar("T")


def ballot_prefix(checkpoint: Cid, kind: BallotKind) -> bytes:
    """Prefix of the keys of all ballots of one kind on one checkpoint; the voter's address follows."""
    return BALLOT_PREFIX + checkpoint + kind.value.encode() + b"/"


class Readable(Protocol):
    """A state, or what is known of one: `StateTree`, `pdfedchain.light.ProvenState`."""

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, ``None`` for none."""
        ...


class LedgerView:
    """Reads one immutable state."""

    __slots__ = ("_decoded", "tree")

    def __init__(self, tree: Readable) -> None:
        self.tree = tree
        # Checked, proposed and executed on one state, a transaction has its accounts decoded once.
        self._decoded: dict[bytes, Any] = tree.decoded if isinstance(tree, StateTree) else {}

    def _read(self, cls: type[T], key: bytes) -> T | None:
        value: T | None = self._decoded.get(key)
        if value is None:
            data = self.tree.get(key)
            if data is not None:
                value = self._decoded[key] = decode(cls, data, size_bytes_max=STATE_VALUE_SIZE_BYTES_MAX)
        return value

    def _read_bytes(self, key: bytes) -> bytes | None:
        return self.tree.get(key)

    def _always(self, cls: type[T], key: bytes) -> T:
        value = self._read(cls, key)
        assert value is not None, f"a ledger state has {key!r}"
        return value

    @property
    def parameters(self) -> LedgerParameters:
        """Rules of this ledger."""
        return self._always(LedgerParameters, PARAMETERS_KEY)

    @property
    def chain_parameters(self) -> ChainParameters:
        """How the chain paces itself, up to what `Governance.scheduled` says of the next block."""
        return self._always(ChainParameters, CHAIN_PARAMETERS_KEY)

    @property
    def index(self) -> LedgerIndex:
        """The lists of what must be looked at in every block."""
        return self._always(LedgerIndex, INDEX_KEY)

    @property
    def totals(self) -> Totals:
        """Sums over the whole ledger."""
        return self._always(Totals, TOTALS_KEY)

    def account(self, address: Address) -> Account:
        """An account; one nobody has used has balance and nonce zero."""
        return self._read(Account, ACCOUNT_PREFIX + address) or Account(0, 0)

    def participant(self, address: Address) -> Participant | None:
        """A registered participant."""
        return self._read(Participant, PARTICIPANT_PREFIX + address)

    def admission(self, address: Address) -> Admission | None:
        """An authority's word that this account may register, not used yet."""
        return self._read(Admission, ADMISSION_PREFIX + address)

    def task(self, task: Hash) -> TaskSpec | None:
        """What a task pins; ``task`` is the hash of its `TaskSpec`."""
        return self._read(TaskSpec, TASK_PREFIX + task)

    def tasks(self) -> Iterator[TaskSpec]:
        """All tasks, in order of creation."""
        for task in self.index.tasks:
            yield self._always(TaskSpec, TASK_PREFIX + task)

    def task_named(self, name: str) -> Hash | None:
        """Hash of the task of that name."""
        value = self._read_bytes(TASK_NAME_PREFIX + name.encode())
        return None if value is None else Hash(value)

    def task_record(self, task: Hash) -> TaskRecord:
        """What changes about an existing task."""
        return self._always(TaskRecord, TASK_RECORD_PREFIX + task)

    def task_records(self) -> Iterator[TaskRecord]:
        """The records of all tasks, in order of creation."""
        for task in self.index.tasks:
            yield self.task_record(task)

    def open_count(self, task: Hash, author: Address) -> int:
        """How many unsettled submissions an account has in a task."""
        count = self._read(OpenCount, OPEN_COUNT_PREFIX + task + author)
        return 0 if count is None else count.count

    def task_count(self, authority: Address) -> int:
        """How many tasks an authority has deployed, those of genesis left out."""
        count = self._read(OpenCount, TASK_COUNT_PREFIX + authority)
        return 0 if count is None else count.count

    def checkpoint(self, checkpoint: Cid) -> Checkpoint | None:
        """A submitted checkpoint."""
        return self._read(Checkpoint, CHECKPOINT_PREFIX + checkpoint)

    def open_checkpoints(self) -> Iterator[Checkpoint]:
        """Checkpoints that are fetched, held or scored: by task in order of creation, then in order of submission."""
        for record in self.task_records():
            for checkpoint in record.open:
                yield self._always(Checkpoint, CHECKPOINT_PREFIX + checkpoint)

    def digest_holder(self, digest: Hash) -> Cid | None:
        """The checkpoint that has this digest of tensors."""
        value = self._read_bytes(DIGEST_PREFIX + digest)
        return None if value is None else Cid(value)

    def ballot(self, checkpoint: Cid, kind: BallotKind, voter: Address) -> Ballot | None:
        """One voter's ballot."""
        return self._read(Ballot, ballot_prefix(checkpoint, kind) + voter)

    def score_ballots(self, checkpoint: Checkpoint) -> tuple[Ballot, ...]:
        """The electorate's ballots on a checkpoint, sealed and revealed, in the electorate's order."""
        ballots = (self.ballot(checkpoint.weights, BallotKind.SCORE, voter) for voter in checkpoint.electorate)
        return tuple(ballot for ballot in ballots if ballot is not None)

    def private_ballots(self, checkpoint: Cid) -> PrivateBallots | None:
        """The open window of private ballots on a checkpoint and its start."""
        return self._read(PrivateBallots, PRIVATE_PREFIX + checkpoint)

    def private_window(self, checkpoint: Cid) -> PrivateWindow:
        """What may be done with private ballots on a checkpoint."""
        ballots = self.private_ballots(checkpoint)
        return PrivateWindow.CLOSED if ballots is None else ballots.window

    def unopened(self, checkpoint: Cid) -> Unopened | None:
        """Whose sealed scores of a settled checkpoint may still be opened."""
        return self._read(Unopened, UNOPENED_PREFIX + checkpoint)

    def quarantine(self, checkpoint: Cid) -> Quarantine | None:
        """Why a checkpoint is quarantined."""
        return self._read(Quarantine, QUARANTINE_PREFIX + checkpoint)

    @property
    def governance(self) -> Governance:
        """Who decides, and what is decided but not in effect."""
        return self._always(Governance, GOVERNANCE_KEY)

    def authority_set(self, set_id: int) -> AuthoritySet | None:
        """A set of that number that voted not too long ago, or will vote on the next block."""
        return self._read(AuthoritySet, AUTHORITY_SET_PREFIX + set_id.to_bytes(8, "big"))

    def proposal(self, proposal: Hash) -> ChangeProposal | None:
        """An open proposal."""
        return self._read(ChangeProposal, PROPOSAL_PREFIX + proposal)

    def conviction(self, address: Address) -> Conviction | None:
        """The newest evidence against a key."""
        return self._read(Conviction, CONVICTION_PREFIX + address)

    @property
    def beacon(self) -> Hash:
        """The beacon after the last block."""
        value = self._read_bytes(BEACON_KEY)
        assert value is not None, "a ledger state has a beacon"
        return Hash(value)

    def onion(self, address: Address) -> Onion | None:
        """What is left of an authority's onion."""
        return self._read(Onion, ONION_PREFIX + address)

    def has_anchored(self, address: Address, onion: OnionAnchor) -> bool:
        """Whether an authority has used this salt before: everybody knows what it showed then."""
        return self._read_bytes(ONION_SALT_PREFIX + address + onion.salt) is not None
