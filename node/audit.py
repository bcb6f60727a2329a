"""The audit: everything a home's chain claims is derived again from its genesis and its own stored weights.

1. Genesis: the chain's is the one of ``genesis.json``.
2. The chain (`pdfedchain.audit`): every block is executed again; hashes, times, certificates, state roots.
3. Lineage: every parent named was accepted, in the same task, before its child was submitted.
4. Rewards: each is computed again from scores, ballots and lineage, by arithmetic of its own (`node.reward_replay`).
5. Scores: for each settled checkpoint the weights are verified block by block against their identifier, the score is
   recomputed with the seed on chain, and compared with the settled one within the task's tolerance.

What is wrong, what cannot be checked because weights are missing, and what cannot be checked because this installation
lacks a scoring version are different kinds of problem (`ProblemKind`); a checkpoint that was never scored
(unavailable, disagreement) has nothing to recompute and is skipped. Nothing is written into the home but a log.
"""

from __future__ import annotations

import enum
import itertools
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

from node.home import Home
from node.reader import ChainReader
from node.reward_replay import RewardReplay
from node.weights.store import Problem as BlockProblem
from node.weights.store import WeightsStore
from node.workers import Worker
from pdfedchain.audit import ProblemKind as ChainProblemKind
from pdfedchain.audit import verify_chain
from pdfedchain.errors import DecodeError
from pdfedchain.ids import Cid, cid_text
from pdfedchain.state import Ledger
from pdfedchain.state.events import Rewarded, ledger_event
from pdfedchain.types.checkpoint import Checkpoint, CheckpointStatus, RejectionReason
from pdfedchain.types.jobs import Score, Scored
from pdfedchain.types.score import ScoreReport, Unscorable, UnscorableReason
from pdfedchain.types.task import TaskSpec

__all__ = ["SCORING_VERSIONS", "Audit", "Problem", "ProblemKind", "audit_chain", "audit_scores", "compare"]

#: Scoring procedures of the worker that this release starts.
SCORING_VERSIONS: Final = frozenset({1})

_UNSCORABLE: Final = frozenset(reason.value for reason in UnscorableReason)
#: A quarantine follows an acceptance; whether it came before the child is the ledger's matter.
_ACCEPTED: Final = (CheckpointStatus.ACCEPTED, CheckpointStatus.QUARANTINED)
_NEVER_SCORED: Final = (RejectionReason.UNAVAILABLE, RejectionReason.DISAGREEMENT)


class ProblemKind(enum.StrEnum):
    """Kinds of `Problem` beside those of `pdfedchain.audit`."""

    #: The database cannot be read, or its state is not the one its last block states.
    DATABASE = "database"
    #: The chain does not begin with genesis.json.
    GENESIS = "genesis"
    #: A parent was not accepted before its child was submitted.
    LINEAGE = "lineage"
    #: A reward was paid that is not due, or one that is due was not.
    REWARD = "reward"
    #: The recomputed score is out of tolerance, or weights settled as unscorable can be scored, or the reverse.
    SCORE = "score"
    #: Stored bytes differ from their identifier, or are no folder.
    WEIGHTS_DAMAGED = "weights-damaged"
    #: Not wrong, but not checkable here: blocks of the weights are not in this home.
    WEIGHTS_MISSING = "weights-missing"
    #: Not wrong, but not checkable here: the task scores by a version that is not installed.
    SCORING_VERSION = "scoring-version"


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding.

    Attributes:
        kind: a `ProblemKind` value, or a kind of `pdfedchain.audit`.
        where: block, checkpoint, or file and block of weights.
    """

    kind: str
    where: str
    expected: str
    found: str


@dataclass(slots=True)
class Audit:
    """What was checked so far, and what was found.

    Attributes:
        skipped: settled checkpoints whose score was not recomputed, for whatever reason.
        rewards_checked: rewards derived again from scores, ballots and lineage.
    """

    blocks: int = 0
    scores_checked: int = 0
    scores_out_of_tolerance: int = 0
    rewards_checked: int = 0
    lineage_edges: int = 0
    skipped: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything that was asked for was derived again, and nothing differed."""
        return not self.problems


def audit_chain(home: Home, reader: ChainReader, audit: Audit) -> None:
    """Genesis, blocks and lineage; no weights.

    Raises:
        UsageError: genesis.json cannot be read.
    """
    expected = home.genesis().genesis.hash
    if reader.genesis.hash != expected:
        found = reader.genesis.hash.hex()
        audit.problems.append(Problem(ProblemKind.GENESIS, str(home.chain_db), expected.hex(), found))
    audit.blocks = reader.height()
    audit.problems += [
        Problem(problem.kind, problem.where, problem.expected, problem.found)
        for problem in verify_chain(reader.store, Ledger(own_results=lambda _: None))
    ]
    for checkpoint in reader.checkpoints():
        for parent in checkpoint.parents:
            audit.lineage_edges += 1
            audit.problems += _lineage_problems(reader, checkpoint, parent)
    audit_rewards(reader, audit)


def audit_rewards(reader: ChainReader, audit: Audit) -> None:
    """Derive every reward again, by arithmetic of its own, and compare with the events that the store holds."""
    kept_from = reader.store.events_from()
    if kept_from > 1:
        where = f"events of blocks 1 to {kept_from - 1}"
        audit.problems.append(Problem(ChainProblemKind.PRUNED, where, "events to derive rewards from", "pruned"))
        return
    replay = RewardReplay(reader.ledger_genesis(), reader.task)
    for height, events in itertools.groupby(reader.store.events(from_height=1), key=lambda stored: stored.height):
        happened = [ledger_event(stored.event) for stored in events]
        try:
            due = replay.block(height, happened)
        except DecodeError as error:
            expected, where = "events that tell what is rewarded", f"block {height}"
            audit.problems.append(Problem(ProblemKind.REWARD, where, expected, str(error)))
            return
        paid = [event for event in happened if isinstance(event, Rewarded)]
        audit.rewards_checked += len(due)
        for reward_due, reward_paid in itertools.zip_longest(due, paid):
            if reward_due != reward_paid:
                texts = (_reward_told(reward_due), _reward_told(reward_paid))
                audit.problems.append(Problem(ProblemKind.REWARD, f"block {height}", *texts))


def _reward_told(reward: Rewarded | None) -> str:
    if reward is None:
        return "no reward"
    return (
        f"{reward.amount} to {reward.to.hex()} for checkpoint {cid_text(reward.checkpoint)},"
        f" {reward.reward.value} of {cid_text(reward.earned_by)}"
    )


def _lineage_problems(reader: ChainReader, child: Checkpoint, parent_cid: Cid) -> Iterator[Problem]:
    parent = reader.checkpoint(parent_cid)
    where = f"checkpoint {cid_text(child.weights)}, parent {cid_text(parent_cid)}"
    expected = f"accepted in the same task by block {child.submitted_height}"
    if parent is None:
        yield Problem(ProblemKind.LINEAGE, where, expected, "no such checkpoint")
    elif parent.task != child.task:
        yield Problem(ProblemKind.LINEAGE, where, expected, f"task {parent.task.hex()}")
    elif parent.status not in _ACCEPTED or parent.settled_height is None:
        yield Problem(ProblemKind.LINEAGE, where, expected, parent.status.value)
    elif parent.settled_height > child.submitted_height:
        yield Problem(ProblemKind.LINEAGE, where, expected, f"accepted in block {parent.settled_height}")


async def audit_scores(
    home: Home,
    reader: ChainReader,
    audit: Audit,
    worker: Worker,
    *,
    newest: int | None,
    device: str,
    on_progress: Callable[[int, int], None],
) -> None:
    """Recompute scores.

    Args:
        newest: how many of the newest settled checkpoints; ``None`` for all.
        on_progress: called with (done, total) checkpoints.

    Raises:
        JobError: the worker refuses or breaks; says nothing about the scores.
    """
    settled = [checkpoint for checkpoint in reader.checkpoints() if checkpoint.settled_height is not None]
    settled.sort(key=lambda checkpoint: (checkpoint.settled_height or 0, checkpoint.weights))
    chosen = settled if newest is None else settled[max(0, len(settled) - newest) :]
    store = WeightsStore(home.weights_dir)
    audit.skipped += len(settled) - len(chosen)
    usable: dict[Cid, bool] = {}
    for done, checkpoint in enumerate(chosen):
        on_progress(done, len(chosen))
        task = reader.task(checkpoint.task)
        if checkpoint.reason in _NEVER_SCORED:
            audit.skipped += 1
            continue
        if task.scoring.version not in SCORING_VERSIONS:
            installed = ", ".join(str(version) for version in sorted(SCORING_VERSIONS))
            where = f"checkpoint {cid_text(checkpoint.weights)}"
            needed = f"version {task.scoring.version}"
            audit.problems.append(Problem(ProblemKind.SCORING_VERSION, where, needed, f"installed: {installed}"))
            audit.skipped += 1
            continue
        for what, cid in (("reference", task.reference), ("scorer", task.scorer), ("checkpoint", checkpoint.weights)):
            if cid not in usable:
                found = await trio.to_thread.run_sync(lambda w=what, c=cid: list(_weights_problems(store, w, c)))
                usable[cid] = not found
                audit.problems += found
        if not all(usable[cid] for cid in (task.reference, task.scorer, checkpoint.weights)):
            audit.skipped += 1
            continue
        outcome = await _recompute(store, checkpoint, task, worker, device)
        audit.scores_checked += 1
        problem = compare(checkpoint, task, outcome)
        if problem is not None:
            audit.scores_out_of_tolerance += 1
            audit.problems.append(problem)
    on_progress(len(chosen), len(chosen))


def _weights_problems(store: WeightsStore, what: str, cid: Cid) -> Iterator[Problem]:
    for bad in store.verify(cid):
        missing = bad.problem is BlockProblem.MISSING
        kind = ProblemKind.WEIGHTS_MISSING if missing else ProblemKind.WEIGHTS_DAMAGED
        file = bad.path or "(the folder itself)"
        where = f"{what} {cid_text(cid)}, file {file}, block {cid_text(bad.cid)}"
        yield Problem(kind, where, f"bytes with the digest {bad.cid[4:].hex()}", bad.detail)


async def _recompute(
    store: WeightsStore, checkpoint: Checkpoint, task: TaskSpec, worker: Worker, device: str
) -> ScoreReport | Unscorable:
    assert checkpoint.seed is not None, "what was scored has a seed"
    with tempfile.TemporaryDirectory(prefix="pdfed-audit-") as scratch:
        folders = {name: Path(scratch) / name for name in ("checkpoint", "reference", "scorer")}
        for name, cid in (
            ("checkpoint", checkpoint.weights),
            ("reference", task.reference),
            ("scorer", task.scorer),
        ):
            await trio.to_thread.run_sync(store.export, cid, folders[name])
        request = Score(
            model=task.model,
            scoring=task.scoring,
            checkpoint=str(folders["checkpoint"]),
            weights_digest=checkpoint.weights_digest,
            reference=str(folders["reference"]),
            scorer=str(folders["scorer"]),
            seed=checkpoint.seed,
            device=device,
        )
        result = await worker.run(request)
    assert isinstance(result, Scored), "a score job answers with a score"
    return result.outcome


def compare(checkpoint: Checkpoint, task: TaskSpec, found: ScoreReport | Unscorable) -> Problem | None:
    """What is wrong with a settled score, given the recomputed one; ``None`` if they agree.

    Which of several reasons makes weights unscorable is the most frequent finding of a quorum, so any of them agrees.
    """
    if checkpoint.report is None:
        settled: ScoreReport | Unscorable = Unscorable(_unscorable_reason(checkpoint))
        agrees = isinstance(found, Unscorable)
    else:
        settled = checkpoint.report
        agrees = isinstance(found, ScoreReport) and settled.agrees_with(found, task.scoring.tolerance)
    if agrees:
        return None
    where = f"checkpoint {cid_text(checkpoint.weights)}"
    return Problem(ProblemKind.SCORE, where, _told(settled), _told(found))


def _unscorable_reason(checkpoint: Checkpoint) -> UnscorableReason:
    assert checkpoint.reason is not None, "settled without a score means rejected"
    assert checkpoint.reason.value in _UNSCORABLE, "settled without a score means unscorable"
    return UnscorableReason(checkpoint.reason.value)


def _told(outcome: ScoreReport | Unscorable) -> str:
    if isinstance(outcome, Unscorable):
        return f"unscorable: {outcome.reason.value}"
    return (
        f"n {outcome.n}, checked {outcome.checked}, confirmed {outcome.confirmed}, v_a_micro {outcome.v_a_micro},"
        f" v_c_micro {outcome.v_c_micro}, fid_micro {outcome.fid_micro}"
    )
