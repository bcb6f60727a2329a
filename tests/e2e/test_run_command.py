"""``pdfed run`` as a process: how it stops, and what it refuses. One authority, no training."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node.home import Home
from node.multiaddress import free_ports
from node.reader import open_reader
from tests.support.home_chain import HomeChain
from tests.support.waiting import wait_until

pytestmark = pytest.mark.e2e

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with a short chain, of an authority that does not train."""
    chain = HomeChain(tmp_path / "alice")
    chain.register()
    chain.close()
    config = chain.home.config_path
    (port,) = free_ports(1)
    config.write_text(config.read_text().replace(', "trainer"', "").replace("/tcp/4610", f"/tcp/{port}"))
    return chain.home


@pytest.fixture
def start(home: Home) -> Iterator[Start]:
    """Starts nodes; none is left when the test is over."""
    running: list[subprocess.Popen[str]] = []

    def begin(*more: str, wait: bool = True) -> "subprocess.Popen[str]":
        with (home.path / "stderr").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "node", "run", "--home", str(home.path), *more],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        running.append(process)
        if wait:
            log = home.path / "stderr"
            wait_until(lambda: "listens on" in log.read_text() or process.poll() is not None)
            assert "listens on" in log.read_text(), log.read_text()
        return process

    yield begin
    for process in running:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def stderr(home: Home) -> str:
    return (home.path / "stderr").read_text()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"])
def test_a_signal_stops_it_cleanly(home: Home, start: Start, number: signal.Signals, status: int) -> None:
    process = start("--json")
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    assert status == process.returncode
    assert {"home": str(home.path), "stopped_by": number.name} == json.loads(output)
    assert "Traceback" not in stderr(home)


def test_it_makes_blocks_and_stops_at_a_height(home: Home, start: Start) -> None:
    with open_reader(home) as reader:
        height = reader.height() + 2
    process = start("--until-height", str(height), "--json", wait=False)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, stderr(home)
    assert json.loads(output)["stopped_by"] is None
    with open_reader(home) as reader:
        assert reader.height() >= height


def test_it_ends_with_its_standard_input_if_told_so(home: Home, start: Start) -> None:
    process = start("--stop-with-stdin")
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=30) == 0


def test_a_second_process_is_refused_and_the_first_goes_on(home: Home, start: Start) -> None:
    first = start()
    done = subprocess.run(
        [sys.executable, "-m", "node", "run", "--home", str(home.path), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"is in use by process {first.pid}" in json.loads(done.stdout)["error"]
    assert first.poll() is None


def test_a_port_that_is_taken(home: Home, start: Start) -> None:
    port = int(home.config().network.listen.rpartition("/")[2])
    with socket.create_server(("127.0.0.1", port)):
        process = start("--json", wait=False)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 2, stderr(home)
    assert f"/tcp/{port}" in json.loads(output.splitlines()[-1])["error"]
    assert "Traceback" not in stderr(home)


def test_a_chain_of_another_genesis(home: Home, start: Start, tmp_path: Path) -> None:
    other = HomeChain(tmp_path / "other")
    other.close()
    home.genesis_path.write_bytes(other.home.genesis_path.read_bytes())
    process = start(wait=False)
    assert process.wait(timeout=30) == 2
    assert "holds another chain than" in stderr(home)
