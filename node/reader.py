"""Reading a chain from a home directory, while its node runs or not: nothing is written, nothing is locked.

Everything goes through `Store.state_items`, straight from disk; a block committed meanwhile may show in part, which is
good enough for people. The audit does not use this.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from node.home import Home
from pdfedchain.codec import decode
from pdfedchain.crypto import hash_of
from pdfedchain.errors import DecodeError, NotFound, UsageError
from pdfedchain.ids import Address, Cid, Hash, address_text, cid_text, parse_cid
from pdfedchain.limits import STATE_VALUE_SIZE_BYTES_MAX
from pdfedchain.state.events import Rewarded, ledger_event
from pdfedchain.state.view import (
    ACCOUNT_PREFIX,
    BALLOT_PREFIX,
    CHECKPOINT_PREFIX,
    PARTICIPANT_PREFIX,
    TASK_PREFIX,
    TASK_RECORD_PREFIX,
    TOTALS_KEY,
    LedgerView,
    ballot_prefix,
)
from pdfedchain.store.interface import Store
from pdfedchain.store.sqlite import SqliteStore
from pdfedchain.types.ballot import Ballot, BallotKind
from pdfedchain.types.checkpoint import Account, Checkpoint, CheckpointStatus, Participant, TaskRecord
from pdfedchain.types.economy import Totals
from pdfedchain.types.genesis import Genesis
from pdfedchain.types.ledger import LedgerGenesis
from pdfedchain.types.score import MICRO, ScoreReport
from pdfedchain.types.task import TaskSpec

__all__ = ["ChainReader", "open_reader", "score_plain"]


T = TypeVar("T")

#: People may name a checkpoint by the ending that tables show, or by any longer one.
ENDING_LENGTH_MIN = 6


def score_plain(report: ScoreReport, novelty_weight: int) -> dict[str, float]:
    """The components as people read them: fractions, not millionths; ``r_c`` is confirmed / n."""
    return {
        "qn": report.qn_micro(novelty_weight) / MICRO,
        "fid": report.fid_micro / MICRO,
        "v_a": report.v_a_micro / MICRO,
        "v_c": report.v_c_micro / MICRO,
        "r_c": report.confirmed / report.n,
    }


@contextmanager
def open_reader(home: Home, *, check_state: bool = True) -> Iterator[ChainReader]:
    """Open a home's chain for reading.

    Args:
        check_state: refuse a state that is not the one the last block states; an audit reads it and names what differs.

    Raises:
        UsageError: there is no chain yet.
        StateError: the file is no chain database, or damaged.
    """
    try:
        store = SqliteStore.open_read_only(home.chain_db, check_state=check_state)
    except NotFound as error:
        raise UsageError(f"{home.path} has no chain yet", hint=f"pdfed run --home {home.path}") from error
    try:
        genesis = store.genesis()
        if genesis is None:
            raise UsageError(f"{home.path} has no chain yet", hint=f"pdfed run --home {home.path}")
        yield ChainReader(store, genesis)
    finally:
        store.close()


class ChainReader:
    """Typed reads of the newest state. Tasks never change, so they are kept."""

    def __init__(self, store: Store, genesis: Genesis) -> None:
        self.store = store
        self.genesis = genesis
        self._tasks: dict[Hash, TaskSpec] = {}

    def ledger_genesis(self) -> LedgerGenesis:
        """What genesis says of the ledger.

        Raises:
            DecodeError: it is another application's.
        """
        size_bytes_max = len(self.genesis.application_state)
        return decode(LedgerGenesis, self.genesis.application_state, size_bytes_max=size_bytes_max)

    def height(self) -> int:
        """Of the last final block."""
        return self.store.height()

    def view(self) -> LedgerView:
        """Everything else that the newest state says; reads the whole state into memory."""
        return LedgerView(self.store.state())

    def tasks(self) -> dict[Hash, TaskSpec]:
        """All tasks by hash."""
        for _, value in self.store.state_items(TASK_PREFIX):
            task = decode(TaskSpec, value, size_bytes_max=STATE_VALUE_SIZE_BYTES_MAX)
            self._tasks[hash_of(task)] = task
        return dict(self._tasks)

    def task(self, task: Hash) -> TaskSpec:
        """The task of that hash, which a checkpoint names."""
        if task not in self._tasks:
            self.tasks()
        return self._tasks[task]

    def checkpoints(self) -> list[Checkpoint]:
        """All checkpoints, in order of submission."""
        found = [
            decode(Checkpoint, value, size_bytes_max=STATE_VALUE_SIZE_BYTES_MAX)
            for _, value in self.store.state_items(CHECKPOINT_PREFIX)
        ]
        return sorted(found, key=lambda checkpoint: (checkpoint.submitted_height, checkpoint.weights))

    def checkpoint(self, cid: Cid) -> Checkpoint | None:
        """The checkpoint with this identifier."""
        value = self.store.state_value(CHECKPOINT_PREFIX + cid)
        return None if value is None else decode(Checkpoint, value, size_bytes_max=STATE_VALUE_SIZE_BYTES_MAX)

    def checkpoint_named(self, text: str) -> Checkpoint:
        """The checkpoint that a person named: its identifier, or an ending of it that only one has.

        Raises:
            UsageError: it is neither.
        """
        hint = "`pdfed checkpoints` lists those on the chain"
        try:
            found = self.checkpoint(parse_cid(text))
        except DecodeError:
            found = None
            if len(text) >= ENDING_LENGTH_MIN:
                ends = [each for each in self.checkpoints() if cid_text(each.weights).endswith(text)]
                if len(ends) > 1:
                    raise UsageError(f"{len(ends)} checkpoints end in {text!r}", hint=hint) from None
                found = ends[0] if ends else None
        if found is None:
            raise UsageError(f"no checkpoint {text[:80]!r} on chain {self.genesis.chain_id}", hint=hint)
        return found

    def ballots(self, checkpoint: Cid, kind: BallotKind) -> list[Ballot]:
        """All ballots of one kind on a checkpoint."""
        prefix = ballot_prefix(checkpoint, kind)
        return [
            decode(Ballot, value, size_bytes_max=STATE_VALUE_SIZE_BYTES_MAX)
            for _, value in self.store.state_items(prefix)
        ]

    def participants(self) -> list[Participant]:
        """All registered participants, in order of registration."""
        found = [
            decode(Participant, value, size_bytes_max=STATE_VALUE_SIZE_BYTES_MAX)
            for _, value in self.store.state_items(PARTICIPANT_PREFIX)
        ]
        return sorted(found, key=lambda participant: (participant.registered_height, participant.address))

    def balance(self, address: Address) -> int:
        """Units in an account."""
        value = self.store.state_value(ACCOUNT_PREFIX + address)
        return 0 if value is None else decode(Account, value, size_bytes_max=STATE_VALUE_SIZE_BYTES_MAX).balance

    def earned(self) -> dict[Address, int]:
        """Rewards paid so far for each participant's work, as far as this store holds the events."""
        found: dict[Address, int] = {}
        for stored in self.store.events(from_height=1, kind=Rewarded.kind):
            reward = ledger_event(stored.event)
            assert isinstance(reward, Rewarded), "the store finds events by kind"
            found[reward.participant] = found.get(reward.participant, 0) + reward.amount
        return found

    def units(self) -> dict[str, int]:
        """Where the units are that genesis issued: accounts, bonds, deposits, pools, burned; and their sum."""
        totals = self.store.state_value(TOTALS_KEY)
        assert totals is not None, "a ledger state has totals"
        burned = decode(Totals, totals, size_bytes_max=STATE_VALUE_SIZE_BYTES_MAX).burned
        places = {
            "accounts": sum(account.balance for account in self._all(Account, ACCOUNT_PREFIX)),
            "bonds": sum(checkpoint.bond for checkpoint in self.checkpoints()),
            "deposits": sum(ballot.deposit for ballot in self._all(Ballot, BALLOT_PREFIX)),
            "pools": sum(record.pool for record in self._all(TaskRecord, TASK_RECORD_PREFIX)),
            "burned": burned,
        }
        return {"issued": sum(places.values()), **places}

    def _all(self, cls: type[T], prefix: bytes) -> Iterator[T]:
        for _, value in self.store.state_items(prefix):
            yield decode(cls, value, size_bytes_max=STATE_VALUE_SIZE_BYTES_MAX)

    def names(self) -> dict[Address, str]:
        """Names of registered participants."""
        return {participant.address: participant.name for participant in self.participants()}

    def best(self) -> Checkpoint | None:
        """The accepted checkpoint with the lowest QN of the first task that has one."""
        for _, value in self.store.state_items(TASK_RECORD_PREFIX):
            best = decode(TaskRecord, value, size_bytes_max=STATE_VALUE_SIZE_BYTES_MAX).best
            if best is not None:
                return self.checkpoint(best)
        return None

    def score(self, checkpoint: Checkpoint) -> dict[str, float] | None:
        """`score_plain` of the settled report; ``None`` where there is none."""
        if checkpoint.report is None:
            return None
        return score_plain(checkpoint.report, self.task(checkpoint.task).scoring.novelty_weight)

    def checkpoint_plain(self, checkpoint: Checkpoint, names: dict[Address, str]) -> dict[str, Any]:
        """A checkpoint for ``--json``."""
        ballots = {
            kind.value: {
                "committed": len(cast),
                "revealed": sum(ballot.report is not None for ballot in cast),
            }
            for kind in BallotKind
            for cast in [self.ballots(checkpoint.weights, kind)]
        }
        return {
            "cid": cid_text(checkpoint.weights),
            "status": checkpoint.status.value,
            "reason": None if checkpoint.reason is None else checkpoint.reason.value,
            "author": address_text(checkpoint.author),
            "author_name": names.get(checkpoint.author),
            "parents": [cid_text(parent) for parent in checkpoint.parents],
            "size_bytes": checkpoint.size_bytes,
            "steps": checkpoint.training.steps,
            "submitted_height": checkpoint.submitted_height,
            "settled_height": checkpoint.settled_height,
            "score": self.score(checkpoint),
            "ballots": ballots,
        }

    def counts(self) -> dict[str, int]:
        """How many checkpoints are where, and how many ballots were revealed."""
        checkpoints = self.checkpoints()
        quarantined = sum(checkpoint.status is CheckpointStatus.QUARANTINED for checkpoint in checkpoints)
        # A quarantined one was accepted when it was settled, and may be again.
        accepted = quarantined + sum(checkpoint.status is CheckpointStatus.ACCEPTED for checkpoint in checkpoints)
        rejected = sum(checkpoint.status is CheckpointStatus.REJECTED for checkpoint in checkpoints)
        revealed = sum(
            ballot.report is not None
            for checkpoint in checkpoints
            for kind in BallotKind
            for ballot in self.ballots(checkpoint.weights, kind)
        )
        return {
            "submitted": len(checkpoints),
            "settled": accepted + rejected,
            "accepted": accepted,
            "rejected": rejected,
            "quarantined": quarantined,
            "ballots": revealed,
        }
