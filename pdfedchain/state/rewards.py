"""Rewards: what a task pays from its pool, to whom and when.

Three kinds of work, and none is paid for its own result:

- *Scorers* are paid when a settlement rests on their agreement, whatever it says: the electors of the deciding group
  whose commitments were early. Late ones could have been copied; outliers earn nothing and lose nothing.
- *Voters* are paid when the window of private ballots closes, whether it quarantines or not: all who opened one.
- *Author and ancestors* are paid when the window closes without a quarantine, or when that is lifted. The checkpoint is
  then *confirmed*. What is paid for is the distance, at `Rewards.per_qn`, by which it is better than the last accepted
  improvement of the task, if that is more than the noise; the next one is measured from there. Improvements
  therefore add up to the whole way, however it is cut into steps, and no part of it is paid twice. Where a checkpoint
  is measured from is fixed when it is accepted, so a quarantine and its end move nobody else's reward; the distance
  of one that stays quarantined is paid to nobody.

A pool pays what it has. Equal shares are rounded down and what is left over stays in the pool, so the sum is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pdfedchain.ids import Address, Cid
from pdfedchain.state.accounts import credit, take_from_pool
from pdfedchain.state.draft import Draft
from pdfedchain.state.events import Rewarded
from pdfedchain.state.lineage import qn_micro_at_ceiling, qn_micro_of, shares
from pdfedchain.state.view import LedgerView
from pdfedchain.types.ballot import BallotKind
from pdfedchain.types.checkpoint import Checkpoint
from pdfedchain.types.economy import RewardKind
from pdfedchain.types.score import MICRO
from pdfedchain.types.task import TaskSpec

__all__ = ["confirm", "measured", "pay_scorers", "pay_voters"]


def pay_scorers(draft: Draft, checkpoint: Checkpoint, agreeing: Sequence[Address]) -> None:
    """Pay those of a deciding group who committed before revealing opened."""
    assert checkpoint.reveal_height is not None, "what is agreed on was revealed"
    ballots = (draft.ballot(checkpoint.weights, BallotKind.SCORE, voter) for voter in agreeing)
    early = [
        ballot.voter for ballot in ballots if ballot is not None and ballot.committed_height < checkpoint.reveal_height
    ]
    _pay_equally(draft, checkpoint, RewardKind.SCORER, early, _task_of(draft, checkpoint).rewards.scorers)


def pay_voters(draft: Draft, checkpoint: Checkpoint, voters: Sequence[Address]) -> None:
    """Pay those who opened a private ballot."""
    _pay_equally(draft, checkpoint, RewardKind.VOTER, voters, _task_of(draft, checkpoint).rewards.voters)


def measured(draft: Draft, checkpoint: Checkpoint) -> Checkpoint:
    """A checkpoint that is accepted now, with the QN it is measured from; the next improvement is measured from it."""
    task, record = _task_of(draft, checkpoint), draft.task_record(checkpoint.task)
    baseline = qn_micro_at_ceiling(task) if record.baseline_micro is None else record.baseline_micro
    qn_micro = qn_micro_of(checkpoint, task)
    if baseline - qn_micro > task.rewards.noise_micro:
        draft.set_task_record(checkpoint.task, replace(record, baseline_micro=qn_micro))
    return replace(checkpoint, baseline_micro=baseline)


def confirm(draft: Draft, checkpoint: Checkpoint) -> None:
    """Confirm an accepted checkpoint: from now on it counts as the task's best if it is, and as an improvement."""
    task = _task_of(draft, checkpoint)
    qn_micro = qn_micro_of(checkpoint, task)
    record = draft.task_record(checkpoint.task)
    if _is_lower(draft, task, qn_micro, record.confirmed):
        record = replace(record, confirmed=checkpoint.weights)
    if _is_lower(draft, task, qn_micro, record.best):
        record = replace(record, best=checkpoint.weights)
    draft.set_task_record(checkpoint.task, record)
    assert checkpoint.baseline_micro is not None, "fixed at acceptance"
    improvement = checkpoint.baseline_micro - qn_micro
    if improvement <= task.rewards.noise_micro:
        return
    amount = take_from_pool(draft, checkpoint.task, improvement * task.rewards.per_qn // MICRO)
    for earned_by, share in shares(draft, task, checkpoint, amount):
        kind = RewardKind.AUTHOR if earned_by.weights == checkpoint.weights else RewardKind.ANCESTOR
        _pay(draft, checkpoint, kind, earned_by.weights, earned_by.author, share)


def _is_lower(view: LedgerView, task: TaskSpec, qn_micro: int, other: Cid | None) -> bool:
    """Whether a QN is below that of another checkpoint, or there is none."""
    checkpoint = None if other is None else view.checkpoint(other)
    return checkpoint is None or qn_micro < qn_micro_of(checkpoint, task)


def _pay_equally(
    draft: Draft, checkpoint: Checkpoint, kind: RewardKind, participants: Sequence[Address], amount: int
) -> None:
    if not amount or not participants:
        return
    share = min(amount, draft.task_record(checkpoint.task).pool) // len(participants)
    take_from_pool(draft, checkpoint.task, share * len(participants))
    for participant in participants:
        _pay(draft, checkpoint, kind, checkpoint.weights, participant, share)


def _pay(
    draft: Draft, checkpoint: Checkpoint, kind: RewardKind, earned_by: Cid, participant: Address, amount: int
) -> None:
    """Hand out what was taken from the pool, to the reward address of whoever registered one."""
    if amount:
        registered = draft.participant(participant)
        to = participant if registered is None else registered.reward_address
        credit(draft, to, amount)
        draft.emit(Rewarded(checkpoint.weights, kind, earned_by, participant, to, amount))


def _task_of(view: LedgerView, checkpoint: Checkpoint) -> TaskSpec:
    task = view.task(checkpoint.task)
    assert task is not None, "a checkpoint's task is never deleted"
    return task
