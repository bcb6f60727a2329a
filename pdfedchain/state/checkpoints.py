"""The life of a submission, from the offer to the settlement.

::

    QUEUED     waits until fewer of the task's submissions are under way
    SUBMITTED  authorities fetch the weights and say Have; no quorum by the deadline: REJECTED (unavailable)
    HELD       a quorum of the authorities has them: they are the electorate
    SCORING    the seed is fixed by the next block that gives one (`pdfedchain.state.beacon`); electors compute,
               commit, reveal; no agreement by the deadline: REJECTED (disagreement)
    ACCEPTED   a block settled it: the score is within the task's ceilings; private ballots follow
    REJECTED   a block settled it otherwise, or a deadline passed
    QUARANTINED  was accepted, and private ballots found too much memorised (`pdfedchain.state.quarantine`)

Statuses only move forward, but for two ways back. A quorum of authorities may lift a quarantine. And a submission
rejected as unavailable or as a disagreement may be offered again: after a disagreement only by its author, and with the
same seed, since everybody has the weights then, and neither the seed nor the authorship is up for another try.

Whose digest of tensors it is: a submission holds the digest it claims while it is under way, and for good once its
scorers have seen that the claim is true. Otherwise somebody who copies a digest from a pending submission and attaches
rubbish to it would keep the honest author out for ever.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from pdfedchain.application import BlockContext
from pdfedchain.codec import canonical
from pdfedchain.crypto import hash_of
from pdfedchain.errors import InvalidTransaction
from pdfedchain.ids import Address, Cid, Hash, Name, cid_text
from pdfedchain.limits import TASK_QUEUE_MAX
from pdfedchain.state.bonds import await_openings, lock_bond, settle_bond
from pdfedchain.state.draft import Draft
from pdfedchain.state.errors import NotYet
from pdfedchain.state.events import (
    CheckpointHeld,
    CheckpointOpened,
    CheckpointSubmitted,
    ScoringStarted,
    WeightsHeld,
)
from pdfedchain.state.view import LedgerView
from pdfedchain.types.checkpoint import Checkpoint, CheckpointStatus, RejectionReason
from pdfedchain.types.task import TaskSpec
from pdfedchain.types.transaction import Have, Role, SubmitCheckpoint

__all__ = ["check_attempt", "close", "have", "start_scoring", "submit"]

_RETRY_REASONS: Final = (RejectionReason.UNAVAILABLE, RejectionReason.DISAGREEMENT)

_NEVER_PARENTS: Final = (CheckpointStatus.REJECTED, CheckpointStatus.QUARANTINED)

#: Rejections that leave open whether the claimed digest is the weights'.
_DIGEST_UNPROVEN: Final = (
    RejectionReason.UNAVAILABLE,
    RejectionReason.MALFORMED,
    RejectionReason.WRONG_ARCHITECTURE,
    RejectionReason.NON_FINITE,
    RejectionReason.DIGEST_MISMATCH,
)


@canonical("pdfed/seed/v1")
@dataclass(frozen=True, slots=True)
class _SeedMaterial:
    chain_id: Name
    task: Hash
    checkpoint: Cid
    beacon: Hash


def submit(draft: Draft, context: BlockContext, author: Address, offer: SubmitCheckpoint) -> None:
    """Take a submission in, or into the queue.

    Raises:
        InvalidTransaction: a rule refuses it.
    """
    task = draft.task(offer.task)
    if task is None:
        raise InvalidTransaction("unknown-task", f"no task has the hash {offer.task.hex()}")
    participant = draft.participant(author)
    if participant is None or not participant.roles & Role.TRAINER:
        raise InvalidTransaction("not-a-trainer", f"{author.hex()} is not registered as a trainer")
    if not 0 < offer.size_bytes <= task.model.size_bytes_max:
        raise InvalidTransaction("size", f"{offer.size_bytes} bytes, the task allows 1 to {task.model.size_bytes_max}")
    _check_parents(draft, offer)
    earlier = draft.checkpoint(offer.weights)
    _check_unseen(draft, author, offer, earlier)
    if draft.open_count(offer.task, author) >= task.open_per_account_max:
        raise NotYet("open-per-account", f"{task.open_per_account_max} submissions of this account are under way")
    record = draft.task_record(offer.task)
    if len(record.queue) >= TASK_QUEUE_MAX:
        raise NotYet("queue-full", f"{TASK_QUEUE_MAX} submissions of the task wait already")

    bond = lock_bond(draft, author)
    queued = len(record.open) >= task.scoring_at_once_max
    if earlier is not None:
        draft.delete_score_ballots(earlier)
    status = CheckpointStatus.QUEUED if queued else CheckpointStatus.SUBMITTED
    seed = None if earlier is None else earlier.seed
    draft.set_checkpoint(_new_checkpoint(context, author, offer, status, seed, bond))
    draft.set_digest_holder(offer.weights_digest, offer.weights)
    draft.add_to_open_count(offer.task, author, 1)
    if queued:
        draft.set_task_record(offer.task, replace(record, queue=(*record.queue, offer.weights)))
    else:
        draft.set_task_record(offer.task, replace(record, open=(*record.open, offer.weights)))
    draft.emit(CheckpointSubmitted(offer.weights, offer.task, author, offer.parents, queued, earlier is not None))


def _check_parents(view: LedgerView, offer: SubmitCheckpoint) -> None:
    if len(set(offer.parents)) != len(offer.parents):
        raise InvalidTransaction("parents", "a parent is named twice")
    for cid in offer.parents:
        parent = view.checkpoint(cid)
        if parent is None or parent.task != offer.task or parent.status in _NEVER_PARENTS:
            raise InvalidTransaction("parents", f"{cid_text(cid)} is no accepted checkpoint of the task")
        if parent.status is not CheckpointStatus.ACCEPTED:
            raise NotYet("parents", f"{cid_text(cid)} is not settled yet")


def _check_unseen(view: LedgerView, author: Address, offer: SubmitCheckpoint, earlier: Checkpoint | None) -> None:
    if earlier is not None:
        if earlier.reason not in _RETRY_REASONS:
            raise InvalidTransaction("weights-seen", f"{cid_text(offer.weights)} is {earlier.status.value} already")
        same = (earlier.author, earlier.task, earlier.weights_digest) == (author, offer.task, offer.weights_digest)
        if earlier.seed is not None and not same:
            raise InvalidTransaction("retry", "once the seed is known only the same author may offer the same again")
        if view.unopened(offer.weights) is not None:
            raise NotYet("unopened", "sealed scores of the last attempt may still be opened")
    holder = view.digest_holder(offer.weights_digest)
    if holder not in (None, offer.weights):
        raise InvalidTransaction("digest-seen", f"{cid_text(holder)} has the same tensors")


def _new_checkpoint(
    context: BlockContext,
    author: Address,
    offer: SubmitCheckpoint,
    status: CheckpointStatus,
    seed: Hash | None,
    bond: int,
) -> Checkpoint:
    return Checkpoint(
        weights=offer.weights,
        task=offer.task,
        author=author,
        weights_digest=offer.weights_digest,
        size_bytes=offer.size_bytes,
        parents=offer.parents,
        training=offer.training,
        status=status,
        reason=None,
        submitted_height=context.height,
        submitted_time_ms=context.time_ms,
        phase_height=context.height,
        phase_time_ms=context.time_ms,
        holders=(),
        electorate=(),
        electorate_set_id=None,
        seed=seed,
        commitments=0,
        reveal_height=None,
        report=None,
        settled_height=None,
        bond=bond,
    )


def in_phase(checkpoint: Checkpoint, status: CheckpointStatus, context: BlockContext) -> Checkpoint:
    """The checkpoint with a new status that starts in this block."""
    return replace(checkpoint, status=status, phase_height=context.height, phase_time_ms=context.time_ms)


def check_attempt(checkpoint: Checkpoint, submitted_height: int) -> None:
    """What was signed for one submission of these weights counts for no other.

    Raises:
        InvalidTransaction: they were offered at another height.
    """
    if submitted_height != checkpoint.submitted_height:
        message = f"it is for the submission of block {submitted_height}, not {checkpoint.submitted_height}"
        raise InvalidTransaction("attempt", message)


def have(draft: Draft, context: BlockContext, authority: Address, payload: Have) -> None:
    """Note that an authority holds the weights; a quorum fixes the electorate.

    Raises:
        InvalidTransaction: a rule refuses it.
    """
    if authority not in context.authorities:
        raise InvalidTransaction("not-an-authority", f"{authority.hex()} is no authority")
    checkpoint = draft.checkpoint(payload.checkpoint)
    if checkpoint is None:
        raise InvalidTransaction("unknown-checkpoint", f"{cid_text(payload.checkpoint)} was not submitted")
    check_attempt(checkpoint, payload.submitted_height)
    if checkpoint.status is CheckpointStatus.QUEUED:
        raise NotYet("not-open", "the submission waits in the queue")
    if checkpoint.status is not CheckpointStatus.SUBMITTED:
        raise InvalidTransaction("held", f"the checkpoint is {checkpoint.status.value} already")
    if authority in checkpoint.holders:
        raise InvalidTransaction("held", "this authority has said so already")
    holders = (*checkpoint.holders, authority)
    checkpoint = replace(checkpoint, holders=holders)
    draft.emit(WeightsHeld(checkpoint.weights, authority))
    if context.authorities.is_quorum(sum(holder in context.authorities for holder in holders)):
        checkpoint = replace(
            in_phase(checkpoint, CheckpointStatus.HELD, context),
            electorate=context.authorities.members,
            electorate_set_id=context.authorities.set_id,
        )
        draft.emit(CheckpointHeld(checkpoint.weights, checkpoint.electorate))
    draft.set_checkpoint(checkpoint)


def start_scoring(draft: Draft, context: BlockContext, checkpoint: Checkpoint) -> None:
    """Fix the seed of a held checkpoint: nobody could know it while deciding whether to let others have the weights."""
    seed = checkpoint.seed
    if seed is None:
        seed = hash_of(_SeedMaterial(context.chain_id, checkpoint.task, checkpoint.weights, draft.beacon))
    draft.set_checkpoint(replace(in_phase(checkpoint, CheckpointStatus.SCORING, context), seed=seed))
    draft.emit(ScoringStarted(checkpoint.weights, seed))


def close(draft: Draft, context: BlockContext, checkpoint: Checkpoint) -> None:
    """Write a checkpoint that is settled or rejected now, and let the queue move up.

    Args:
        checkpoint: with its final status and reason; it was open until now.
    """
    checkpoint = settle_bond(draft, checkpoint)
    checkpoint = replace(in_phase(checkpoint, checkpoint.status, context), settled_height=context.height)
    draft.set_checkpoint(checkpoint)
    await_openings(draft, context, checkpoint)
    draft.add_to_open_count(checkpoint.task, checkpoint.author, -1)
    if checkpoint.reason in _DIGEST_UNPROVEN:
        draft.set_digest_holder(checkpoint.weights_digest, None)
    record = draft.task_record(checkpoint.task)
    record = replace(record, open=tuple(cid for cid in record.open if cid != checkpoint.weights))
    task = draft.task(checkpoint.task)
    assert task is not None, "a checkpoint's task is never deleted"
    draft.set_task_record(checkpoint.task, record)
    _move_up(draft, context, checkpoint.task, task)


def _move_up(draft: Draft, context: BlockContext, task_id: Hash, task: TaskSpec) -> None:
    record = draft.task_record(task_id)
    while record.queue and len(record.open) < task.scoring_at_once_max:
        first, *rest = record.queue
        waiting = draft.checkpoint(first)
        assert waiting is not None, "the queue holds submitted checkpoints"
        draft.set_checkpoint(in_phase(waiting, CheckpointStatus.SUBMITTED, context))
        record = replace(record, queue=tuple(rest), open=(*record.open, first))
        draft.emit(CheckpointOpened(first))
    draft.set_task_record(task_id, record)
