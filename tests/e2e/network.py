"""Networks of real node processes for tests: homes made by the commands users type, one process per node.

Making a genesis trains a scorer for about a minute, so it is made once per test session and every test works on a copy
of its homes (`template` and `Network.copied_from`).
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from node.home import Home
from node.multiaddress import free_ports
from pdfedchain.codec import decode
from pdfedchain.errors import NotFound
from pdfedchain.limits import STATE_VALUE_SIZE_BYTES_MAX
from pdfedchain.state.view import CHECKPOINT_PREFIX
from pdfedchain.store.sqlite import SqliteStore
from pdfedchain.types.checkpoint import Checkpoint, CheckpointStatus

T = TypeVar("T")

SETTLED = (CheckpointStatus.ACCEPTED, CheckpointStatus.REJECTED)


def pdfed(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does."""
    done = subprocess.run(
        [sys.executable, "-m", "node", *map(str, arguments)], capture_output=True, text=True, timeout=1_500, check=False
    )
    if check and done.returncode:
        raise AssertionError(f"pdfed {arguments} exits {done.returncode}: {done.stderr[-2_000:]}")
    return done


def pdfed_json(*arguments: str | Path, status: int = 0) -> dict[str, Any]:
    """Run a command with ``--json`` and return its object."""
    done = pdfed(*arguments, "--json", check=False)
    assert done.returncode == status, f"pdfed {arguments} exits {done.returncode}: {done.stderr[-2_000:]}"
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def template(directory: Path, roles: Sequence[str], *, genesis_options: Sequence[str] = ()) -> Path:
    """Homes ``node0`` ... with a common genesis."""
    homes = []
    for index, (role, port) in enumerate(zip(roles, free_ports(len(roles)), strict=True)):
        home = directory / f"node{index}"
        pdfed(
            "init", "--home", home, "--name", f"node{index}", "--roles", role, "--listen", f"/ip4/127.0.0.1/tcp/{port}"
        )
        homes += ["--home", home]
    pdfed("genesis", "--chain-id", "e2e", "--dataset", "digits", *homes, "--out", directory, *genesis_options)
    return directory


class Network:
    """Node processes over the homes ``directory/node0`` ..."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.homes = [Home(path) for path in sorted(directory.glob("node*")) if path.is_dir()]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @classmethod
    def copied_from(cls, template_directory: Path, directory: Path) -> "Network":
        """A network over copies of the template's homes."""
        shutil.copytree(template_directory, directory)
        return cls(directory)

    def __enter__(self) -> "Network":
        return self

    def __exit__(self, *_: object) -> None:
        for index in list(self._processes):
            self.stop(index, signal.SIGTERM)

    def configure(self, index: int, old: str, new: str) -> None:
        """Change a line of one node's config.toml."""
        path = self.homes[index].config_path
        text = path.read_text()
        assert old in text, f"{old!r} is not in {path}"
        path.write_text(text.replace(old, new))

    def start(self, index: int, actor: str | None = None, *arguments: str | Path) -> None:
        """Start one node, or the actor of that name in its place."""
        home = self.homes[index]
        if actor is None:
            command = [sys.executable, "-m", "node", "run", "--home", str(home.path)]
        else:
            command = [sys.executable, "-m", f"tests.e2e.actors.{actor}", str(home.path), *map(str, arguments)]
        home.logs_dir.mkdir(exist_ok=True)
        with (home.logs_dir / "node.log").open("ab") as log:
            self._processes[index] = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                cwd=Path(__file__).parents[2],
            )

    def stop(self, index: int, how: signal.Signals) -> int:
        """End one node and return its exit status."""
        process = self._processes.pop(index)
        process.send_signal(how)
        try:
            return process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"node {index} did not stop within 30 s of {how.name}: {self.log(index)}") from None

    def running(self, index: int) -> bool:
        """Whether the process lives."""
        return self._processes[index].poll() is None

    def log(self, index: int) -> str:
        """The end of a node's log."""
        return (self.homes[index].logs_dir / "node.log").read_text(errors="replace")[-4_000:]

    def read(self, index: int, question: Callable[[SqliteStore], T]) -> T:
        """Ask one node's chain, also while it runs."""
        store = SqliteStore.open_read_only(self.homes[index].chain_db)
        try:
            return question(store)
        finally:
            store.close()

    def height(self, index: int) -> int:
        """Last final height of one node; 0 before it has made its database."""
        try:
            return self.read(index, lambda store: store.height())
        except NotFound:
            return 0

    def checkpoints(self, index: int) -> list[Checkpoint]:
        """All submitted checkpoints as one node sees them, in order of submission."""
        try:
            values = self.read(index, lambda store: [value for _, value in store.state_items(CHECKPOINT_PREFIX)])
        except NotFound:
            return []
        found = [decode(Checkpoint, value, size_bytes_max=STATE_VALUE_SIZE_BYTES_MAX) for value in values]
        return sorted(found, key=lambda checkpoint: checkpoint.submitted_height)

    def settled(self, index: int) -> list[Checkpoint]:
        """Accepted and rejected checkpoints."""
        return [checkpoint for checkpoint in self.checkpoints(index) if checkpoint.status in SETTLED]

    def wait(self, what: str, condition: Callable[[], bool], *, timeout_s: float) -> None:
        """Poll until ``condition`` holds; a node that dies meanwhile fails the test at once."""
        end = time.monotonic() + timeout_s
        while not condition():
            for index, process in self._processes.items():
                assert process.poll() is None, f"node {index} died with {process.poll()}: {self.log(index)}"
            if time.monotonic() > end:
                logs = "\n".join(f"--- node {index}\n{self.log(index)}" for index in self._processes)
                raise AssertionError(f"not within {timeout_s:.0f} s: {what}\n{logs}")
            time.sleep(0.5)

    def heads_agree(self) -> bool:
        """Whether all nodes have the same block at the lowest common height, above genesis."""
        lowest = min(self.height(index) for index in range(len(self.homes)))
        hashes = {
            self.read(index, lambda store: store.final_block(lowest).block.hash) for index in range(len(self.homes))
        }
        return lowest > 0 and len(hashes) == 1
