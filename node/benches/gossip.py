"""How many messages a second gossip carries between nodes, and whether any is lost in the end.

Four and seven processes on this machine, connected to each other over loopback; all publish at the same rate, messages
of 500 bytes. Once they gossip as nodes do (`node.host.gossip`), once they do the least that could replace it: a flood
over one stream to each peer, every message signed by its author and verified by everybody. Both are loaded in turns.

The offered rate grows by half from step to step. A rate is *sustained* if every process has every message within
`_PATIENCE_S` of the last one sent, and sending kept its pace, in the first try or in the second: a machine that pauses
for a moment ends no series. Latency is from publishing to each receiving process, at half of the lower of both
sustained rates; processor time is that of all processes, for each message and process. Then 10,000 messages are
published at four fifths of the sustained rate, with lost ones being pulled: the check is that none is missing anywhere
in the end.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from node.benches.figures import Figure
from node.benches.processes import Processes

__all__ = ["bench_gossip"]

_SIZES: Final = (4, 7)
_KINDS: Final = ("gossip", "flood")

#: Of all processes together, per second; the steps go on from the last one that was sustained.
_RATE_FIRST: Final = 40.0
_RATE_MAX: Final = 6_000.0
_STEP: Final = 1.5
_STEP_S: Final = 3.0

_PATIENCE_S: Final = 1.0
_LATE: Final = 1.1
_TRIES: Final = 2

#: Of the sustained rate, for the check.
_SUSTAINABLE: Final = 0.8

#: After the last message of the check: several rounds of pulling from each peer.
_LOSS_PATIENCE_S: Final = 60.0
_LINGER_S: Final = 12.0


class _Group:
    """Processes of one kind."""

    def __init__(self, kind: str, count: int, processes: Processes) -> None:
        self.kind = kind
        self.count = count
        self._processes = processes
        self.sustained = 0.0
        self._load = 0
        self._has_failed = False

    def offer(self, rate: float, total: int, patience_s: float, linger_s: float = 0.0) -> list[dict[str, Any]]:
        """Have all together publish so many messages."""
        each = max(round(total / self.count), 1)
        self._load += 1
        return self._processes.load(
            load=self._load,
            count=each,
            rate=rate / self.count,
            expected=each * self.count,
            patience_s=patience_s,
            linger_s=linger_s,
        )

    def step(self, rate: float) -> bool:
        """Try a rate, unless a lower one was too much already; false when there is nothing more to try."""
        if self._has_failed:
            return False
        self._has_failed = not any(self._is_sustained(rate) for _ in range(_TRIES))
        if not self._has_failed:
            self.sustained = rate
        return not self._has_failed

    def _is_sustained(self, rate: float) -> bool:
        answers = self.offer(rate, round(rate * _STEP_S), _PATIENCE_S)
        total = max(round(rate * _STEP_S / self.count), 1) * self.count
        kept_pace = all(answer["sent_s"] <= _LATE * _STEP_S for answer in answers)
        return kept_pace and all(answer["received"] == total for answer in answers)


def bench_gossip(messages: int = 10_000) -> list[Figure]:
    """Measure both numbers of processes.

    Raises:
        StateError: a process failed.
    """
    figures: list[Figure] = []
    for count in _SIZES:
        figures += _bench(count, messages)
    return figures


def _bench(count: int, messages: int) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="pdfed-bench-") as name, ExitStack() as stack:
        groups = {}
        for kind in _KINDS:
            modules = [("node.benches.gossip_process", kind, str(index), str(count)) for index in range(count)]
            groups[kind] = _Group(kind, count, stack.enter_context(Processes(modules, Path(name))))
        for group in groups.values():
            group.offer(_RATE_FIRST, count, _PATIENCE_S)
        rate = _RATE_FIRST
        while rate <= _RATE_MAX and sum(group.step(rate) for group in groups.values()):
            rate *= _STEP
        # Both at the same rate, or the difference in load would be in the figures.
        rate = max(min(group.sustained for group in groups.values()) / 2, _RATE_FIRST / 2)
        quiet = {kind: group.offer(rate, round(2 * rate * _STEP_S), 10.0) for kind, group in groups.items()}
        sustainable = max(_SUSTAINABLE * groups["gossip"].sustained, rate)
        check = groups["gossip"].offer(sustainable, messages, _LOSS_PATIENCE_S, _LINGER_S)
        expected = max(round(messages / count), 1) * count
    gossip, flood = groups["gossip"].sustained, groups["flood"].sustained
    of = f"{count} processes"
    beside = "by a bare flood"
    cpu, floor = (_cpu_ms(quiet[kind], rate, count) for kind in _KINDS)
    lost = sum(expected - answer["received"] for answer in check)
    pulled, dropped = (sum(answer[what] for answer in check) for what in ("pulled", "dropped"))
    return [
        Figure(f"{of}: sustained", gossip, "messages/s", f"{flood:.0f} {beside}", gossip / flood if flood else None),
        Figure(f"{of}: processor time", cpu, "ms per message and node", f"{floor:.2f} {beside}", cpu / floor),
        *(_latency(of, quiet, rate, what) for what in ("p50", "p99")),
        Figure(
            f"{of}: lost of {expected}",
            lost,
            "messages, at all nodes",
            f"at {sustainable:.0f}/s; {dropped} dropped by queues, {pulled} pulled",
        ),
    ]


def _cpu_ms(answers: Sequence[dict[str, Any]], rate: float, count: int) -> float:
    messages = max(round(2 * rate * _STEP_S / count), 1) * count
    return 1_000 * sum(float(answer["cpu_s"]) for answer in answers) / (messages * count)


def _latency(of: str, quiet: dict[str, list[dict[str, Any]]], rate: float, what: str) -> Figure:
    """The middle process's figure."""
    gossip, flood = (
        1_000 * sorted(answer[f"{what}_s"] for answer in quiet[kind])[len(quiet[kind]) // 2] for kind in _KINDS
    )
    reference = f"{flood:.1f} ms by a bare flood; both at {rate:.0f}/s"
    return Figure(f"{of}: latency {what}", gossip, "ms", reference, gossip / flood)
