"""How long four nodes take to make a transfer final, beside how long they must take.

Four processes on this machine, connected over loopback, each with its durable files. Once they are nodes of a chain,
once they only send and write what the chain's nodes send and write (`node.benches.finality_floor`); the loads are the
same. The first load sends one transfer at a time, now here, now there: finality is the time from handing a transfer to
a node until that node has it in a durable final block. The second sends as many as are made final.

All four share this machine's cores with each other and with whatever else runs; processor time says what the chain
itself takes, of all four processes together. Transfers are signed before a load begins.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from node.benches.figures import Figure, percentile
from node.benches.processes import Processes

__all__ = ["bench_finality"]

_NODES: Final = 4

#: Between two transfers of one node in the first load: ten a second in all.
_INTERVAL_S: Final = 0.4

#: Transfers of each node that are not final yet, in the second load.
_ON_THE_WAY: Final = 500

_KINDS: Final = ("chain", "floor")
_TURNS: Final = 3


def _processes(kind: str, directory: Path) -> Processes:
    """The four, in one role."""
    modules = []
    for index in range(_NODES):
        home = directory / f"{kind}{index}"
        home.mkdir()
        modules.append(("node.benches.finality_process", kind, str(index), str(home)))
    return Processes(modules, directory)


def bench_finality(seconds: float) -> list[Figure]:
    """Measure each load for some seconds.

    Raises:
        StateError: a process failed.
    """
    one_by_one: dict[str, list[dict[str, Any]]] = {kind: [] for kind in _KINDS}
    full: dict[str, list[dict[str, Any]]] = {kind: [] for kind in _KINDS}
    with tempfile.TemporaryDirectory(prefix="pdfed-bench-") as name, ExitStack() as stack:
        processes = {kind: stack.enter_context(_processes(kind, Path(name))) for kind in _KINDS}
        for each in processes.values():
            each.load(sign=True)
            each.load(seconds=1.0, interval_s=_INTERVAL_S)
        # In turns: whatever else the machine does meanwhile slows both.
        for _ in range(_TURNS):
            for kind, each in processes.items():
                each.load(sign=True)
                one_by_one[kind] += each.load(seconds=seconds / _TURNS, interval_s=_INTERVAL_S)
        for _ in range(_TURNS):
            for kind, each in processes.items():
                each.load(sign=True)
                full[kind] += each.load(seconds=seconds / _TURNS, on_the_way=_ON_THE_WAY)
    figures = [_finality(one_by_one, percent) for percent in (50, 99)]
    chain, floor = (_cpu_ms(one_by_one[kind]) for kind in _KINDS)
    reference = f"{floor:.2f} ms for the messages and writes alone"
    alone = Figure("processor time of a height", chain, "ms, all nodes", reference, chain / floor)
    return [*figures, alone, *_throughput(full)]


def _latencies_ms(answers: Sequence[dict[str, Any]]) -> list[float]:
    return [1_000 * latency_s for answer in answers for latency_s in answer["latencies_s"]]


def _cpu_ms(answers: Sequence[dict[str, Any]]) -> float:
    """Of all four, for each transfer of one of them."""
    return 1_000 * sum(float(answer["cpu_s"]) for answer in answers) / max(len(_latencies_ms(answers)), 1)


def _finality(one_by_one: dict[str, list[dict[str, Any]]], percent: int) -> Figure:
    chain, floor = (percentile(_latencies_ms(one_by_one[kind]), percent) for kind in _KINDS)
    count = len(_latencies_ms(one_by_one["chain"]))
    reference = f"{floor:.1f} ms for the messages and writes alone; {count} transfers one by one"
    return Figure(f"finality p{percent}", chain, "ms", reference, chain / floor)


def _throughput(full: dict[str, list[dict[str, Any]]]) -> list[Figure]:
    def rate(answers: Sequence[dict[str, Any]]) -> float:
        return len(_latencies_ms(answers)) / (sum(float(answer["wall_s"]) for answer in answers) / _NODES)

    chain, floor = (full[kind] for kind in _KINDS)
    beside = "for the messages and writes alone"
    lost = sum(answer["lost"] for answer in chain)
    shape = f"{_NODES} nodes, {_NODES * _ON_THE_WAY} transfers on the way, {lost} lost"
    cores = os.cpu_count() or 1
    return [
        Figure("throughput", rate(chain), "1/s", f"{rate(floor):.0f}/s {beside}; {shape}", rate(chain) / rate(floor)),
        Figure(
            "processor time of a transfer",
            _cpu_ms(chain),
            "ms, all nodes",
            f"{_cpu_ms(floor):.3f} ms {beside}; {cores} free cores carry {1_000 * cores / _cpu_ms(chain):.0f}/s",
        ),
        Figure("finality p50 at full load", percentile(_latencies_ms(chain), 50), "ms", shape),
    ]
