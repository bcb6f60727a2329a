"""Settling: from agreed ballots to accepted or rejected, and a node's own opinion of it.

What a checkpoint would be settled as follows from the state *before* a block: so the proposer, every validator and
the local judgement look at the same thing, whatever else the block carries. The block only lists which of the
checkpoints that could be settled it settles, in the one order `settleable` gives them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from pdfedchain.application import BlockContext, Judgement
from pdfedchain.codec import decode, encode
from pdfedchain.errors import DecodeError, InvalidBlock
from pdfedchain.ids import Cid, Hash, cid_text
from pdfedchain.limits import EXTENSION_SIZE_BYTES_MAX
from pdfedchain.state.agreement import Agreement, agreement_of
from pdfedchain.state.checkpoints import close
from pdfedchain.state.draft import Draft
from pdfedchain.state.events import CheckpointAccepted, CheckpointRejected
from pdfedchain.state.private import open_private_ballots
from pdfedchain.state.rewards import measured, pay_scorers
from pdfedchain.state.view import LedgerView
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.ballot import Outcome
from pdfedchain.types.block import BlockBody
from pdfedchain.types.checkpoint import Checkpoint, CheckpointStatus, RejectionReason
from pdfedchain.types.ledger import Extension
from pdfedchain.types.score import MICRO, ScoreReport, Unscorable
from pdfedchain.types.task import Ceilings, TaskSpec

__all__ = ["agreement", "extension_bytes", "extension_of", "judge", "scoring_closed", "settle", "settleable"]


_NOTHING: Final = Extension((), None)


def extension_of(body: BlockBody) -> Extension:
    """What a block's proposer adds to its transactions.

    Raises:
        InvalidBlock: it is no extension of the ledger.
    """
    if not body.extension:
        return _NOTHING
    try:
        extension = decode(Extension, body.extension, size_bytes_max=EXTENSION_SIZE_BYTES_MAX)
    except DecodeError as error:
        raise InvalidBlock(f"the extension is not the ledger's: {error}") from error
    if extension == _NOTHING:
        raise InvalidBlock("an extension that says nothing is empty")
    return extension


def extension_bytes(settlements: tuple[Cid, ...], preimage: Hash | None) -> bytes:
    """Inverse of `extension_of`."""
    extension = Extension(settlements, preimage)
    return b"" if extension == _NOTHING else encode(extension)


def scoring_closed(view: LedgerView, context: BlockContext, checkpoint: Checkpoint) -> bool:
    """Whether the window for score ballots is over in the block of this context."""
    blocks, time_ms = context.height - checkpoint.phase_height, context.time_ms - checkpoint.phase_time_ms
    return view.parameters.scoring.has_passed(blocks, time_ms)


def agreement(view: LedgerView, context: BlockContext, checkpoint: Checkpoint) -> Agreement | None:
    """What a checkpoint would be settled as in the block of this context.

    Args:
        view: the state before that block.
    """
    if checkpoint.status is not CheckpointStatus.SCORING:
        return None
    assert checkpoint.electorate_set_id is not None, "the electorate is fixed before scoring"
    return agreement_of(
        view.score_ballots(checkpoint),
        electorate=AuthoritySet(checkpoint.electorate_set_id, checkpoint.electorate),
        scoring=_task_of(view, checkpoint).scoring,
        reveal_height=checkpoint.reveal_height,
        window_closed=scoring_closed(view, context, checkpoint),
    )


def settleable(view: LedgerView, context: BlockContext) -> Iterator[tuple[Checkpoint, Agreement]]:
    """What could be settled in the block of this context, in the order in which a block must list it."""
    for checkpoint in view.open_checkpoints():
        agreed = agreement(view, context, checkpoint)
        if agreed is not None:
            yield checkpoint, agreed


def settle(draft: Draft, before: LedgerView, context: BlockContext, checkpoints: Sequence[Cid]) -> None:
    """Settle the listed checkpoints.

    Args:
        before: the state before the block.

    Raises:
        InvalidBlock: one cannot be settled here, or the order is not the one of `settleable`.
    """
    if not checkpoints:
        return
    if context.round != 0:
        raise InvalidBlock(f"a block first proposed in round {context.round} must not settle anything")
    possible = list(settleable(before, context))
    ordered = tuple(checkpoint.weights for checkpoint, _ in possible if checkpoint.weights in checkpoints)
    if ordered != tuple(checkpoints):
        names = ", ".join(cid_text(cid) for cid in checkpoints)
        raise InvalidBlock(f"not what can be settled, or not in its order: {names}")
    for checkpoint, agreed in possible:
        if checkpoint.weights in checkpoints:
            _settle_one(draft, context, checkpoint, agreed)


def _settle_one(draft: Draft, context: BlockContext, checkpoint: Checkpoint, agreed: Agreement) -> None:
    task = _task_of(draft, checkpoint)
    reason = reason_against(agreed.outcome, task.ceilings)
    report = agreed.outcome if isinstance(agreed.outcome, ScoreReport) else None
    if reason is not None:
        reject(draft, context, replace(checkpoint, report=report), reason, agreed)
        # After the rejection, whose bond may have filled the pool: it pays for its own scoring.
        pay_scorers(draft, checkpoint, agreed.agreeing)
        return
    assert report is not None, "what cannot be scored has a reason against it"
    accepted = replace(checkpoint, status=CheckpointStatus.ACCEPTED, report=report)
    close(draft, context, measured(draft, accepted))
    best = _is_best(draft, task, checkpoint, report)
    if best:
        record = draft.task_record(checkpoint.task)
        draft.set_task_record(checkpoint.task, replace(record, best=checkpoint.weights))
    draft.emit(
        CheckpointAccepted(
            checkpoint.weights,
            checkpoint.task,
            checkpoint.author,
            report,
            report.qn_micro(task.scoring.novelty_weight),
            agreed.agreeing,
            agreed.outliers,
            best,
        )
    )
    pay_scorers(draft, checkpoint, agreed.agreeing)
    open_private_ballots(draft, context, checkpoint.weights)


def reject(
    draft: Draft, context: BlockContext, checkpoint: Checkpoint, reason: RejectionReason, agreed: Agreement | None
) -> None:
    """Close an open checkpoint as rejected; ``agreed`` is ``None`` where a deadline did it."""
    close(draft, context, replace(checkpoint, status=CheckpointStatus.REJECTED, reason=reason))
    draft.emit(
        CheckpointRejected(
            checkpoint.weights,
            checkpoint.task,
            checkpoint.author,
            reason,
            checkpoint.report,
            () if agreed is None else agreed.agreeing,
            () if agreed is None else agreed.outliers,
        )
    )


def reason_against(outcome: Outcome, ceilings: Ceilings) -> RejectionReason | None:
    """Why a checkpoint with this outcome is rejected; ``None`` if it is accepted.

    Memorisation is named first: an overfitted model may exceed both ceilings, and it is the heavier finding.
    """
    if isinstance(outcome, Unscorable):
        return RejectionReason(outcome.reason.value)
    if outcome.confirmed * MICRO > ceilings.r_c_micro_max * outcome.n:
        return RejectionReason.MEMORISATION_CEILING
    if outcome.fid_micro > ceilings.fid_micro_max:
        return RejectionReason.FID_CEILING
    return None


def _is_best(view: LedgerView, task: TaskSpec, checkpoint: Checkpoint, report: ScoreReport) -> bool:
    record = view.task_record(checkpoint.task)
    best = None if record.best is None else view.checkpoint(record.best)
    if best is None:
        return True
    assert best.report is not None, "the best checkpoint has a score"
    weight = task.scoring.novelty_weight
    return report.qn_micro(weight) < best.report.qn_micro(weight)


def judge(view: LedgerView, checkpoint: Checkpoint, agreed: Agreement, own: Outcome | None) -> Judgement:
    """A node's own opinion of one settlement.

    Args:
        own: its own recomputation, ``None`` while that is under way. A node that found weights impossible to score
            agrees with a settlement that says so, whichever reason the quorum named most often.
    """
    if own is None:
        return Judgement.PENDING
    if isinstance(agreed.outcome, ScoreReport) and isinstance(own, ScoreReport):
        tolerance = _task_of(view, checkpoint).scoring.tolerance
        return Judgement.VALID if agreed.outcome.agrees_with(own, tolerance) else Judgement.INVALID
    return Judgement.VALID if type(agreed.outcome) is type(own) else Judgement.INVALID


def _task_of(view: LedgerView, checkpoint: Checkpoint) -> TaskSpec:
    task = view.task(checkpoint.task)
    assert task is not None, "a checkpoint's task is never deleted"
    return task
