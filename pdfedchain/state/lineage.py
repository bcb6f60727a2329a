"""Who shares a reward: the author of a checkpoint and those whose work it is built on.

The generations of a checkpoint are counted along the provenance graph. A checkpoint *improves* if its QN is below the
lowest of its parents' by more than the task's noise; one trained from scratch is measured from the worst quality that
is accepted. A hop that improves nothing is no generation: whoever submits a copy, with noise or without, gets no share
and takes none away, since the parents stand where the copy would have stood. Nor is a quarantined checkpoint one.

Generation k >= 1 gets the part ``(1 - d) * d ** k`` of the reward for a decay of d, its members equal shares; all is
rounded down. The author gets the rest, hence at least ``1 - d``. An ancestor that is reached in several ways counts
once, in the nearest generation.
"""

from __future__ import annotations

from collections.abc import Iterable

from pdfedchain.ids import Cid
from pdfedchain.limits import REWARD_ANCESTORS_MAX, REWARD_GENERATIONS_MAX
from pdfedchain.state.view import LedgerView
from pdfedchain.types.checkpoint import Checkpoint, CheckpointStatus
from pdfedchain.types.score import MICRO
from pdfedchain.types.task import TaskSpec

__all__ = ["generations", "improves", "qn_micro_at_ceiling", "qn_micro_of", "shares"]


def qn_micro_of(checkpoint: Checkpoint, task: TaskSpec) -> int:
    """QN of a scored checkpoint, in millionths."""
    assert checkpoint.report is not None, "an accepted checkpoint has a score"
    return checkpoint.report.qn_micro(task.scoring.novelty_weight)


def qn_micro_at_ceiling(task: TaskSpec) -> int:
    """QN of the worst quality that is accepted, without a single copy: what a first improvement is measured from."""
    return task.ceilings.fid_micro_max // 2


def improves(view: LedgerView, task: TaskSpec, checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint is better than what it was trained from, by more than noise."""
    parents = [_checkpoint(view, cid) for cid in checkpoint.parents]
    before = min((qn_micro_of(parent, task) for parent in parents), default=qn_micro_at_ceiling(task))
    return before - qn_micro_of(checkpoint, task) > task.rewards.noise_micro


def generations(view: LedgerView, task: TaskSpec, checkpoint: Checkpoint) -> list[list[Checkpoint]]:
    """The ancestors that share a reward of this checkpoint: parents' generation first, each in order of identifiers."""
    found: list[list[Checkpoint]] = []
    seen: set[Cid] = set()
    frontier = checkpoint.parents
    while frontier and len(found) < REWARD_GENERATIONS_MAX:
        members, frontier = _one_generation(view, task, frontier, seen)
        if members:
            found.append(members)
    return found


def _one_generation(
    view: LedgerView, task: TaskSpec, frontier: Iterable[Cid], seen: set[Cid]
) -> tuple[list[Checkpoint], tuple[Cid, ...]]:
    """Members of the generation that begins at a frontier, and the next one's frontier.

    Args:
        seen: who has been counted or passed over; what is met here is added.
    """
    members: list[Checkpoint] = []
    waiting = sorted(set(frontier))
    while waiting:
        cid = waiting.pop(0)
        if cid in seen or len(seen) >= REWARD_ANCESTORS_MAX:
            continue
        seen.add(cid)
        ancestor = _checkpoint(view, cid)
        if ancestor.status is CheckpointStatus.ACCEPTED and improves(view, task, ancestor):
            members.append(ancestor)
        else:
            waiting = sorted({*waiting, *ancestor.parents})
    members.sort(key=lambda member: member.weights)
    return members, tuple(cid for member in members for cid in member.parents)


def shares(view: LedgerView, task: TaskSpec, checkpoint: Checkpoint, amount: int) -> list[tuple[Checkpoint, int]]:
    """Who gets how much of a reward; the author's share is first, and the sum is the amount."""
    decay = task.rewards.decay_micro
    given: list[tuple[Checkpoint, int]] = []
    for k, members in enumerate(generations(view, task, checkpoint), start=1):
        part = amount * (MICRO - decay) * decay**k // MICRO ** (k + 1)
        given += [(member, part // len(members)) for member in members]
    rest = amount - sum(share for _, share in given)
    return [(checkpoint, rest), *((member, share) for member, share in given if share)]


def _checkpoint(view: LedgerView, cid: Cid) -> Checkpoint:
    checkpoint = view.checkpoint(cid)
    assert checkpoint is not None, "a parent is never deleted"
    return checkpoint
