"""``pdfed sample``: what is asked of the worker, and where the picture goes."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

import node.cli.sample
import node.sampling
from node.__main__ import main
from node.workers import Request, Result, Worker
from pdfedchain.ids import Cid, cid_text
from pdfedchain.types.jobs import Progress, Sample, Sampled
from tests.support.home_chain import HomeChain


class DrawingWorker(Worker):
    """Writes what it was asked in place of a picture."""

    requests: ClassVar[list[Sample]] = []

    async def run(self, request: Request, on_progress: Callable[[Progress], None] | None = None) -> Result:
        assert isinstance(request, Sample)
        assert (Path(request.checkpoint) / "weights.bin").read_bytes() == b"first" * 100
        type(self).requests.append(request)
        Path(request.output).write_bytes(b"picture")
        return Sampled(request.output, 30, 40)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> HomeChain:
    made = HomeChain(tmp_path_factory.mktemp("chain") / "alice")
    made.register()
    made.settle(made.submit("first"))
    made.close()
    return made


@pytest.fixture
def cid(chain: HomeChain) -> Cid:
    (found,) = chain.results
    return found


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Sample]:
    monkeypatch.setattr(DrawingWorker, "requests", [])
    monkeypatch.setattr(node.sampling, "Worker", DrawingWorker)
    monkeypatch.setattr(node.cli.sample, "require_diffusion", lambda what: None)
    return DrawingWorker.requests


def test_a_picture(
    chain: HomeChain, cid: Cid, requests: list[Sample], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "grid.png"
    words = ["sample", cid_text(cid), "--home", str(chain.home.path), "--out", str(out), "--per-class", "3"]
    assert main([*words, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert {"cid": cid_text(cid), "out": str(out), "width": 30, "height": 40, "classes": 10} == answer
    assert out.read_bytes() == b"picture"
    (request,) = requests
    checkpoint = chain.checkpoint(cid)
    assert (3, 6, "cpu", checkpoint.weights_digest) == (
        request.per_class,
        request.scale,
        request.device,
        request.weights_digest,
    )
    assert main([*words, "--seed", "1"]) == 0
    assert "wrote" in capsys.readouterr().out
    assert requests[0].seed != requests[1].seed
    assert not Path(requests[0].checkpoint).exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--per-class", "0"], "--per-class must be 1 to 1000"),
        (["--seed", "-1"], "--seed must be a number"),
        (["--out", "/nowhere/grid.png"], "/nowhere is no folder"),
        (["--out", "/"], "cannot be written"),
    ],
)
def test_wrong_use(
    chain: HomeChain,
    cid: Cid,
    requests: list[Sample],
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    message: str,
) -> None:
    words = ["sample", cid_text(cid), "--home", str(chain.home.path), "--out", "/tmp/unused.png", *more]
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_without_torch(
    chain: HomeChain, cid: Cid, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    words = ["sample", cid_text(cid), "--home", str(chain.home.path), "--out", "unused.png"]
    assert main(words) == 2
    assert 'pip install "pdfedchain[diffusion]"' in capsys.readouterr().err
