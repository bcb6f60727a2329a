"""Typed writes of the ledger's state: the state of a block in the making.

A `Draft` holds the newest of a series of immutable trees, and the events so far. Whoever may fail works on a `fork`
and gives it up; nothing has to be undone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pdfedchain.codec import encode
from pdfedchain.crypto import StateTree
from pdfedchain.ids import Address, Cid, Hash
from pdfedchain.state.events import LedgerEvent, event_of
from pdfedchain.state.view import (
    ACCOUNT_PREFIX,
    CHAIN_PARAMETERS_KEY,
    CHECKPOINT_PREFIX,
    DIGEST_PREFIX,
    INDEX_KEY,
    OPEN_COUNT_PREFIX,
    PARAMETERS_KEY,
    PARTICIPANT_PREFIX,
    PRIVATE_PREFIX,
    TASK_NAME_PREFIX,
    TASK_PREFIX,
    TASK_RECORD_PREFIX,
    LedgerView,
    ballot_prefix,
)
from pdfedchain.types.ballot import Ballot, BallotKind
from pdfedchain.types.checkpoint import Account, Checkpoint, Participant, TaskRecord
from pdfedchain.types.event import Event
from pdfedchain.types.genesis import ChainParameters
from pdfedchain.types.ledger import LedgerIndex, LedgerParameters, OpenCount, PrivateBallots
from pdfedchain.types.task import TaskSpec

__all__ = ["Draft"]


class Draft(LedgerView):
    """A view that can be written to."""

    __slots__ = ("events",)

    def __init__(self, tree: StateTree, events: tuple[Event, ...] = ()) -> None:
        super().__init__(tree)
        self.events = events

    def fork(self) -> Draft:
        """An independent draft that starts from this one."""
        return Draft(self.tree, self.events)

    def emit(self, event: LedgerEvent) -> None:
        """Add an event."""
        self.events = (*self.events, event_of(event))

    def _write(self, key: bytes, value: Any) -> None:
        self.tree = self.tree.put(key, encode(value))

    def set_parameters(self, parameters: LedgerParameters, chain_parameters: ChainParameters) -> None:
        """Genesis only."""
        self._write(PARAMETERS_KEY, parameters)
        self._write(CHAIN_PARAMETERS_KEY, chain_parameters)

    def set_index(self, index: LedgerIndex) -> None:
        """Replace the lists of what is looked at in every block."""
        self._write(INDEX_KEY, index)

    def set_account(self, address: Address, account: Account) -> None:
        """Write an account."""
        self._write(ACCOUNT_PREFIX + address, account)

    def set_participant(self, participant: Participant) -> None:
        """Write a registration."""
        self._write(PARTICIPANT_PREFIX + participant.address, participant)

    def add_task(self, task_id: Hash, task: TaskSpec) -> None:
        """Write a new task, its name and its empty record."""
        self._write(TASK_PREFIX + task_id, task)
        self._write(TASK_RECORD_PREFIX + task_id, TaskRecord((), (), None))
        self.tree = self.tree.put(TASK_NAME_PREFIX + task.name.encode(), task_id)
        index = self.index
        self.set_index(replace(index, tasks=(*index.tasks, task_id)))

    def set_task_record(self, task: Hash, record: TaskRecord) -> None:
        """Write what changes about a task."""
        self._write(TASK_RECORD_PREFIX + task, record)

    def add_to_open_count(self, task: Hash, author: Address, difference: int) -> None:
        """Count one account's unsettled submissions; zero is not stored."""
        count = self.open_count(task, author) + difference
        key = OPEN_COUNT_PREFIX + task + author
        self.tree = self.tree.put(key, encode(OpenCount(count))) if count else self.tree.delete(key)

    def set_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint."""
        self._write(CHECKPOINT_PREFIX + checkpoint.weights, checkpoint)

    def set_digest_holder(self, digest: Hash, checkpoint: Cid | None) -> None:
        """Say which checkpoint has a digest of tensors, or that none has."""
        key = DIGEST_PREFIX + digest
        self.tree = self.tree.delete(key) if checkpoint is None else self.tree.put(key, checkpoint)

    def set_ballot(self, ballot: Ballot) -> None:
        """Write a ballot."""
        self._write(ballot_prefix(ballot.checkpoint, ballot.kind) + ballot.voter, ballot)

    def delete_score_ballots(self, checkpoint: Checkpoint) -> None:
        """Forget the electorate's ballots of an earlier attempt."""
        for voter in checkpoint.electorate:
            self.tree = self.tree.delete(ballot_prefix(checkpoint.weights, BallotKind.SCORE) + voter)

    def set_private_ballots(self, checkpoint: Cid, ballots: PrivateBallots) -> None:
        """Open or turn the window of private ballots on a checkpoint."""
        self._write(PRIVATE_PREFIX + checkpoint, ballots)

    def close_private_ballots(self, checkpoint: Cid) -> None:
        """Close the window of private ballots on a checkpoint."""
        self.tree = self.tree.delete(PRIVATE_PREFIX + checkpoint)
        index = self.index
        self.set_index(replace(index, private=tuple(cid for cid in index.private if cid != checkpoint)))
