"""Typed writes of the ledger's state: the state of a block in the making.

A `Draft` lays what a block changes over the immutable tree before it. Values are decoded when they are first read and
encoded whenever they are written, so one that is out of bounds is refused with the transaction that wrote it; only
accounts, which transfers write by the thousand, have their bounds looked at and are encoded by `Draft.commit`. That
rebuilds the tree, once. Whoever may fail does so inside `Draft.attempt`, which leaves nothing behind.
"""

from __future__ import annotations

from dataclasses import replace
from types import TracebackType
from typing import Any, Final, TypeVar

from pdfedchain.codec import encode
from pdfedchain.crypto import StateTree
from pdfedchain.ids import Address, Cid, Hash
from pdfedchain.limits import UINT_MAX
from pdfedchain.state.events import LedgerEvent, Transferred, event_of
from pdfedchain.state.view import (
    ACCOUNT_PREFIX,
    ADMISSION_PREFIX,
    AUTHORITY_SET_PREFIX,
    BEACON_KEY,
    CHAIN_PARAMETERS_KEY,
    CHECKPOINT_PREFIX,
    CONVICTION_PREFIX,
    DIGEST_PREFIX,
    GOVERNANCE_KEY,
    INDEX_KEY,
    ONION_PREFIX,
    ONION_SALT_PREFIX,
    OPEN_COUNT_PREFIX,
    PARAMETERS_KEY,
    PARTICIPANT_PREFIX,
    PRIVATE_PREFIX,
    PROPOSAL_PREFIX,
    QUARANTINE_PREFIX,
    TASK_COUNT_PREFIX,
    TASK_NAME_PREFIX,
    TASK_PREFIX,
    TASK_RECORD_PREFIX,
    TOTALS_KEY,
    UNOPENED_PREFIX,
    LedgerView,
    ballot_prefix,
)
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.ballot import Ballot, BallotKind
from pdfedchain.types.checkpoint import Account, Checkpoint, Participant, TaskRecord
from pdfedchain.types.economy import Totals
from pdfedchain.types.event import Event
from pdfedchain.types.genesis import ChainParameters
from pdfedchain.types.governance import ChangeProposal, Conviction, Governance, Onion, OnionAnchor
from pdfedchain.types.ledger import (
    Admission,
    LedgerIndex,
    LedgerParameters,
    OpenCount,
    PrivateBallots,
    Quarantine,
    Unopened,
)
from pdfedchain.types.task import TaskSpec

__all__ = ["Draft"]

T = TypeVar("T")

#: ``None`` is what an erased key holds.
_UNWRITTEN: Final[Any] = object()

#: Stands for the encoding of a value that is within its bounds, until `Draft.commit`.
_NOT_ENCODED: Final[Any] = object()

#: Events that can always be encoded: their fields are those of the decoded transaction.
_ENCODABLE: Final = frozenset({Transferred})

#: Decoded values that one state takes over from the one before; some 10 MB.
_DECODED_MAX: Final = 32_768


class Draft(LedgerView):
    """A view that can be written to. `tree` is the state it started from; what was written since lies above it."""

    __slots__ = ("_attempts", "_before", "_changes", "_events", "_is_trial", "_undo", "_values", "subjects")

    def __init__(self, tree: StateTree, *, is_trial: bool = False) -> None:
        """
        Args:
            is_trial: nobody will ask for the events or commit; what is refused is the same.
        """
        super().__init__(tree)
        self._before = tree
        self._is_trial = is_trial
        #: What was written, as it is read again, and encoded; ``None`` for what was erased.
        self._values: dict[bytes, Any] = {}
        self._changes: dict[bytes, bytes | None] = {}
        #: Key, and what the two above held, of every write inside an attempt.
        self._undo: list[tuple[bytes, Any, Any]] = []
        self._attempts = 0
        self._events: list[Event] = []
        #: Of each transaction executed so far (`pdfedchain.state.subjects`).
        self.subjects: list[tuple[bytes, ...]] = []

    @property
    def events(self) -> tuple[Event, ...]:
        """What happened so far, in order."""
        return tuple(self._events)

    def emit(self, event: LedgerEvent) -> None:
        """Add an event."""
        if self._is_trial and type(event) in _ENCODABLE:
            return
        self._events.append(event_of(event))

    def attempt(self) -> _Attempt:
        """A ``with`` block that takes back all that was written and emitted in it if it is left by an exception.

        Attempts nest.
        """
        return _Attempt(self)

    def commit(self) -> StateTree:
        """The state with everything that was written.

        What is known decoded of the state before, and what was written, is known of it: the next block reads much of
        the same.
        """
        assert not self._is_trial, "a trial is thrown away"
        values = self._values
        tree = self._before.update(
            {key: encode(values[key]) if data is _NOT_ENCODED else data for key, data in self._changes.items()}
        )
        if tree is not self._before:
            before = self._before.decoded
            tree.decoded = {**(before if len(before) < _DECODED_MAX else {}), **values}
        return tree

    def _read(self, cls: type[T], key: bytes) -> T | None:
        value: T | None = self._values.get(key, _UNWRITTEN)
        return super()._read(cls, key) if value is _UNWRITTEN else value

    def _read_bytes(self, key: bytes) -> bytes | None:
        # Not asked for accounts.
        data: bytes | None = self._changes.get(key, _UNWRITTEN)
        return super()._read_bytes(key) if data is _UNWRITTEN else data

    def _write(self, key: bytes, value: Any) -> None:
        self._set(key, encode(value), value)

    def _write_bytes(self, key: bytes, data: bytes) -> None:
        self._set(key, data, data)

    def _erase(self, key: bytes) -> None:
        self._set(key, None, None)

    def _set(self, key: bytes, data: bytes | None, value: Any) -> None:
        if self._attempts:
            self._undo.append((key, self._changes.get(key, _UNWRITTEN), self._values.get(key, _UNWRITTEN)))
        self._changes[key] = data
        self._values[key] = value

    def _write_or_erase(self, key: bytes, value: Any | None) -> None:
        if value is None:
            self._erase(key)
        else:
            self._write(key, value)

    def set_parameters(self, parameters: LedgerParameters, chain_parameters: ChainParameters) -> None:
        """Write the rules that hold from this block on."""
        self._write(PARAMETERS_KEY, parameters)
        self._write(CHAIN_PARAMETERS_KEY, chain_parameters)

    def set_index(self, index: LedgerIndex) -> None:
        """Replace the lists of what is looked at in every block."""
        self._write(INDEX_KEY, index)

    def set_totals(self, totals: Totals) -> None:
        """Write the sums over the whole ledger."""
        self._write(TOTALS_KEY, totals)

    # Asked for with every transfer: the answers of `LedgerView`, in fewer calls.

    @property
    def parameters(self) -> LedgerParameters:
        parameters: LedgerParameters | None = self._values.get(PARAMETERS_KEY) or self._decoded.get(PARAMETERS_KEY)
        return super().parameters if parameters is None else parameters

    def account(self, address: Address) -> Account:
        key = ACCOUNT_PREFIX + address
        account: Account | None = self._values.get(key)
        if account is None:
            account = self._decoded.get(key)
        return super().account(address) if account is None else account

    def set_account(self, address: Address, account: Account) -> None:
        """Write an account."""
        if 0 <= account.balance <= UINT_MAX and 0 <= account.nonce <= UINT_MAX:
            self._set(ACCOUNT_PREFIX + address, _NOT_ENCODED, account)
        else:
            self._write(ACCOUNT_PREFIX + address, account)

    def set_participant(self, participant: Participant) -> None:
        """Write a registration."""
        self._write(PARTICIPANT_PREFIX + participant.address, participant)

    def set_admission(self, address: Address, admission: Admission | None) -> None:
        """Write that an account may register, or that this is used up."""
        self._write_or_erase(ADMISSION_PREFIX + address, admission)

    def add_task(self, task_id: Hash, task: TaskSpec) -> None:
        """Write a new task, its name and its empty record."""
        self._write(TASK_PREFIX + task_id, task)
        self._write(TASK_RECORD_PREFIX + task_id, TaskRecord((), (), None))
        self._write_bytes(TASK_NAME_PREFIX + task.name.encode(), task_id)
        index = self.index
        self.set_index(replace(index, tasks=(*index.tasks, task_id)))

    def set_task_record(self, task: Hash, record: TaskRecord) -> None:
        """Write what changes about a task."""
        self._write(TASK_RECORD_PREFIX + task, record)

    def add_to_open_count(self, task: Hash, author: Address, difference: int) -> None:
        """Count one account's unsettled submissions; zero is not stored."""
        count = self.open_count(task, author) + difference
        key = OPEN_COUNT_PREFIX + task + author
        if count:
            self._write(key, OpenCount(count))
        else:
            self._erase(key)

    def set_task_count(self, authority: Address, count: int) -> None:
        """Write how many tasks an authority has deployed."""
        self._write(TASK_COUNT_PREFIX + authority, OpenCount(count))

    def set_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint."""
        self._write(CHECKPOINT_PREFIX + checkpoint.weights, checkpoint)

    def set_digest_holder(self, digest: Hash, checkpoint: Cid | None) -> None:
        """Say which checkpoint has a digest of tensors, or that none has."""
        key = DIGEST_PREFIX + digest
        if checkpoint is None:
            self._erase(key)
        else:
            self._write_bytes(key, checkpoint)

    def set_ballot(self, ballot: Ballot) -> None:
        """Write a ballot."""
        self._write(ballot_prefix(ballot.checkpoint, ballot.kind) + ballot.voter, ballot)

    def delete_score_ballots(self, checkpoint: Checkpoint) -> None:
        """Forget the electorate's ballots of an earlier attempt."""
        for voter in checkpoint.electorate:
            self._erase(ballot_prefix(checkpoint.weights, BallotKind.SCORE) + voter)

    def set_private_ballots(self, checkpoint: Cid, ballots: PrivateBallots) -> None:
        """Open or turn the window of private ballots on a checkpoint."""
        self._write(PRIVATE_PREFIX + checkpoint, ballots)

    def close_private_ballots(self, checkpoint: Cid) -> None:
        """Close the window of private ballots on a checkpoint."""
        self._erase(PRIVATE_PREFIX + checkpoint)
        index = self.index
        self.set_index(replace(index, private=tuple(cid for cid in index.private if cid != checkpoint)))

    def set_unopened(self, checkpoint: Cid, unopened: Unopened | None) -> None:
        """Write whose sealed scores may still be opened, or that nobody's may."""
        listed = self.unopened(checkpoint) is not None
        self._write_or_erase(UNOPENED_PREFIX + checkpoint, unopened)
        if listed != (unopened is not None):
            index = self.index
            others = tuple(cid for cid in index.unopened if cid != checkpoint)
            self.set_index(replace(index, unopened=others if unopened is None else (*others, checkpoint)))

    def set_quarantine(self, checkpoint: Cid, quarantine: Quarantine | None) -> None:
        """Write a quarantine, or that there is none."""
        self._write_or_erase(QUARANTINE_PREFIX + checkpoint, quarantine)

    def set_governance(self, governance: Governance) -> None:
        """Write who decides, and what is decided but not in effect."""
        self._write(GOVERNANCE_KEY, governance)

    def set_authority_set(self, authorities: AuthoritySet) -> None:
        """Remember a set under its number."""
        self._write(AUTHORITY_SET_PREFIX + authorities.set_id.to_bytes(8, "big"), authorities)

    def delete_authority_set(self, set_id: int) -> None:
        """Forget a set that evidence cannot be about any more."""
        self._erase(AUTHORITY_SET_PREFIX + set_id.to_bytes(8, "big"))

    def set_proposal(self, proposal: Hash, record: ChangeProposal) -> None:
        """Write an open proposal."""
        self._write(PROPOSAL_PREFIX + proposal, record)

    def delete_proposal(self, proposal: Hash) -> None:
        """Forget a proposal that is not open any more."""
        self._erase(PROPOSAL_PREFIX + proposal)

    def set_conviction(self, conviction: Conviction) -> None:
        """Write the newest evidence against a key."""
        self._write(CONVICTION_PREFIX + conviction.culprit, conviction)

    def set_beacon(self, beacon: Hash) -> None:
        """Move the beacon on."""
        self._write_bytes(BEACON_KEY, beacon)

    def set_onion(self, address: Address, onion: Onion) -> None:
        """Write what is left of an authority's onion."""
        self._write(ONION_PREFIX + address, onion)

    def remember_salt(self, address: Address, onion: OnionAnchor) -> None:
        """Note that an authority has anchored an onion with this salt."""
        self._write_bytes(ONION_SALT_PREFIX + address + onion.salt, b"\x01")

    def delete_onion(self, address: Address) -> None:
        """An authority has left, or joins without an onion."""
        self._erase(ONION_PREFIX + address)


class _Attempt:
    """See `Draft.attempt`."""

    __slots__ = ("_draft", "_events", "_writes")

    def __init__(self, draft: Draft) -> None:
        self._draft = draft

    def __enter__(self) -> None:
        self._draft._attempts += 1
        self._writes, self._events = len(self._draft._undo), len(self._draft._events)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        draft = self._draft
        draft._attempts -= 1
        if kind is not None:
            for key, data, value in reversed(draft._undo[self._writes :]):
                _restore(draft._changes, key, data)
                _restore(draft._values, key, value)
            del draft._undo[self._writes :], draft._events[self._events :]
        elif not draft._attempts:
            draft._undo.clear()


def _restore(values: dict[bytes, Any], key: bytes, value: Any) -> None:
    if value is _UNWRITTEN:
        del values[key]
    else:
        values[key] = value
