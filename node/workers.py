"""Worker processes: where torch runs, away from the node.

`Worker` starts ``python -m diffusion.worker`` when the first job comes, keeps it for the next ones (a cold start costs
seconds), and runs one job at a time. A cancelled job kills the process, because nothing else stops a computation
inside torch; the next job starts a new one. What the process prints goes to its log file.

The contract is `pdfedchain.types.jobs`: a frame is a 4-byte big-endian length and one encoded `JobMessage`. A worker
is our own program, but it has loaded weights of strangers: its frames are bounded and decoded like a peer's.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import trio

from node.errors import ExtraMissing, JobBroke, JobRefused, WorkerDied
from pdfedchain.codec import decode, encode
from pdfedchain.errors import DecodeError
from pdfedchain.limits import JOB_FRAME_SIZE_BYTES_MAX
from pdfedchain.types.jobs import (
    Calibrate,
    Calibrated,
    Evaluate,
    Evaluated,
    FoldersScored,
    JobFailed,
    JobMessage,
    Prepare,
    Prepared,
    Progress,
    Sample,
    Sampled,
    Score,
    Scored,
    ScoreFolders,
    ScorerTrained,
    SelfTest,
    SelfTested,
    Train,
    Trained,
    TrainScorer,
)

__all__ = ["TRAINING_NICENESS", "Request", "Result", "Worker", "require_diffusion"]

log = logging.getLogger(__name__)

Request = Prepare | Train | Score | Evaluate | Sample | ScoreFolders | TrainScorer | SelfTest | Calibrate
Result = Prepared | Trained | Scored | Evaluated | Sampled | FoldersScored | ScorerTrained | SelfTested | Calibrated

#: Added to the niceness of a training worker, so that blocks keep coming on a busy machine.
TRAINING_NICENESS: Final = 5

_RESULTS: Final[Mapping[type, type]] = {
    Prepare: Prepared,
    Train: Trained,
    Score: Scored,
    Evaluate: Evaluated,
    Sample: Sampled,
    ScoreFolders: FoldersScored,
    TrainScorer: ScorerTrained,
    SelfTest: SelfTested,
    Calibrate: Calibrated,
}
_LENGTH_SIZE_BYTES: Final = 4
_READ_SIZE_BYTES: Final = 65_536
_LOG_TAIL_SIZE_BYTES: Final = 4_096
_STOP_TIMEOUT_S: Final = 2.0


def require_diffusion(what: str, *, otherwise: str = "") -> None:
    """Refuse early what needs torch where there is none; imports nothing.

    Args:
        what: subject of the sentence, for example ``"scoring"``.
        otherwise: what can be done without.

    Raises:
        ExtraMissing: it is not installed.
    """
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("diffusers") is None:
        raise ExtraMissing(what, "diffusion", hint=otherwise)


class Worker:
    """One worker process and the queue of jobs in front of it.

    Args:
        name: of the log file, ``worker-<name>.log``.
        logs: folder of the log file, made if need be.
        environment: variables on top of this process's; ``OMP_NUM_THREADS=1`` unless given here or set already.
        niceness: added to the process's niceness.
        command: what to start instead of ``python -m diffusion.worker``, for tests.
    """

    def __init__(
        self,
        name: str,
        logs: Path,
        *,
        environment: Mapping[str, str] | None = None,
        niceness: int = 0,
        command: Sequence[str] | None = None,
    ) -> None:
        self.name = name
        self._log_path = logs / f"worker-{name}.log"
        self._environment = {"OMP_NUM_THREADS": "1", **os.environ, **(environment or {})}
        self._niceness = niceness
        self._command = command
        self._process: trio.Process | None = None
        self._buffer = bytearray()
        self._one_at_a_time = trio.Lock()

    @property
    def pid(self) -> int | None:
        """Of the running process; ``None`` while there is none."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    async def run(self, request: Request, on_progress: Callable[[Progress], None] | None = None) -> Result:
        """Do one job; a second one waits its turn.

        Args:
            on_progress: called with each `Progress`, in order.

        Returns:
            The result type that `pdfedchain.types.jobs` lists beside the request's.

        Raises:
            JobRefused: the worker says that the request is wrong.
            JobBroke: the worker says that the job failed on this machine.
            WorkerDied: the process ended or sent what is no answer.
            ExtraMissing: torch is not installed.
        """
        async with self._one_at_a_time:
            try:
                answer = await self._exchange(request, on_progress)
            except BaseException:
                # Cancelled, or out of step with the process: whatever it would still send belongs to this job.
                await self._kill()
                raise
        if isinstance(answer, JobFailed):
            failure = JobRefused if answer.usage else JobBroke
            raise failure(answer.message, hint=answer.hint)
        return answer

    async def aclose(self) -> None:
        """End the process: first by closing its input, then by force."""
        process = self._process
        if process is None:
            return
        with trio.CancelScope(shield=True), trio.move_on_after(_STOP_TIMEOUT_S):
            assert process.stdin is not None
            await process.stdin.aclose()
            await process.wait()
        await self._kill()

    async def __aenter__(self) -> Worker:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # One job

    async def _exchange(self, request: Request, on_progress: Callable[[Progress], None] | None) -> Result | JobFailed:
        process = await self._started()
        payload = encode(JobMessage(request))
        assert len(payload) <= JOB_FRAME_SIZE_BYTES_MAX, "a request carries paths, never weights"
        assert process.stdin is not None
        try:
            await process.stdin.send_all(len(payload).to_bytes(_LENGTH_SIZE_BYTES, "big") + payload)
        except trio.BrokenResourceError as error:
            raise await self._died("takes no jobs", ended=True) from error
        while True:
            body = await self._receive(process)
            if isinstance(body, Progress):
                if on_progress is not None:
                    on_progress(body)
            elif isinstance(body, JobFailed):
                return body
            elif type(body) is _RESULTS[type(request)]:
                return body  # type: ignore[return-value]
            else:
                raise await self._died(f"answered {type(body).__name__} to {type(request).__name__}")

    async def _receive(self, process: trio.Process) -> object:
        size_bytes = int.from_bytes(await self._read(process, _LENGTH_SIZE_BYTES), "big")
        if not 0 < size_bytes <= JOB_FRAME_SIZE_BYTES_MAX:
            raise await self._died(f"announced a frame of {size_bytes} bytes")
        frame = await self._read(process, size_bytes)
        try:
            return decode(JobMessage, frame, size_bytes_max=JOB_FRAME_SIZE_BYTES_MAX).body
        except DecodeError as error:
            raise await self._died(f"sent a frame that is no message: {error}") from error

    async def _read(self, process: trio.Process, size_bytes: int) -> bytes:
        assert process.stdout is not None
        while len(self._buffer) < size_bytes:
            chunk = await process.stdout.receive_some(_READ_SIZE_BYTES)
            if not chunk:
                raise await self._died("ended in the middle of a job", ended=True)
            self._buffer += chunk
        data = bytes(self._buffer[:size_bytes])
        del self._buffer[:size_bytes]
        return data

    # The process

    async def _started(self) -> trio.Process:
        if self._process is not None:
            if self._process.poll() is None:
                return self._process
            log.warning("worker %s ended between jobs, status %d", self.name, self._process.returncode)
            await self._kill()
        command = self._command
        if command is None:
            require_diffusion("training, scoring and sampling")
            command = (sys.executable, "-m", "diffusion.worker")
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        with self._log_path.open("ab") as log_file:
            # A session of its own: Ctrl-C in a terminal goes to the node, which ends its workers itself.
            process: trio.Process = await trio.lowlevel.open_process(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_file,
                env=self._environment,
                start_new_session=True,
            )
        self._process = process
        self._buffer.clear()
        if self._niceness:
            try:
                own = os.getpriority(os.PRIO_PROCESS, 0)
                os.setpriority(os.PRIO_PROCESS, process.pid, min(own + self._niceness, 19))
            except OSError as error:
                log.debug("worker %s keeps its priority: %s", self.name, error)
        return process

    async def _kill(self) -> None:
        process, self._process = self._process, None
        self._buffer.clear()
        if process is None:
            return
        with trio.CancelScope(shield=True):
            if process.poll() is None:
                process.kill()
            await process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    await pipe.aclose()

    async def _died(self, what: str, *, ended: bool = False) -> WorkerDied:
        """The error for a process that is of no use any more; it ends here.

        Args:
            ended: its pipes are closed; it can be reaped a moment later, and then its status is known.
        """
        process = self._process
        assert process is not None
        if ended:
            with trio.CancelScope(shield=True), trio.move_on_after(_STOP_TIMEOUT_S):
                await process.wait()
        status = process.returncode
        await self._kill()
        told = "" if status is None else f" (exit status {status})"
        last = _last_line(self._log_path)
        return WorkerDied(
            f"worker {self.name} {what}{told}" + (f": {last}" if last else ""),
            exit_status=status,
            hint=f"see {self._log_path}",
        )


def _last_line(path: Path) -> str:
    """The last line of a log, for an error's sentence; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_TAIL_SIZE_BYTES))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")
