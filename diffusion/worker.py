"""The worker process: ``python -m diffusion.worker``.

It reads request frames from standard input and answers on standard output as `pdfedchain.types.jobs` says: any number
of `Progress`, then exactly one result or `JobFailed`; then the next request. The end of standard input ends it with
status 0, a frame that is not a request with status 2. An error of ours (an assertion, an attribute) is not
caught: it ends the process with a traceback on standard error, and the node sees the pipe close without a result.

The frames are kept clean by moving them away: descriptor 1 is duplicated and then points to standard error, so that no
library's print can land between frames. While a job runs, a thread repeats the last progress every second; a broken
pipe there means that the node is gone, and ends the process rather than train for nobody.

Threads: one per worker, since several processes on few cores slow each other down fivefold otherwise; ``PDFED_THREADS``
overrides. `Prepare` and the jobs of people without a node run alone and take all cores.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, BinaryIO, Final, TypeAlias

from pdfedchain.codec import decode, encode
from pdfedchain.errors import DecodeError, InputError, PdfedError, UsageError
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
from pdfedchain.types.score import MICRO

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["main", "serve"]

Request: TypeAlias = Prepare | Train | Score | Evaluate | Sample | ScoreFolders | TrainScorer | SelfTest | Calibrate
Answer: TypeAlias = (
    Prepared
    | Trained
    | Scored
    | Evaluated
    | Sampled
    | FoldersScored
    | ScorerTrained
    | SelfTested
    | Calibrated
    | JobFailed
)

_REQUESTS: Final = (Prepare, Train, Score, Evaluate, Sample, ScoreFolders, TrainScorer, SelfTest, Calibrate)
#: Jobs that run alone, for somebody who waits for them, and take all cores.
_ALONE: Final = (Prepare, ScoreFolders, TrainScorer)
_LENGTH_SIZE_BYTES: Final = 4
_PROGRESS_INTERVAL_S: Final = 0.25
_HEARTBEAT_S: Final = 1.0
_TEXT_LENGTH_MAX: Final = 4_000
_LOSS_MAX: Final = 1e9
_INSTALL_HINT: Final = 'Install the models\' part with: pip install "pdfedchain[diffusion]"'


def _read_exactly(stream: BinaryIO, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = stream.read(size - len(data))
        if not part:
            break
        data += part
    return data


def read_request(stream: BinaryIO) -> Request | None:
    """The next request, or None at the end of the stream.

    Raises:
        DecodeError: the frame is cut off, too long, not canonical, or no request.
    """
    head = _read_exactly(stream, _LENGTH_SIZE_BYTES)
    if not head:
        return None
    size = int.from_bytes(head, "big")
    if len(head) < _LENGTH_SIZE_BYTES or size > JOB_FRAME_SIZE_BYTES_MAX:
        raise DecodeError(f"a frame of {size} bytes, at most {JOB_FRAME_SIZE_BYTES_MAX} allowed")
    data = _read_exactly(stream, size)
    if len(data) < size:
        raise DecodeError(f"a frame ends after {len(data)} of {size} bytes")
    body = decode(JobMessage, data, size_bytes_max=JOB_FRAME_SIZE_BYTES_MAX).body
    if not isinstance(body, _REQUESTS):
        raise DecodeError(f"{type(body).__name__} is not a request")
    return body


class _Reporter:
    """Writes frames; passes on progress now and then, and repeats it while nothing new comes."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._last: Progress | None = None
        self._sent_at_s = 0.0
        threading.Thread(target=self._repeat, daemon=True, name="heartbeat").start()

    def send(self, message: Progress | Answer) -> None:
        """Write one frame. Progress is repeated until an answer is sent."""
        with self._lock:
            self._write(message)

    def _write(self, message: Progress | Answer) -> None:
        data = encode(JobMessage(message))
        self._last = message if isinstance(message, Progress) else None
        self._sent_at_s = time.monotonic()
        self._stream.write(len(data).to_bytes(_LENGTH_SIZE_BYTES, "big") + data)
        self._stream.flush()

    def report(self, stage: str, done: int, total: int, loss: float) -> None:
        """A `diffusion.progress.Report`."""
        last = self._last
        stage_begins = last is None or last.stage != stage
        if stage_begins or done == total or time.monotonic() - self._sent_at_s >= _PROGRESS_INTERVAL_S:
            sane = 0 <= loss < _LOSS_MAX  # false for NaN as well
            self.send(Progress(stage, done, total, round(loss * MICRO) if sane else 0))

    def _repeat(self) -> None:
        while True:
            time.sleep(_HEARTBEAT_S / 4)
            with self._lock:  # no progress may follow an answer
                if self._last is not None and time.monotonic() - self._sent_at_s >= _HEARTBEAT_S * 3 / 4:
                    try:
                        self._write(self._last)
                    except OSError:
                        os._exit(0)


def _failed(error: BaseException, *, usage: bool, hint: str = "") -> JobFailed:
    text = str(error) or type(error).__name__
    return JobFailed(usage, _cut(text), _cut(hint))


def _cut(text: str) -> str:
    return text.encode()[:_TEXT_LENGTH_MAX].decode(errors="ignore")


def _import_jobs() -> ModuleType:
    try:
        from diffusion import jobs
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in ("diffusion", "pdfedchain"):
            raise
        raise PdfedError(f"{error.name} is not installed, so models cannot run here", hint=_INSTALL_HINT) from error
    except OSError as error:
        raise PdfedError(f"torch is installed but does not load: {error}", hint=_INSTALL_HINT) from error
    return jobs


def _set_threads(request: Request) -> None:
    import torch

    text = os.environ.get("PDFED_THREADS", "")
    if text and not (text.isdecimal() and int(text) > 0):
        raise UsageError(f"PDFED_THREADS is {text!r}", hint="Set it to a number of threads, or unset it.")
    torch.set_num_threads(int(text) if text else (os.cpu_count() or 1) if isinstance(request, _ALONE) else 1)


def run_request(request: Request, reporter: _Reporter) -> Answer:
    """Do one job; whatever is wrong with the request or the machine becomes `JobFailed`."""
    try:
        reporter.send(Progress("start", 0, 1, 0))
        jobs = _import_jobs()
        _set_threads(request)
        answer: Answer = jobs.run(request, reporter.report)
    except PdfedError as error:
        return _failed(error, usage=isinstance(error, InputError), hint=error.hint)
    except BrokenPipeError:
        raise
    except OSError as error:
        return _failed(error, usage=False, hint="Look at the disk's free space and the folder's permissions.")
    except (RuntimeError, MemoryError) as error:  # torch reports a full or lost device as RuntimeError
        return _failed(error, usage=False, hint="Use a smaller batch, or another device.")
    return answer


def serve(requests: BinaryIO, frames: BinaryIO) -> int:
    """Answer requests until the stream ends; returns the exit status."""
    reporter = _Reporter(frames)
    while True:
        try:
            request = read_request(requests)
        except DecodeError as error:
            print(f"diffusion.worker: {error}", file=sys.stderr)  # noqa: T201
            return 2
        if request is None:
            return 0
        try:
            reporter.send(run_request(request, reporter))
        except BrokenPipeError:
            return 0


def main() -> int:
    """Entry point of the process."""
    requests = os.fdopen(os.dup(0), "rb", buffering=0)
    frames = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    # threads that wait must sleep: spinning ones take the cores from the other processes; but not at once, since waking
    # up takes as long as many a wait
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    status = serve(requests, frames)
    sys.stderr.flush()
    # torch's own teardown can take a second and has nothing of ours to save
    os._exit(status)


if __name__ == "__main__":
    main()
