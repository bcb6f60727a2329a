"""Quarantine: an accepted checkpoint that private ballots find to memorise.

The settled score tells what a checkpoint memorises of the public reference set; private ballots tell what it memorises
of images that only their voters hold. When the window of private ballots closes, a checkpoint is quarantined if enough
ballots were revealed (`LedgerParameters.quarantine_voters_min`) and at least a third of them exceed the task's ceiling
of R_C. It keeps its score and its bond; it earns nothing, becomes nobody's parent and is not the best of its task.

Nobody can check a private ballot, so a third of the voters may be wrong or lie: a quorum of the authorities may lift a
quarantine, and the checkpoint then stands as if its window had closed without one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pdfedchain.application import BlockContext
from pdfedchain.errors import InvalidTransaction
from pdfedchain.ids import Address, Cid, cid_text
from pdfedchain.state.draft import Draft
from pdfedchain.state.events import CheckpointQuarantined, QuarantineLifted
from pdfedchain.state.lineage import qn_micro_of
from pdfedchain.state.rewards import confirm
from pdfedchain.state.view import LedgerView
from pdfedchain.types.ballot import Ballot
from pdfedchain.types.checkpoint import Checkpoint, CheckpointStatus
from pdfedchain.types.ledger import Quarantine
from pdfedchain.types.score import MICRO, ScoreReport
from pdfedchain.types.task import TaskSpec
from pdfedchain.types.transaction import LiftQuarantine

__all__ = ["is_due", "lift", "put_under"]


def is_due(ballots: Sequence[Ballot], task: TaskSpec, voters_min: int) -> bool:
    """Whether these revealed private ballots quarantine a checkpoint."""
    return len(ballots) >= voters_min and 3 * count_above(ballots, task) >= len(ballots)


def count_above(ballots: Sequence[Ballot], task: TaskSpec) -> int:
    """How many ballots exceed the ceiling of R_C. One that found the weights unscorable has seen no copy."""
    reports = [ballot.report for ballot in ballots]
    ceiling = task.ceilings.r_c_micro_max
    return sum(isinstance(report, ScoreReport) and report.confirmed * MICRO > ceiling * report.n for report in reports)


def put_under(draft: Draft, context: BlockContext, checkpoint: Checkpoint, ballots: Sequence[Ballot]) -> None:
    """Quarantine an accepted checkpoint whose window of private ballots has just closed."""
    task = draft.task(checkpoint.task)
    assert task is not None, "a checkpoint's task is never deleted"
    above = count_above(ballots, task)
    draft.set_checkpoint(replace(checkpoint, status=CheckpointStatus.QUARANTINED))
    draft.set_quarantine(checkpoint.weights, Quarantine(len(ballots), above, context.height, ()))
    draft.emit(CheckpointQuarantined(checkpoint.weights, checkpoint.author, len(ballots), above))
    record = draft.task_record(checkpoint.task)
    if record.best == checkpoint.weights:
        draft.set_task_record(checkpoint.task, replace(record, best=_best_of_the_others(draft, checkpoint, task)))


def _best_of_the_others(view: LedgerView, left_out: Checkpoint, task: TaskSpec) -> Cid | None:
    """The first with the lowest QN. An accepted checkpoint is either confirmed, or its window is still open."""
    confirmed = view.task_record(left_out.task).confirmed
    best: tuple[int, Cid] | None = None
    for cid in (*(() if confirmed is None else (confirmed,)), *view.index.private):
        checkpoint = view.checkpoint(cid)
        assert checkpoint is not None, "a checkpoint is never deleted"
        if checkpoint.task == left_out.task and cid != left_out.weights:
            qn_micro = qn_micro_of(checkpoint, task)
            if best is None or qn_micro < best[0]:
                best = qn_micro, cid
    return None if best is None else best[1]


def lift(draft: Draft, context: BlockContext, authority: Address, payload: LiftQuarantine) -> None:
    """Note that an authority wants a quarantine lifted; a quorum of those in office lifts it.

    Raises:
        InvalidTransaction: a rule refuses it.
    """
    if authority not in context.authorities:
        raise InvalidTransaction("not-an-authority", f"{authority.hex()} is no authority")
    checkpoint, quarantine = draft.checkpoint(payload.checkpoint), draft.quarantine(payload.checkpoint)
    if checkpoint is None or quarantine is None:
        raise InvalidTransaction("not-quarantined", f"{cid_text(payload.checkpoint)} is not quarantined")
    if authority in quarantine.lifted_by:
        raise InvalidTransaction("lifted", "this authority has said so already")
    lifted_by = (*quarantine.lifted_by, authority)
    in_office = tuple(each for each in lifted_by if each in context.authorities)
    if not context.authorities.is_quorum(len(in_office)):
        draft.set_quarantine(payload.checkpoint, replace(quarantine, lifted_by=in_office))
        return
    draft.set_quarantine(payload.checkpoint, None)
    checkpoint = replace(checkpoint, status=CheckpointStatus.ACCEPTED)
    draft.set_checkpoint(checkpoint)
    draft.emit(QuarantineLifted(payload.checkpoint, in_office))
    confirm(draft, checkpoint)
