"""Running a testnet to its end: start, watch, stop, compare, report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from node.home import Home
from node.reader import open_reader
from node.testnet.interruption import Interruption
from node.testnet.processes import NodeProcess, start_nodes, stop_nodes
from node.testnet.watch import Snapshot, Watcher, heads_agree
from pdfedchain.errors import PdfedError, StateError, UsageError
from pdfedchain.ids import cid_text
from pdfedchain.types.checkpoint import Checkpoint, CheckpointStatus
from pdfedchain.types.task import TaskSpec

__all__ = ["Ending", "TestnetFailed", "best_checkpoint", "report", "run_testnet"]

_LOOK_INTERVAL_S: Final = 1.0

#: How long the slower nodes may take to get the block that reached the target.
_CATCH_UP_TIMEOUT_S: Final = 20.0


class TestnetFailed(PdfedError):
    """So many nodes have ended that the chain cannot go on."""

    __test__ = False  # the name is not a test's


@dataclass(frozen=True, slots=True)
class Ending:
    """How it ended.

    Attributes:
        reached: whether enough checkpoints were settled in time.
        died: names of nodes that ended by themselves.
        killed: names of nodes that did not stop when asked to.
    """

    reached: bool
    died: tuple[str, ...]
    killed: tuple[str, ...]


def run_testnet(
    homes: list[Home],
    *,
    submissions: int,
    duration_s: float,
    show: Callable[[Snapshot, float], None],
    note: Callable[[str], None],
    start: Callable[[list[Home]], list[NodeProcess]] = start_nodes,
) -> Ending:
    """Run the nodes until enough checkpoints are settled or the time is over; none runs on return.

    Args:
        show: called about once a second with the state and the seconds since the start.
        note: told what a person should know at once, for example that a node has died.
        start: replaced by tests.

    Raises:
        TestnetFailed: the nodes left are no quorum.
    """
    nodes = start(homes)
    died: list[str] = []
    killed: list[str] = []
    try:
        with Interruption() as interruption, Watcher(nodes) as watcher:
            started_s = time.monotonic()
            while True:
                interruption.check()
                snapshot = watcher.look()
                elapsed_s = time.monotonic() - started_s
                show(snapshot, elapsed_s)
                _report_deaths(nodes, died, note)
                if snapshot.settled >= submissions or elapsed_s >= duration_s:
                    break
                time.sleep(_LOOK_INTERVAL_S)
            reached = snapshot.settled >= submissions
            _wait_for_the_slower(watcher, snapshot)
    finally:
        killed += stop_nodes(nodes)
    return Ending(reached, tuple(died), tuple(killed))


def _report_deaths(nodes: list[NodeProcess], died: list[str], note: Callable[[str], None]) -> None:
    for node in nodes:
        if node.exit_status is not None and node.name not in died:
            died.append(node.name)
            tail = "\n".join(f"  | {line}" for line in node.log_tail())
            note(f"{node.name} has ended with status {node.exit_status}; the end of {node.log_path}:\n{tail}")
    alive = len(nodes) - len(died)
    if died and 3 * alive <= 2 * len(nodes):
        raise TestnetFailed(
            f"{', '.join(died)} ended; the {alive} of {len(nodes)} authorities left cannot make blocks",
            hint="the end of each log is above; `--resume` continues once that is mended",
        )


def _wait_for_the_slower(watcher: Watcher, snapshot: Snapshot) -> None:
    """Until all nodes that run have the newest block seen so far, or for some seconds."""
    target = max(snapshot.heights, default=0)
    deadline_s = time.monotonic() + _CATCH_UP_TIMEOUT_S
    while min(watcher.look().heights, default=target) < target and time.monotonic() < deadline_s:
        time.sleep(_LOOK_INTERVAL_S / 4)


def _highest(homes: list[Home]) -> tuple[Home, int]:
    """The home with the longest chain."""
    heights = []
    for home in homes:
        try:
            with open_reader(home) as reader:
                heights.append(reader.height())
        except (UsageError, StateError):
            heights.append(-1)
    best = max(range(len(homes)), key=lambda index: heights[index])
    return homes[best], heights[best]


def report(homes: list[Home]) -> dict[str, Any]:
    """What the stopped testnet's chain says, for ``--json`` (without times and paths) and for the table at the end.

    Raises:
        TestnetFailed: no node has a chain.
    """
    home, height = _highest(homes)
    if height < 0:
        raise TestnetFailed("no node has started a chain", hint=f"see {homes[0].logs_dir / 'node.log'}")
    try:
        agree = heads_agree(homes)
    except (UsageError, StateError):
        agree = False
    with open_reader(home) as reader:
        names = reader.names()
        checkpoints = reader.checkpoints()
        accepted = [each for each in checkpoints if each.status is CheckpointStatus.ACCEPTED]
        accepted.sort(key=lambda each: (each.settled_height or 0, each.submitted_height, each.weights))

        def scored(checkpoint: Checkpoint | None) -> dict[str, Any] | None:
            if checkpoint is None:
                return None
            return {"cid": cid_text(checkpoint.weights), **(reader.score(checkpoint) or {})}

        return {
            "chain_id": reader.genesis.chain_id,
            "nodes": len(homes),
            "height": reader.height(),
            "heads_agree": agree,
            **reader.counts(),
            "first": scored(accepted[0] if accepted else None),
            "best": scored(reader.best()),
            "checkpoints": [reader.checkpoint_plain(checkpoint, names) for checkpoint in checkpoints],
        }


def best_checkpoint(homes: list[Home]) -> tuple[Checkpoint, TaskSpec] | None:
    """The best accepted checkpoint of the longest chain and its task."""
    home, height = _highest(homes)
    if height < 0:
        return None
    with open_reader(home) as reader:
        best = reader.best()
        return None if best is None else (best, reader.task(best.task))
