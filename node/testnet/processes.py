"""Node processes of a testnet: ``pdfed run`` as users type it, one per home.

Each holds the reading end of a pipe of ours as its standard input and stops when that closes, so that nodes never
outlive a testnet that was killed. Ctrl-C reaches only the testnet, which then stops its nodes in order.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from node.home import Home

__all__ = ["STOP_TIMEOUT_S", "NodeProcess", "node_command", "start_nodes", "stop_nodes"]

#: From SIGTERM to SIGKILL.
STOP_TIMEOUT_S: Final = 15.0

_POLL_S: Final = 0.05
_TAIL_SIZE_BYTES: Final = 16_384


def node_command(home: Home) -> tuple[str, ...]:
    """What a user types to run this home, and a little more."""
    return sys.executable, "-m", "node", "run", "--home", str(home.path), "--stop-with-stdin"


class NodeProcess:
    """One running node."""

    def __init__(self, home: Home, command: Sequence[str]) -> None:
        """Start it; its output goes to ``logs/node.log`` of its home.

        Raises:
            OSError: it cannot be started.
        """
        self.home = home
        self.name = home.path.name
        #: An activity file older than this is an earlier run's.
        self.started_ms = time.time_ns() // 1_000_000
        home.logs_dir.mkdir(exist_ok=True)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )

    @property
    def log_path(self) -> Path:
        """Where it writes what it says."""
        return self.home.logs_dir / "node.log"

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """``None`` while it runs; negative for a signal."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it runs."""
        if self.exit_status is None:
            self._process.send_signal(number)

    def close(self) -> None:
        """Reap a process that has ended."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()

    def log_tail(self, lines: int = 12) -> list[str]:
        """The last lines it wrote."""
        try:
            with self.log_path.open("rb") as file:
                file.seek(max(0, self.log_path.stat().st_size - _TAIL_SIZE_BYTES))
                return file.read().decode("utf-8", "replace").splitlines()[-lines:]
        except OSError as error:
            return [f"(no log: {error.strerror})"]


def start_nodes(homes: list[Home], command_of: Callable[[Home], Sequence[str]] = node_command) -> list[NodeProcess]:
    """Start all, or none if one cannot be started.

    Args:
        command_of: replaced by tests.
    """
    started: list[NodeProcess] = []
    try:
        for home in homes:
            started.append(NodeProcess(home, command_of(home)))  # noqa: PERF401 - those started must be known when one fails
    except OSError:
        stop_nodes(started)
        raise
    return started


def stop_nodes(nodes: list[NodeProcess], timeout_s: float = STOP_TIMEOUT_S) -> list[str]:
    """SIGTERM to all, SIGKILL to those that do not end in time; on return none runs.

    Returns:
        Names of those that had to be killed.
    """
    for node in nodes:
        node.signal(signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while any(node.exit_status is None for node in nodes) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    killed = [node.name for node in nodes if node.exit_status is None]
    for node in nodes:
        node.signal(signal.SIGKILL)
        node.close()
    return killed
