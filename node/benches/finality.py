"""How long four nodes take to make a transfer final, beside how long they must take.

Four processes on this machine, connected over loopback, each with its durable files. Once they are nodes of a chain,
once they only send and write what the chain's nodes send and write (`node.benches.finality_floor`); the loads are the
same. The first load sends one transfer at a time, now here, now there: finality is the time from handing a transfer to
a node until that node has it in a durable final block. The second sends as many as are made final.

All four share this machine's cores with each other and with whatever else runs; processor time says what the chain
itself takes, of all four processes together.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

from node.benches.figures import Figure, percentile
from pdfedchain.errors import StateError

__all__ = ["bench_finality"]

_NODES: Final = 4

#: Between two transfers of one node in the first load: ten a second in all.
_INTERVAL_S: Final = 0.4

#: Transfers of each node that are not final yet, in the second load.
_ON_THE_WAY: Final = 500

_STOP_TIMEOUT_S: Final = 20.0


class _Processes:
    """The four, in one role."""

    def __init__(self, kind: str, directory: Path) -> None:
        self._processes: list[subprocess.Popen[str]] = []
        for index in range(_NODES):
            home = directory / f"{kind}{index}"
            home.mkdir()
            command = (sys.executable, "-m", "node.benches.finality_process", kind, str(index), str(home))
            with (home / "errors.log").open("wb") as errors:
                process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, bufsize=1
                )
            self._processes.append(process)
        self._directory = directory

    def __enter__(self) -> Self:
        addresses = [answer["address"] for answer in self._hear()]
        self._say({"addresses": addresses})
        self._hear()
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def load(self, **command: Any) -> list[dict[str, Any]]:
        """Have all four do this; what each measured."""
        self._say(command)
        return self._hear()

    def _say(self, command: dict[str, Any]) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(json.dumps(command) + "\n")

    def _hear(self) -> list[dict[str, Any]]:
        answers = []
        for process in self._processes:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise StateError("a process of the bench has ended", hint="its error output has been shown above")
            answers.append(json.loads(line))
        return answers


def bench_finality(seconds: float) -> list[Figure]:
    """Measure each load for some seconds.

    Raises:
        StateError: a process failed.
    """
    with tempfile.TemporaryDirectory(prefix="pdfed-bench-") as name:
        latencies: dict[str, list[float]] = {}
        full: dict[str, list[dict[str, Any]]] = {}
        for kind in ("floor", "chain"):
            with _Processes(kind, Path(name)) as processes:
                processes.load(seconds=1.0, interval_s=_INTERVAL_S)
                one_by_one = processes.load(seconds=seconds, interval_s=_INTERVAL_S)
                latencies[kind] = [each for answer in one_by_one for each in answer["latencies_s"]]
                processes.load(seconds=2.0, on_the_way=_ON_THE_WAY)
                full[kind] = processes.load(seconds=seconds, on_the_way=_ON_THE_WAY)
    figures = [_finality(latencies, percent) for percent in (50, 99)]
    return [*figures, *_throughput(full)]


def _finality(latencies: dict[str, list[float]], percent: int) -> Figure:
    chain, floor = (1_000 * percentile(latencies[kind], percent) for kind in ("chain", "floor"))
    reference = f"{floor:.1f} ms for the messages and writes alone; {len(latencies['chain'])} transfers"
    return Figure(f"finality p{percent}", chain, "ms", reference, chain / floor)


def _throughput(full: dict[str, list[dict[str, Any]]]) -> list[Figure]:
    def rate(answers: Sequence[dict[str, Any]]) -> float:
        return min(float(answer["final"] / answer["wall_s"]) for answer in answers)

    def cpu_ms(answers: Sequence[dict[str, Any]]) -> float:
        final = max(min(int(answer["final"]) for answer in answers), 1)
        return 1_000 * sum(float(answer["cpu_s"]) for answer in answers) / final

    chain, floor = full["chain"], full["floor"]
    beside = "for the messages and writes alone"
    lost = sum(answer["lost"] for answer in chain)
    shape = f"{_NODES} nodes, {_NODES * _ON_THE_WAY} transfers on the way, {lost} lost"
    waits = percentile([each for answer in chain for each in answer["latencies_s"]], 50)
    return [
        Figure("throughput", rate(chain), "1/s", f"{rate(floor):.0f}/s {beside}; {shape}", rate(chain) / rate(floor)),
        Figure(
            "throughput of free cores",
            1_000 * (os.cpu_count() or 1) / cpu_ms(chain),
            "1/s",
            f"what {os.cpu_count()} cores carry by the processor time of a transfer, with nothing else to do",
        ),
        Figure("processor time", cpu_ms(chain), "ms per transfer, all nodes", f"{cpu_ms(floor):.3f} ms {beside}"),
        Figure("finality p50 at full load", 1_000 * waits, "ms", shape),
    ]
