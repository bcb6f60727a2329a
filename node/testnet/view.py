"""Showing a testnet while it runs: a table that rewrites itself on a terminal, else a line every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from node.cli.output import Output
from node.testnet.watch import Snapshot

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["View", "open_view", "status_line"]

_LINE_INTERVAL_S = 5.0
_CHECKPOINTS_SHOWN = 12


class View(Protocol):
    """Where snapshots go."""

    def show(self, snapshot: Snapshot, elapsed_s: float, submissions: int) -> None:
        """Show the newest state."""


@contextmanager
def open_view(output: Output) -> Iterator[View]:
    """The live view that suits where the output goes."""
    if output.as_json or not sys.stdout.isatty():
        yield _Lines(output)
        return
    from rich.live import Live

    with Live(refresh_per_second=2, transient=True) as live:
        yield _Table(live.update)


def status_line(snapshot: Snapshot, elapsed_s: float, submissions: int) -> str:
    """The whole testnet in one line."""
    chain = snapshot.chain
    parts = [f"{elapsed_s:4.0f} s"]
    if chain is None:
        parts.append("starting")
    else:
        counts = chain.counts
        parts.append(f"height {chain.height}")
        parts.append(f"settled {counts['settled']}/{submissions}, accepted {counts['accepted']}")
    for node in snapshot.nodes:
        if node.exit_status is not None:
            parts.append(f"{node.name} ENDED ({node.exit_status})")
        elif node.doing:
            parts.append(f"{node.name} {', '.join(node.doing)}")
    return " | ".join(parts)


class _Lines:
    def __init__(self, output: Output) -> None:
        self._output = output
        self._last = (-_LINE_INTERVAL_S, -1)

    def show(self, snapshot: Snapshot, elapsed_s: float, submissions: int) -> None:
        now_s = time.monotonic()
        last_s, last_settled = self._last
        if now_s - last_s >= _LINE_INTERVAL_S or snapshot.settled != last_settled:
            self._last = (now_s, snapshot.settled)
            self._output.note(status_line(snapshot, elapsed_s, submissions))


class _Update(Protocol):
    def __call__(self, renderable: RenderableType, /) -> None: ...


class _Table:
    def __init__(self, update: _Update) -> None:
        self._update = update

    def show(self, snapshot: Snapshot, elapsed_s: float, submissions: int) -> None:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        chain = snapshot.chain
        height = "–" if chain is None else chain.height
        head = Text(f"{elapsed_s:.0f} s   height {height}   settled {snapshot.settled}/{submissions}", style="bold")
        nodes = Table("node", "roles", "height", "peers", "doing", box=None, pad_edge=False)
        for node in snapshot.nodes:
            ended = node.exit_status is not None
            doing = f"ended with status {node.exit_status}" if ended else ", ".join(node.doing) or "–"
            shown = "–" if node.height is None else str(node.height)
            nodes.add_row(node.name, node.roles, shown, str(node.peers), doing, style="red" if ended else None)
        rows = () if chain is None else chain.checkpoints[-_CHECKPOINTS_SHOWN:]
        checkpoints = Table(
            "checkpoint", "author", "status", "QN", "FID", "R_C", "scores", "votes", box=None, pad_edge=False
        )
        styles = {"accepted": "green", "rejected": "red", "quarantined": "yellow"}
        for row in rows:
            score = row["score"]
            numbers = [f"{score[name]:.4g}" if score else "–" for name in ("qn", "fid", "r_c")]
            votes = [f"{kind['revealed']}/{kind['committed']}" for kind in row["ballots"].values()]
            author = row["author_name"] or row["author"][:8]
            status = row["reason"] or row["status"]
            checkpoints.add_row(
                f"…{row['cid'][-8:]}", author, status, *numbers, *votes, style=styles.get(row["status"])
            )
        self._update(Group(head, Text(), nodes, Text(), checkpoints))
