"""The participant loop of PDFed: follow the chain, choose a model, train it on private images, submit it; and
evaluate the models of others on private images, and vote.

Nobody waits for anybody else: a trainer waits only for its own submission to be settled, so that it neither floods the
queue nor trains on while its last word is not heard. What a finished training yields is written down before it is
submitted, so that a restarted node submits it instead of training again.
"""

from __future__ import annotations

import logging
import secrets
import shutil
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import trio

from node.authority import REFERENCE_SIZE_BYTES_MAX, ScoreTools, is_fatal, reporting
from node.deduplication import MemorisationCounts
from node.head import Head
from node.strategy import Strategy, candidates
from node.submitter import Submitter
from node.workers import Worker
from pdfedchain.codec import decode, encode
from pdfedchain.crypto import hash_of
from pdfedchain.errors import DecodeError, InputError, InvalidTransaction, PdfedError
from pdfedchain.ids import Hash, cid_text
from pdfedchain.store.durable import replace_file
from pdfedchain.types.ballot import BallotKind
from pdfedchain.types.checkpoint import Checkpoint, CheckpointStatus, RejectionReason
from pdfedchain.types.jobs import Evaluate, Evaluated, Train, Trained
from pdfedchain.types.ledger import PrivateWindow
from pdfedchain.types.score import ScoreReport
from pdfedchain.types.task import TaskSpec
from pdfedchain.types.transaction import (
    CommitBallot,
    Register,
    RevealBallot,
    Role,
    SubmitCheckpoint,
    TrainingClaim,
)

__all__ = ["Participant", "ParticipantSettings"]

log = logging.getLogger(__name__)

_LOOK_AGAIN_S = 3.0
_RETRY_S = 5.0
_PENDING_SIZE_BYTES_MAX = 16_384

#: Rules of the ledger that no waiting changes.
_REFUSED_FOR_GOOD = frozenset({"parents", "retry", "size", "task", "unknown-task", "weights-seen"})
_GIVE_UP_S = 600.0


@dataclass(frozen=True, slots=True)
class ParticipantSettings:
    """What one participant does and with what.

    Attributes:
        data: folder with this node's private ``images.safetensors``.
        data_commitment: binds it without showing it (`node.private_data`).
        private: folder for what never leaves this node.
        pause_s: rest between a settled submission and the next training.
    """

    name: str
    roles: Role
    strategy: Strategy
    data: Path
    data_commitment: Hash
    private: Path
    steps: int
    batch_size: int
    learning_rate_nano: int
    pause_s: float


class Participant:
    """Registration, training and private evaluation of one node."""

    def __init__(
        self,
        settings: ParticipantSettings,
        chain_id: str,
        head: Head,
        submitter: Submitter,
        tools: ScoreTools,
        trainer: Worker,
    ) -> None:
        """
        Args:
            trainer: runs the training jobs; scoring has a worker of its own and never waits for training.
        """
        self._settings = settings
        self._chain_id = chain_id
        self._head = head
        self._submitter = submitter
        self._tools = tools
        self._trainer = trainer
        self._address = submitter.address
        self._pending_file = settings.private / "pending.bin"
        self._counts = MemorisationCounts(settings.private / "memorised.json")

    async def run(self) -> None:
        """Take part, for ever."""
        await self._register()
        async with trio.open_nursery() as nursery:
            if self._settings.roles & Role.TRAINER:
                nursery.start_soon(self._forever, self._train_and_submit)
            if self._settings.roles & Role.EVALUATOR:
                nursery.start_soon(self._forever, self._evaluate_others)
                nursery.start_soon(self._forever, self._vote)

    async def _forever(self, step: Callable[[], Awaitable[None]]) -> None:
        """Repeat a step; what goes wrong with others' input or with a worker is logged and tried again."""
        while True:
            try:
                await step()
            except (PdfedError, OSError) as error:
                if is_fatal(error):
                    raise
                log.warning("%s; trying again in %.0f s", error, _RETRY_S)
                await trio.sleep(_RETRY_S)

    async def _register(self) -> None:
        settings = self._settings
        payload = Register(settings.name, int(settings.roles), settings.data_commitment, self._address, "")
        while True:
            known = self._head.view.participant(self._address)
            if known is not None and (known.name, known.roles, known.data_commitment) == (
                payload.name,
                payload.roles,
                payload.data_commitment,
            ):
                return
            try:
                await self._submitter.send(payload, nonce=self._nonce())
            except InputError as error:
                log.warning("registration refused: %s", error)
            await self._head.wait_change(_LOOK_AGAIN_S)

    def _nonce(self) -> int:
        return self._head.view.account(self._address).nonce

    # Training

    async def _train_and_submit(self) -> None:
        pending = self._read_pending()
        if pending is None:
            task_id, task = await self._first_task()
            pending = await self.make_checkpoint(task_id, task)
            self._write_pending(pending)
        await self._submit_until_settled(pending)
        self._pending_file.unlink()
        await trio.sleep(self._settings.pause_s)

    async def _first_task(self) -> tuple[Hash, TaskSpec]:
        while True:
            for task in self._head.view.tasks():
                return hash_of(task), task
            await self._head.wait_change(_LOOK_AGAIN_S)

    async def make_checkpoint(self, task_id: Hash, task: TaskSpec) -> SubmitCheckpoint:
        """Choose parents, train from them, and put the result into the store; what is submitted says the rest."""
        settings, library = self._settings, self._tools.library
        parents = settings.strategy(candidates(self._head, self._tools.book, task_id, task), self._address)
        for parent in parents:
            await library.obtain(parent, size_bytes_max=task.model.size_bytes_max)
        await library.obtain(task.reference, size_bytes_max=REFERENCE_SIZE_BYTES_MAX)
        output = settings.private / "training"
        shutil.rmtree(output, ignore_errors=True)
        excluded = self._counts.excluded
        async with AsyncExitStack() as stack:
            folders = [await stack.enter_async_context(library.folder(parent)) for parent in parents]
            reference = await stack.enter_async_context(library.folder(task.reference))
            request = Train(
                model=task.model,
                parents=tuple(str(folder) for folder in folders),
                data=(str(settings.data), str(reference)),
                exclude=excluded,
                output=str(output),
                steps=settings.steps,
                batch_size=settings.batch_size,
                learning_rate_nano=settings.learning_rate_nano,
                seed=Hash(secrets.token_bytes(32)),
                device=self._tools.device,
            )
            with self._tools.activity.during("training", parents[0] if parents else None) as report:
                result = await self._trainer.run(request, reporting(report))
        assert isinstance(result, Trained), "a training job answers with what it trained"
        weights = await library.add(output)
        size_bytes = library.store.total_size(weights)
        shutil.rmtree(output)
        log.info("trained %s from %s", cid_text(weights), [cid_text(parent) for parent in parents] or "scratch")
        claim = TrainingClaim(
            steps=result.steps,
            batch_size=settings.batch_size,
            learning_rate_nano=settings.learning_rate_nano,
            images=result.images_seen,
            data_commitment=settings.data_commitment,
        )
        return SubmitCheckpoint(task_id, weights, result.weights_digest, size_bytes, parents, claim)

    async def _submit_until_settled(self, pending: SubmitCheckpoint) -> None:
        """Send until the ledger has it, then wait for its settlement.

        A refusal may pass: another account may hold the digest with weights that are about to be found rubbish. Only
        what the ledger refuses for good, or for too long, is given up.
        """
        settled = (CheckpointStatus.ACCEPTED, CheckpointStatus.REJECTED, CheckpointStatus.QUARANTINED)
        give_up_at = trio.current_time() + _GIVE_UP_S
        disputed_height: int | None = None
        while True:
            checkpoint = self._head.view.checkpoint(pending.weights)
            if checkpoint is not None and checkpoint.author != self._address:
                log.warning("%s was submitted by somebody else", cid_text(pending.weights))
                return
            disputed = checkpoint is not None and checkpoint.reason is RejectionReason.DISAGREEMENT
            if checkpoint is not None and disputed and disputed_height in (None, checkpoint.settled_height):
                # Nobody's fault, and its bond is back: the same again, once, with the same seed and a new bond.
                disputed_height = checkpoint.settled_height
            elif checkpoint is not None and checkpoint.status in settled:
                log.info("%s is %s", cid_text(pending.weights), checkpoint.status.value)
                return
            if checkpoint is None or disputed:
                try:
                    await self._submitter.send(pending, nonce=self._nonce())
                except InputError as error:
                    log.warning("%s not submitted: %s", cid_text(pending.weights), error)
                    for_good = isinstance(error, InvalidTransaction) and error.rule in _REFUSED_FOR_GOOD
                    if for_good or trio.current_time() > give_up_at:
                        return
            await self._head.wait_change(_LOOK_AGAIN_S)

    def _read_pending(self) -> SubmitCheckpoint | None:
        if not self._pending_file.exists():
            return None
        try:
            return decode(SubmitCheckpoint, self._pending_file.read_bytes(), size_bytes_max=_PENDING_SIZE_BYTES_MAX)
        except DecodeError as error:
            # One training is lost; kept, the file would end every attempt to train.
            log.warning("%s is damaged and removed: %s", self._pending_file, error)
            self._pending_file.unlink()
            return None

    def _write_pending(self, pending: SubmitCheckpoint) -> None:
        replace_file(self._pending_file, encode(pending))

    # Private evaluation

    async def _evaluate_others(self) -> None:
        """Evaluate whatever may still be voted on, one by one; one that cannot be does not hold up the rest."""
        for checkpoint in self._voted_on():
            window = self._head.view.private_window(checkpoint.weights)
            known = self._tools.book.get(checkpoint.weights, BallotKind.PRIVATE)
            if window is PrivateWindow.COMMIT and known is None:
                try:
                    await self._evaluate_on_private_images(checkpoint)
                except (PdfedError, OSError) as error:
                    if is_fatal(error):
                        raise
                    log.warning("%s not evaluated: %s", cid_text(checkpoint.weights), error)
        await self._head.wait_change(_LOOK_AGAIN_S)

    async def _vote(self) -> None:
        """Seal and open private ballots. Evaluations take long and windows close, so this waits for none of them."""
        for checkpoint in self._voted_on():
            await self._send_ballot_due(checkpoint)
        await self._head.wait_change(_LOOK_AGAIN_S)

    def _voted_on(self) -> list[Checkpoint]:
        """Accepted checkpoints of others whose window of private ballots is open."""
        return [
            checkpoint
            for checkpoint in self._head.checkpoints()
            if checkpoint.status is CheckpointStatus.ACCEPTED
            and checkpoint.author != self._address
            and self._head.view.private_window(checkpoint.weights) is not PrivateWindow.CLOSED
        ]

    async def _send_ballot_due(self, checkpoint: Checkpoint) -> None:
        own = self._tools.book.get(checkpoint.weights, BallotKind.PRIVATE)
        if own is None:
            return
        window = self._head.view.private_window(checkpoint.weights)
        on_chain = self._head.view.ballot(checkpoint.weights, BallotKind.PRIVATE, self._address)
        payload: CommitBallot | RevealBallot | None = None
        if window is PrivateWindow.COMMIT and on_chain is None:
            commitment = own.commitment(self._chain_id, self._address)
            payload = CommitBallot(checkpoint.weights, checkpoint.submitted_height, BallotKind.PRIVATE, commitment)
        elif window is PrivateWindow.REVEAL and on_chain is not None and on_chain.report is None:
            payload = RevealBallot(checkpoint.weights, BallotKind.PRIVATE, own.report, own.salt)
        if payload is not None:
            try:
                await self._submitter.send(payload)
            except InputError as error:
                log.debug("private ballot not sent: %s", error)

    async def _evaluate_on_private_images(self, checkpoint: Checkpoint) -> None:
        library = self._tools.library
        task = self._head.view.task(checkpoint.task)
        assert task is not None, "a checkpoint's task is on chain"
        await library.obtain(checkpoint.weights, size_bytes_max=task.model.size_bytes_max)
        await library.obtain(task.scorer, size_bytes_max=REFERENCE_SIZE_BYTES_MAX)
        async with library.folder(checkpoint.weights) as folder, library.folder(task.scorer) as scorer:
            request = Evaluate(
                model=task.model,
                scoring=task.scoring,
                checkpoint=str(folder),
                weights_digest=checkpoint.weights_digest,
                data=str(self._settings.data),
                scorer=str(scorer),
                seed=Hash(secrets.token_bytes(32)),
                device=self._tools.device,
            )
            with self._tools.activity.during("evaluating", checkpoint.weights) as report:
                result = await self._tools.worker.run(request, reporting(report))
        assert isinstance(result, Evaluated), "an evaluation job answers with an evaluation"
        self._counts.add(result.memorised)
        outcome = result.outcome.coarse() if isinstance(result.outcome, ScoreReport) else result.outcome
        self._tools.book.record(checkpoint.weights, BallotKind.PRIVATE, outcome)
