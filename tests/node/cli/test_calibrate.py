"""``pdfed calibrate``: what is asked of the worker, and what is made of its answer."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

import node.cli.calibrate
from node.__main__ import main
from node.workers import Request, Result, Worker
from pdfedchain.ids import Hash
from pdfedchain.types.jobs import Calibrate, Calibrated, Progress
from pdfedchain.types.score import ScoreReport
from tests.support.home_chain import HomeChain

KNOWN = (
    ScoreReport(64, 0, 0, 0, 0, 400_000_000, Hash(b"\x01" * 32)),
    ScoreReport(64, 40, 20, 600_000, 900_000, 9_000_000, Hash(b"\x02" * 32)),
)


class CalibratingWorker(Worker):
    answer: ClassVar[Calibrated]
    requests: ClassVar[list[Calibrate]]

    async def run(self, request: Request, on_progress: Callable[[Progress], None] | None = None) -> Result:
        assert isinstance(request, Calibrate)
        assert (Path(request.reference) / "weights.bin").read_bytes() == b"reference" * 100
        assert (Path(request.scorer) / "weights.bin").read_bytes() == b"scorer" * 100
        type(self).requests.append(request)
        return type(self).answer


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> HomeChain:
    made = HomeChain(tmp_path_factory.mktemp("chain") / "alice")
    made.block()
    made.close()
    return made


Ask = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def ask(chain: HomeChain, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    monkeypatch.setattr(node.cli.calibrate, "Worker", CalibratingWorker)
    monkeypatch.setattr(node.cli.calibrate, "require_diffusion", lambda what: None)
    monkeypatch.setattr(CalibratingWorker, "requests", [], raising=False)

    def run(answer: Calibrated, *words: str) -> tuple[int, dict[str, Any], str]:
        monkeypatch.setattr(CalibratingWorker, "answer", answer, raising=False)
        command = ["calibrate", "--home", str(chain.home.path), *words]
        status = main([*command, "--json"])
        plain = json.loads(capsys.readouterr().out)
        assert main(command) == status
        return status, plain, capsys.readouterr().out

    return run


def test_a_machine_that_scores_alike_and_in_time_can_be_an_authority(ask: Ask, chain: HomeChain) -> None:
    status, plain, text = ask(Calibrated(KNOWN, KNOWN, (), 2_000), "--device", "cuda:1")
    assert status == 0
    assert plain["can_be_authority"] is True
    assert plain["needed_ms"] == 2_000 * chain.task.scoring_at_once_max
    assert [score["agrees"] for score in plain["scores"]] == [True, True]
    assert f"this machine can be an authority of task {chain.task.name}" in text
    request = CalibratingWorker.requests[0]
    assert (request.device, request.scoring, request.model) == ("cuda:1", chain.task.scoring, chain.task.model)


def test_each_reason_against_is_shown(ask: Ask, chain: HomeChain) -> None:
    other = (KNOWN[0], replace(KNOWN[1], confirmed=18, images_hash=Hash(b"\x03" * 32)))
    status, plain, text = ask(Calibrated(KNOWN, other, (), 2_000))
    assert status == 1
    assert [score["agrees"] for score in plain["scores"]] == [True, False]
    assert plain["scores"][1]["components"]["confirmed"]["difference"] == -2
    assert "noisy reference images: OUTSIDE the task's tolerance, other images" in text
    assert "cannot be an authority" in text

    status, plain, text = ask(Calibrated(KNOWN, KNOWN, ("the noise table is another one",), 2_000))
    assert status == 1
    assert "self-test: the noise table is another one" in text

    status, plain, _ = ask(Calibrated(KNOWN, KNOWN, (), plain["deadline_ms"] + 1))
    assert (status, plain["can_be_authority"]) == (1, False)


def test_an_unknown_task_is_named(chain: HomeChain, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--home", str(chain.home.path), "--task", "birds"]) == 2
    assert "no task 'birds'" in capsys.readouterr().err
