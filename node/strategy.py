"""How a trainer chooses what to train from.

PDFed leaves the choice to each node: from all submitted models, by its own evaluation and the votes of others. A
strategy is a plain function of what the ledger says; it returns the parents, an empty tuple meaning "from scratch".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from node.ballot_book import BallotBook
from node.head import Head
from pdfedchain.errors import UsageError
from pdfedchain.ids import Address, Cid, Hash
from pdfedchain.types.ballot import BallotKind
from pdfedchain.types.checkpoint import Checkpoint, CheckpointStatus
from pdfedchain.types.score import ScoreReport
from pdfedchain.types.task import TaskSpec

__all__ = ["STRATEGIES", "Candidate", "Strategy", "candidates", "strategy_named"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An accepted checkpoint as a strategy sees it.

    Attributes:
        qn_micro: settled quality-novelty score, lower is better.
        private_qn_micro: revealed private scores of other participants, in no order.
        own_private_qn_micro: what this node found on its own images; ``None`` where it has not evaluated it.
    """

    checkpoint: Checkpoint
    qn_micro: int
    private_qn_micro: tuple[int, ...]
    own_private_qn_micro: int | None


Strategy = Callable[[Sequence[Candidate], Address], tuple[Cid, ...]]


def candidates(head: Head, book: BallotBook, task_id: Hash, task: TaskSpec) -> list[Candidate]:
    """What may be trained from: the task's accepted checkpoints; one under quarantine is none."""
    weight = task.scoring.novelty_weight
    found = []
    for checkpoint in head.checkpoints():
        if checkpoint.task != task_id or checkpoint.status is not CheckpointStatus.ACCEPTED:
            continue
        assert checkpoint.report is not None, "an accepted checkpoint has a score"
        own = book.get(checkpoint.weights, BallotKind.PRIVATE)
        votes = tuple(
            ballot.report.qn_micro(weight)
            for ballot in head.ballots(checkpoint.weights, BallotKind.PRIVATE)
            if isinstance(ballot.report, ScoreReport)
        )
        own_qn = own.report.qn_micro(weight) if own and isinstance(own.report, ScoreReport) else None
        found.append(Candidate(checkpoint, checkpoint.report.qn_micro(weight), votes, own_qn))
    return found


def best_score(candidates: Sequence[Candidate], me: Address) -> tuple[Cid, ...]:
    """The accepted checkpoint with the lowest settled QN; ties by identifier."""
    if not candidates:
        return ()
    best = min(candidates, key=lambda candidate: (candidate.qn_micro, candidate.checkpoint.weights))
    return (best.checkpoint.weights,)


def best_of_others(candidates: Sequence[Candidate], me: Address) -> tuple[Cid, ...]:
    """The best checkpoint of somebody else, else the own best: spreads what each private shard teaches."""
    others = [candidate for candidate in candidates if candidate.checkpoint.author != me]
    return best_score(others or candidates, me)


def best_private(candidates: Sequence[Candidate], me: Address) -> tuple[Cid, ...]:
    """The lowest QN on this node's own images, where it has evaluated; else the settled one."""
    if not candidates:
        return ()
    best = min(
        candidates,
        key=lambda candidate: (
            candidate.own_private_qn_micro is None,
            candidate.qn_micro if candidate.own_private_qn_micro is None else candidate.own_private_qn_micro,
            candidate.checkpoint.weights,
        ),
    )
    return (best.checkpoint.weights,)


def mean_of_two_best(candidates: Sequence[Candidate], me: Address) -> tuple[Cid, ...]:
    """The two best checkpoints, to be averaged."""
    ordered = sorted(candidates, key=lambda candidate: (candidate.qn_micro, candidate.checkpoint.weights))
    return tuple(candidate.checkpoint.weights for candidate in ordered[:2])


STRATEGIES: Final[Mapping[str, Strategy]] = {
    "best": best_score,
    "best-of-others": best_of_others,
    "best-private": best_private,
    "mean-of-two-best": mean_of_two_best,
}


def strategy_named(name: str) -> Strategy:
    """The strategy of that name.

    Raises:
        UsageError: there is none.
    """
    strategy = STRATEGIES.get(name)
    if strategy is None:
        raise UsageError(f"unknown strategy {name!r}", hint=f"choose one of {', '.join(sorted(STRATEGIES))}")
    return strategy
