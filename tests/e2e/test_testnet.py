"""``pdfed testnet`` and ``pdfed audit`` with real processes, real training and real scores.

One small testnet is made and run to its target; the tests look at what it left, continue it, damage copies of it.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from node.home import Home
from node.weights.store import WeightsStore
from pdfedchain.ids import parse_cid
from tests.e2e.network import pdfed, pdfed_json

pytestmark = pytest.mark.e2e

SCORE = {"cid", "qn", "fid", "v_a", "v_c", "r_c"}


@dataclass(frozen=True)
class Testnet:
    """What the first run left and said."""

    __test__ = False

    directory: Path
    answer: dict[str, Any]
    stderr: str

    @property
    def homes(self) -> list[Home]:
        return [Home(self.directory / f"node{index}") for index in range(3)]


@pytest.fixture(scope="module")
def testnet(tmp_path_factory: pytest.TempPathFactory) -> Testnet:
    directory = tmp_path_factory.mktemp("testnet") / "net"
    words = ["testnet", "--dir", directory, "--nodes", "3", "--submissions", "2", "--steps", "150", "--json"]
    done = pdfed(*words)
    lines = done.stdout.splitlines()
    assert len(lines) == 1, "with --json nothing but the object goes to standard output"
    return Testnet(directory, json.loads(lines[0]), done.stderr)


def wait(what: str, condition: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.2)


def test_what_it_answers(testnet: Testnet) -> None:
    answer = testnet.answer
    assert (3, True, str(testnet.directory)) == (answer["nodes"], answer["heads_agree"], answer["dir"])
    assert answer["submitted"] >= answer["settled"] >= 2
    assert answer["settled"] == answer["accepted"] + answer["rejected"]
    assert answer["ballots"] >= 3 * 2, "a quorum of three is everybody"
    assert answer["height"] > 0
    assert answer["wall_s"] > 0
    assert answer["died"] == []
    for name in ("first", "best"):
        assert (answer[name] is None) == (answer["accepted"] == 0)
        assert answer[name] is None or set(answer[name]) == SCORE
    if answer["best"]:
        assert answer["best"]["qn"] <= answer["first"]["qn"]
        assert Path(answer["samples"]).read_bytes().startswith(b"\x89PNG")
    assert "settled 2/2" in testnet.stderr
    assert "warning: 3 authorities" in testnet.stderr


def test_no_process_is_left(testnet: Testnet) -> None:
    for home in testnet.homes:
        with home.lock():
            pass


def test_the_homes_are_those_of_init_and_genesis(testnet: Testnet) -> None:
    roles = [[role.value for role in home.config().node.roles] for home in testnet.homes]
    assert roles == [["authority", "trainer"], ["authority", "trainer"], ["authority", "evaluator"]]
    assert len({home.genesis().genesis.hash for home in testnet.homes}) == 1
    assert all((home.path / "private" / "data" / "images.safetensors").is_file() for home in testnet.homes)


def test_the_audit_of_every_node_passes(testnet: Testnet) -> None:
    for index, home in enumerate(testnet.homes):
        scores = "all" if index == 0 else "none"
        answer = pdfed_json("audit", "--home", home.path, "--scores", scores)
        assert (answer["ok"], answer["problems"]) == (True, [])
        assert answer["blocks"] >= testnet.answer["height"] - 10
    answer = pdfed_json("audit", "--home", testnet.homes[0].path, "--scores", "1")
    assert (answer["scores_checked"], answer["scores_out_of_tolerance"]) == (1, 0)


def test_the_audit_names_a_damaged_weights_file(testnet: Testnet, tmp_path: Path) -> None:
    shutil.copytree(testnet.homes[0].path, tmp_path / "copy")
    home = Home(tmp_path / "copy")
    cid = _settled(home)[0]["cid"]
    block, path = _tensor_block(home, cid)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    answer = pdfed_json("audit", "--home", home.path, status=1)
    (problem,) = answer["problems"]
    assert problem["kind"] == "weights-damaged"
    for part in (cid, "unet/diffusion_pytorch_model.safetensors", block):
        assert part in problem["where"]


def test_the_chain_can_be_read(testnet: Testnet, tmp_path: Path) -> None:
    home = testnet.homes[1].path
    assert pdfed_json("status", "--home", home)["settled"] >= 2
    assert pdfed_json("participants", "--home", home)["participants"][0]["roles"]
    cid = _settled(Home(home))[0]["cid"]
    assert pdfed_json("provenance", cid, "--home", home)["cid"] == cid
    exported = pdfed_json("export", cid, "--home", home, "--out", tmp_path / "model")
    assert (Path(exported["out"]) / "unet" / "diffusion_pytorch_model.safetensors").is_file()


def test_it_can_be_resumed(testnet: Testnet) -> None:
    before = _settled(testnet.homes[0])
    answer = pdfed_json("testnet", "--dir", testnet.directory, "--resume", "--submissions", len(before) + 1)
    assert answer["heads_agree"]
    assert answer["settled"] > len(before)
    assert answer["height"] > testnet.answer["height"]
    after = {row["cid"]: row for row in _settled(testnet.homes[0])}
    for row in before:
        assert (row["score"], row["settled_height"]) == (
            after[row["cid"]]["score"],
            after[row["cid"]]["settled_height"],
        )


def test_a_target_that_is_not_reached_is_status_1(testnet: Testnet) -> None:
    words = ("testnet", "--dir", testnet.directory, "--resume", "--submissions", 500, "--duration", 8)
    answer = pdfed_json(*words, status=1)
    assert answer["settled"] < 500


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["SIGINT", "SIGKILL"])
def test_nodes_never_outlive_the_testnet(testnet: Testnet, tmp_path: Path, number: signal.Signals) -> None:
    words = ["testnet", "--dir", str(testnet.directory), "--resume", "--submissions", "500"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # an ignored signal would be inherited
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "node", *words], stdout=log, stderr=log)
    signal.signal(signal.SIGINT, before)
    try:
        wait("all nodes run", lambda: all(_holder(home) for home in testnet.homes))
        pids = [_holder(home) for home in testnet.homes]
        process.send_signal(number)
        process.wait(timeout=180)
    finally:
        process.kill()
        process.wait()
        sys.stdout.write((tmp_path / "log").read_text())
    if number is signal.SIGINT:
        assert process.returncode == 130
    wait("all nodes have ended", lambda: not any(_runs(pid) for pid in pids))


def test_an_unknown_data_set_is_wrong_use(tmp_path: Path) -> None:
    for _ in range(2):
        answer = pdfed_json("testnet", "--dir", tmp_path / "net", "--nodes", "1", "--dataset", "unicorns", status=2)
        assert "unicorns" in answer["error"]
    assert list((tmp_path / "net").iterdir()) == []


def _settled(home: Home) -> list[dict[str, Any]]:
    rows = pdfed_json("checkpoints", "--home", home.path)["checkpoints"]
    settled = [
        {key: row[key] for key in ("cid", "status", "score", "settled_height")}
        for row in rows
        if row["settled_height"] is not None
    ]
    return sorted(settled, key=lambda row: (row["settled_height"], row["cid"]))


def _tensor_block(home: Home, cid: str) -> tuple[str, Path]:
    """The first block of the tensors, and its file."""
    store = WeightsStore(home.weights_dir)
    scratch = home.path / "scratch"
    store.export(parse_cid(cid), scratch)
    tensors = (scratch / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    shutil.rmtree(scratch)
    for path in home.weights_dir.joinpath("blocks").rglob("b*"):
        if path.is_file() and path.stat().st_size and tensors.startswith(path.read_bytes()):
            return path.name, path
    raise AssertionError("the tensors have a block")


def _holder(home: Home) -> int:
    """Process that runs this home; 0 if there is none."""
    try:
        pid = int(home.lock_path.read_text() or 0)
    except FileNotFoundError:
        return 0
    return pid if pid and _runs(pid) else 0


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] if Path("/proc/self").exists() else ""
        )
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"  # it has ended, and whoever adopted it has not asked how
