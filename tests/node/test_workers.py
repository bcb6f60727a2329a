"""The worker client against a worker that crashes, babbles, is silent, or behaves."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from node.errors import ExtraMissing, JobBroke, JobError, JobRefused, WorkerDied
from node.workers import Worker, require_diffusion
from pdfedchain.errors import InputError
from pdfedchain.ids import Hash
from pdfedchain.types.jobs import Progress, Sample, Sampled
from tests.support import worker_script
from tests.support.ledger import MODEL

COMMAND = (sys.executable, worker_script.__file__ or "")


def job(kind: str) -> Sample:
    return Sample(MODEL, "/checkpoint", Hash(bytes(32)), 1, 1, 1, Hash(bytes(32)), "/grid.png", kind)


@asynccontextmanager
async def worker(logs: Path, niceness: int = 0, **environment: str) -> AsyncIterator[Worker]:
    async with Worker("test", logs, niceness=niceness, environment=environment, command=COMMAND) as made:
        with trio.fail_after(30):
            yield made


async def told(made: Worker) -> tuple[int, int, str]:
    """Process id, niceness and OMP_NUM_THREADS of the running worker, by its own account."""
    result = await made.run(job("pid"))
    assert isinstance(result, Sampled)
    pid, niceness, threads = result.output.split()
    return int(pid), int(niceness), threads


async def test_progress_comes_before_the_result(tmp_path: Path) -> None:
    seen: list[Progress] = []
    async with worker(tmp_path) as made:
        assert made.pid is None
        result = await made.run(job("progress"), seen.append)
    assert Sampled("/grid.png", 10, 20) == result
    assert [progress.done for progress in seen] == [0, 1, 2]


async def test_a_process_is_kept_for_the_next_job(tmp_path: Path) -> None:
    async with worker(tmp_path) as made:
        first, _, _ = await told(made)
        second, _, _ = await told(made)
        assert first == second == made.pid


async def test_environment_and_niceness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    own = os.nice(0)
    async with worker(tmp_path, niceness=3) as made:
        _, niceness, threads = await told(made)
    assert (min(own + 3, 19), "1") == (niceness, threads)
    async with worker(tmp_path, OMP_NUM_THREADS="2") as made:
        _, _, threads = await told(made)
    assert threads == "2"


@pytest.mark.parametrize(
    ("kind", "error", "sentence"),
    [
        ("refuse", JobRefused, "no such folder"),
        ("break", JobBroke, "out of memory"),
    ],
)
async def test_a_failed_job_leaves_the_worker_alive(
    tmp_path: Path, kind: str, error: type[JobError], sentence: str
) -> None:
    async with worker(tmp_path) as made:
        before, _, _ = await told(made)
        with pytest.raises(error, match=sentence):
            await made.run(job(kind))
        after, _, _ = await told(made)
        assert before == after


@pytest.mark.parametrize(
    ("kind", "sentence", "status"),
    [
        ("crash", "ended in the middle of a job .exit status 7.: something terrible", 7),
        ("torn", "ended in the middle of a job", 0),
        ("garbage", "no message", None),
        ("oversized", "announced a frame of", None),
        ("empty", "announced a frame of 0 bytes", None),
        ("other", "answered Trained to Sample", None),
    ],
)
async def test_a_useless_worker_is_replaced(tmp_path: Path, kind: str, sentence: str, status: int | None) -> None:
    async with worker(tmp_path) as made:
        before, _, _ = await told(made)
        with pytest.raises(WorkerDied, match=sentence) as caught:
            await made.run(job(kind))
        assert status == caught.value.exit_status
        assert made.pid is None
        after, _, _ = await told(made)
        assert before != after
        assert not _exists(before)


async def test_cancelling_kills_the_process_and_the_next_job_starts_another(tmp_path: Path) -> None:
    async with worker(tmp_path) as made:
        before, _, _ = await told(made)
        with trio.move_on_after(0.2) as scope:
            await made.run(job("silence"))
        assert scope.cancelled_caught
        assert not _exists(before)
        after, _, _ = await told(made)
        assert before != after


async def test_one_job_at_a_time(tmp_path: Path) -> None:
    order: list[str] = []

    async def run(made: Worker, name: str) -> None:
        await made.run(job("progress"), lambda _: order.append(name))

    async with worker(tmp_path) as made, trio.open_nursery() as nursery:
        nursery.start_soon(run, made, "a")
        nursery.start_soon(run, made, "b")
    assert order in (["a"] * 3 + ["b"] * 3, ["b"] * 3 + ["a"] * 3)


async def test_a_worker_that_ends_between_jobs_is_replaced(tmp_path: Path) -> None:
    async with worker(tmp_path) as made:
        assert Sampled("answer", 1, 1) == await made.run(job("late"))
        gone = made.pid
        while made.pid is not None:
            await trio.sleep(0.01)
        after, _, _ = await told(made)
        assert gone != after


async def test_closing_ends_the_process_and_may_be_repeated(tmp_path: Path) -> None:
    async with worker(tmp_path) as made:
        pid, _, _ = await told(made)
        await made.aclose()
        assert not _exists(pid)
        await made.aclose()


async def test_a_command_that_cannot_start_is_an_error_of_the_machine(tmp_path: Path) -> None:
    async with Worker("test", tmp_path, command=(str(tmp_path / "nothing"),)) as made:
        with pytest.raises(FileNotFoundError):
            await made.run(job("pid"))


async def test_no_torch_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ExtraMissing, match=r'pip install "pdfedchain\[diffusion\]"'):
        require_diffusion("scoring")
    async with Worker("test", tmp_path) as made:
        with pytest.raises(ExtraMissing, match="diffusion"):
            await made.run(job("pid"))


def test_a_broken_worker_is_no_verdict_on_the_input() -> None:
    assert not any(issubclass(error, InputError) for error in (JobRefused, JobBroke, WorkerDied))


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
