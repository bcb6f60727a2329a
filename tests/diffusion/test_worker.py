from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pdfedchain.codec import decode, encode
from pdfedchain.ids import Hash
from pdfedchain.types.jobs import JobFailed, JobMessage, Prepare, Progress, Sampled, Scored, Trained
from pdfedchain.types.score import ScoreReport
from tests.diffusion.conftest import SEED, TinyTask
from tests.diffusion.test_jobs import sample_request, score_request


def frame(message: Any) -> bytes:
    data = encode(JobMessage(message))
    return len(data).to_bytes(4, "big") + data


class Process:
    """A worker process as the node sees it."""

    def __init__(self, code: str = "", **environment: str) -> None:
        command = ["-c", code] if code else ["-m", "diffusion.worker"]
        self.process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | environment,
        )

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def receive(self) -> Any:
        assert self.process.stdout is not None
        size = int.from_bytes(self.process.stdout.read(4), "big")
        return decode(JobMessage, self.process.stdout.read(size), size_bytes_max=2**24).body

    def ask(self, message: Any) -> tuple[list[Progress], Any]:
        self.send(frame(message))
        progress = []
        while isinstance(answer := self.receive(), Progress):
            progress.append(answer)
        return progress, answer

    def finish(self) -> tuple[int, bytes, str]:
        """Close standard input; returns the exit status, what was left on stdout, and stderr."""
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err.decode()

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def worker() -> Iterator[Process]:
    process = Process()
    yield process
    process.stop()


def test_one_worker_trains_scores_and_samples(task: TinyTask, worker: Process, tmp_path: Path) -> None:
    progress, trained = worker.ask(task.train_request(tmp_path / "checkpoint"))
    assert isinstance(trained, Trained)
    assert progress[0].stage == "start"
    assert (progress[-1].stage, progress[-1].done, progress[-1].total) == ("train", 5, 5)
    assert progress[-1].loss_micro > 0
    checkpoint = (tmp_path / "checkpoint", trained.weights_digest)

    progress, scored = worker.ask(score_request(task, checkpoint))
    assert isinstance(scored, Scored)
    assert isinstance(scored.outcome, ScoreReport)
    assert {"sample", "describe"} <= {item.stage for item in progress}

    _, sampled = worker.ask(sample_request(task, checkpoint, tmp_path / "grid.png"))
    assert isinstance(sampled, Sampled)
    assert (tmp_path / "grid.png").stat().st_size > 0

    _, failed = worker.ask(sample_request(task, (tmp_path / "nowhere", Hash(bytes(32))), tmp_path / "grid.png"))
    assert failed == JobFailed(True, f"{tmp_path}/nowhere is not a folder", "Fetch the checkpoint first.")

    _, failed = worker.ask(Prepare("dgits", 1, SEED, str(tmp_path / "task"), "cpu"))
    assert failed.usage
    assert failed.message == "there is no data set 'dgits'"
    assert "digits" in failed.hint
    assert worker.finish()[:2] == (0, b"")


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00",
        b"\x00\x00\x00\x05abc",
        b"\x00\x00\x00\x03abc",
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x00",
        frame(Progress("start", 0, 1, 0)),
    ],
)
def test_a_bad_frame_ends_the_worker(worker: Process, data: bytes) -> None:
    worker.send(data)
    status, out, err = worker.finish()
    assert (status, out) == (2, b"")
    assert err.startswith("diffusion.worker: ")
    assert err.count("\n") == 1


def test_the_end_of_input_ends_the_worker(worker: Process) -> None:
    assert worker.finish() == (0, b"", "")


CHATTY = """
import sys
from diffusion import worker
original = worker._import_jobs
def chatty():
    print("to stdout")
    import os
    os.write(1, b"to descriptor 1\\n")
    os.system("echo from a child")
    assert os.read(0, 1) == b""
    raise worker.PdfedError("as a test")
worker._import_jobs = chatty
worker.main()
"""


def test_prints_do_not_corrupt_frames() -> None:
    process = Process(CHATTY, PYTHONUNBUFFERED="1")
    _, answer = process.ask(Prepare("digits", 1, SEED, "/nowhere", "cpu"))
    assert answer == JobFailed(False, "as a test", "")
    status, out, err = process.finish()
    assert (status, out) == (0, b"")
    assert sorted(err.splitlines()) == ["from a child", "to descriptor 1", "to stdout"]


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from diffusion import worker
worker.main()
"""


def test_without_torch_the_answer_says_what_to_install() -> None:
    process = Process(WITHOUT_TORCH)
    _, answer = process.ask(Prepare("digits", 1, SEED, "/nowhere", "cpu"))
    process.stop()
    assert not answer.usage
    assert answer.message == "torch is not installed, so models cannot run here"
    assert 'pip install "pdfedchain[diffusion]"' in answer.hint


def raising(error: str) -> str:
    return f"""
from diffusion import worker
def fail(): raise {error}
worker._import_jobs = fail
worker.main()
"""


@pytest.mark.parametrize("error", ["OSError(28, 'No space left on device')", "RuntimeError('out of memory')"])
def test_trouble_of_the_machine_is_no_usage_error(error: str) -> None:
    process = Process(raising(error))
    _, answer = process.ask(Prepare("digits", 1, SEED, "/nowhere", "cpu"))
    process.stop()
    assert isinstance(answer, JobFailed)
    assert not answer.usage
    assert answer.hint


def test_a_bug_ends_the_worker_with_a_traceback_and_no_answer() -> None:
    process = Process(raising("AssertionError('a bug')"))
    process.send(frame(Prepare("digits", 1, SEED, "/nowhere", "cpu")))
    assert process.receive() == Progress("start", 0, 1, 0)
    status, out, err = process.finish()
    assert (status, out) == (1, b"")
    assert "AssertionError: a bug" in err


SLOW = """
import time
from diffusion import worker
def slow():
    time.sleep(600)
worker._import_jobs = slow
worker.main()
"""


def test_progress_is_repeated_while_nothing_new_comes_and_a_lost_node_ends_the_worker() -> None:
    process = Process(SLOW)
    process.send(frame(Prepare("digits", 1, SEED, "/nowhere", "cpu")))
    for _ in range(3):
        assert process.receive() == Progress("start", 0, 1, 0)
    assert process.process.stdout is not None
    process.process.stdout.close()
    assert process.process.wait(timeout=30) == 0
    process.process.stdout = None
    process.stop()


def test_a_wrong_number_of_threads_is_named() -> None:
    process = Process(PDFED_THREADS="many")
    _, answer = process.ask(Prepare("digits", 1, SEED, "/nowhere", "cpu"))
    process.stop()
    assert answer.usage
    assert answer.message == "PDFED_THREADS is 'many'"


def test_importing_the_package_and_the_worker_loads_no_torch() -> None:
    code = "import sys, diffusion, diffusion.worker; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_jobs_load_neither_diffusers_nor_the_compiler() -> None:
    code = (
        "import sys, diffusion.jobs; "
        "sys.exit(str([name for name in ('diffusers', 'torch._dynamo', 'sklearn', 'scipy') if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.stderr.strip() == "[]"
