"""What an authority owes each submitted checkpoint: hold the weights, score them, seal the score, open it.

Level-triggered (`node.head`): whenever the chain moves, and every few seconds, all open checkpoints are looked at and
what is missing is started or sent again.

::

    submitted   fetch the weights and verify them against their identifier, then say Have
    scoring     compute the score in a worker; write report and salt down; commit
    opened      reveal

Nothing is scored before the self-test has passed (`node.self_test`). A failed fetch or a broken worker is tried again
with a growing pause; it never becomes a verdict. Only the worker's own finding that the weights cannot be scored does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import trio

from node.ballot_book import BallotBook
from node.head import Head
from node.library import Library
from node.self_test import SelfTestDuty
from node.submitter import Submitter
from node.telemetry import Activity
from node.weights.errors import BlockDamaged, MalformedWeights, WeightsTooLarge
from node.workers import Worker
from pdfedchain.errors import InputError, PdfedError, StateError
from pdfedchain.ids import Address, Cid, cid_text
from pdfedchain.types.ballot import BallotKind, Outcome
from pdfedchain.types.checkpoint import Checkpoint, CheckpointStatus
from pdfedchain.types.jobs import Progress, Score, Scored
from pdfedchain.types.score import Unscorable, UnscorableReason
from pdfedchain.types.task import TaskSpec
from pdfedchain.types.transaction import CommitBallot, Have, RevealBallot

__all__ = ["REFERENCE_SIZE_BYTES_MAX", "AuthorityDuties", "ScoreTools", "is_fatal", "reporting"]

log = logging.getLogger(__name__)

#: Reference images and scorer of a task: 100,000 images at 64 px are 1.2 GB.
REFERENCE_SIZE_BYTES_MAX = 4 * 2**30

_LOOK_AGAIN_S = 3.0
_RETRY_FIRST_S = 1.0
_RETRY_MAX_S = 30.0


@dataclass(frozen=True, slots=True)
class ScoreTools:
    """What scoring needs; the participant shares it for private evaluations.

    Attributes:
        worker: runs one job at a time; a second one waits.
    """

    library: Library
    worker: Worker
    book: BallotBook
    device: str
    activity: Activity


class AuthorityDuties:
    """The duties of one authority."""

    def __init__(
        self,
        address: Address,
        chain_id: str,
        head: Head,
        submitter: Submitter,
        tools: ScoreTools,
        judgement_changed: Callable[[], None],
    ) -> None:
        """
        Args:
            judgement_changed: tells consensus that a pending proposal may now be judged.
        """
        self._address = address
        self._chain_id = chain_id
        self._head = head
        self._submitter = submitter
        self._tools = tools
        self._judgement_changed = judgement_changed
        self._running: set[Cid] = set()
        self._self_test = SelfTestDuty(tools.worker, tools.device, tools.activity)

    async def run(self) -> None:
        """Do what is due, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._self_test.run)
            while True:
                view = self._head.view
                is_member = self._address in view.governance.voting
                for checkpoint in view.open_checkpoints():
                    if not is_member and self._address not in checkpoint.electorate:
                        continue
                    if checkpoint.weights not in self._running and await self._needs_work(checkpoint):
                        self._running.add(checkpoint.weights)
                        nursery.start_soon(self._work, checkpoint.weights)
                    await self._send_what_is_due(checkpoint)
                for cid in self._head.view.index.unopened:
                    await self._open_late(cid)
                await self._head.wait_change(_LOOK_AGAIN_S)

    async def _needs_work(self, checkpoint: Checkpoint) -> bool:
        """Whether the weights are still to be fetched, or the score to be computed."""
        if checkpoint.status is CheckpointStatus.SUBMITTED:
            return not await self._tools.library.holds(checkpoint.weights)
        task = self._head.view.task(checkpoint.task)
        assert task is not None, "a checkpoint's task is on chain"
        return (
            checkpoint.status is CheckpointStatus.SCORING
            and self._address in checkpoint.electorate
            and self._self_test.may_score(task.scoring.profile)
            and self._tools.book.get(checkpoint.weights, BallotKind.SCORE) is None
        )

    async def _work(self, cid: Cid) -> None:
        """Fetch, then score once the seed is known; tried again until it succeeds or is no longer needed."""
        pause_s = _RETRY_FIRST_S
        try:
            while True:
                checkpoint = self._head.view.checkpoint(cid)
                if checkpoint is None or not await self._needs_work(checkpoint):
                    return
                try:
                    await self._work_once(checkpoint)
                except (PdfedError, OSError) as error:
                    if is_fatal(error):
                        raise
                    log.warning("%s: %s; trying again in %.0f s", cid_text(cid), error, pause_s)
                    await trio.sleep(pause_s)
                    pause_s = min(2 * pause_s, _RETRY_MAX_S)
        finally:
            self._running.discard(cid)

    async def _work_once(self, checkpoint: Checkpoint) -> None:
        task = self._head.view.task(checkpoint.task)
        assert task is not None, "a checkpoint's task is on chain"
        await self._tools.library.obtain(checkpoint.weights, size_bytes_max=task.model.size_bytes_max)
        if checkpoint.status is CheckpointStatus.SCORING:
            outcome = await self.compute_outcome(checkpoint, task)
            self._tools.book.record(checkpoint.weights, BallotKind.SCORE, outcome)
            self._judgement_changed()
        current = self._head.view.checkpoint(checkpoint.weights)
        if current is not None:
            await self._send_what_is_due(current)

    async def compute_outcome(self, checkpoint: Checkpoint, task: TaskSpec) -> Outcome:
        """This node's own recomputation of the score."""
        library = self._tools.library
        for cid in (task.reference, task.scorer):
            await library.obtain(cid, size_bytes_max=REFERENCE_SIZE_BYTES_MAX)
        assert checkpoint.seed is not None, "scoring starts when the seed is known"
        async with library.folder(task.reference) as reference, library.folder(task.scorer) as scorer:
            try:
                async with library.folder(checkpoint.weights) as folder:
                    request = Score(
                        task.model,
                        task.scoring,
                        str(folder),
                        checkpoint.weights_digest,
                        str(reference),
                        str(scorer),
                        checkpoint.seed,
                        self._tools.device,
                    )
                    with self._tools.activity.during("scoring", checkpoint.weights) as report:
                        result = await self._tools.worker.run(request, reporting(report))
            except (MalformedWeights, WeightsTooLarge) as error:
                # The blocks are what the identifier says, but they are no folder that can be laid out.
                log.warning("%s cannot be laid out as a folder: %s", cid_text(checkpoint.weights), error)
                return Unscorable(UnscorableReason.MALFORMED)
        assert isinstance(result, Scored), "a score job answers with a score"
        return result.outcome

    async def _send_what_is_due(self, checkpoint: Checkpoint) -> None:
        """Have, commitment, reveal: whatever the chain does not show yet and this node can say."""
        payload: Have | CommitBallot | RevealBallot | None = None
        if checkpoint.status is CheckpointStatus.SUBMITTED:
            if self._address not in checkpoint.holders and await self._tools.library.holds(checkpoint.weights):
                payload = Have(checkpoint.weights, checkpoint.submitted_height)
        elif checkpoint.status is CheckpointStatus.SCORING and self._address in checkpoint.electorate:
            payload = self._ballot_due(checkpoint)
        if payload is not None:
            await self._try_to_send(payload)

    async def _try_to_send(self, payload: Have | CommitBallot | RevealBallot) -> None:
        try:
            await self._submitter.send(payload)
        except InputError as error:
            log.debug("%s not sent: %s", type(payload).__name__, error)

    async def _open_late(self, cid: Cid) -> None:
        """Open a score that a settlement did not wait for, before its deposit is lost."""
        unopened, own = self._head.view.unopened(cid), self._tools.book.get(cid, BallotKind.SCORE)
        if unopened is not None and own is not None and self._address in unopened.voters:
            await self._try_to_send(RevealBallot(cid, BallotKind.SCORE, own.report, own.salt))

    def _ballot_due(self, checkpoint: Checkpoint) -> CommitBallot | RevealBallot | None:
        own = self._tools.book.get(checkpoint.weights, BallotKind.SCORE)
        if own is None:
            return None
        on_chain = self._head.view.ballot(checkpoint.weights, BallotKind.SCORE, self._address)
        if on_chain is None:
            commitment = own.commitment(self._chain_id, self._address)
            return CommitBallot(checkpoint.weights, checkpoint.submitted_height, BallotKind.SCORE, commitment)
        if on_chain.report is None and checkpoint.reveal_height is not None:
            return RevealBallot(checkpoint.weights, BallotKind.SCORE, own.report, own.salt)
        return None


def is_fatal(error: Exception) -> bool:
    """Whether an error means that this node's own durable state cannot be trusted: then the node stops.

    A damaged block of weights is not: it is deleted when it is met, and fetched again. Nor is a full disk, which may be
    mended while the node runs.
    """
    return isinstance(error, StateError) and not isinstance(error, BlockDamaged)


def reporting(report: Callable[[str, int, int], None]) -> Callable[[Progress], None]:
    """A worker's progress as `Activity.during` takes it."""
    return lambda progress: report(progress.stage, progress.done, progress.total)
