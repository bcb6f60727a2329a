"""What a testnet looks like from outside: each home's chain database and activity file, read while the nodes run."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import Any

from node.home import Home
from node.reader import ChainReader, open_reader
from node.testnet.processes import NodeProcess
from pdfedchain.errors import StateError, UsageError

__all__ = ["HEADS_LAG_MAX", "ChainView", "NodeView", "Snapshot", "Watcher", "heads_agree"]

#: A node this many blocks below the highest is far behind.
HEADS_LAG_MAX = 10


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node at one moment.

    Attributes:
        height: ``None`` before its chain exists.
        doing: what it says it is doing; empty when idle.
        exit_status: ``None`` while it runs.
    """

    name: str
    roles: str
    height: int | None
    peers: int
    doing: tuple[str, ...]
    exit_status: int | None


@dataclass(frozen=True, slots=True)
class ChainView:
    """The chain as the highest node has it.

    Attributes:
        checkpoints: rows of `ChainReader.checkpoint_plain`, in order of submission.
    """

    height: int
    counts: dict[str, int]
    checkpoints: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All of it."""

    nodes: tuple[NodeView, ...]
    chain: ChainView | None

    @property
    def settled(self) -> int:
        """Checkpoints accepted or rejected."""
        return 0 if self.chain is None else self.chain.counts["settled"]

    @property
    def heights(self) -> tuple[int, ...]:
        """Of the nodes that run; -1 where there is no chain yet."""
        return tuple(-1 if n.height is None else n.height for n in self.nodes if n.exit_status is None)


class Watcher:
    """Keeps one read-only connection per home."""

    def __init__(self, nodes: list[NodeProcess]) -> None:
        self._nodes = nodes
        self._roles = {node.name: "+".join(role.value for role in node.home.config().node.roles) for node in nodes}
        self._stack = contextlib.ExitStack()
        self._readers: dict[str, ChainReader] = {}
        self._chain: ChainView | None = None

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def look(self) -> Snapshot:
        """The present state. Cheap where no block has come since the last look."""
        views = tuple(self._look_at(node) for node in self._nodes)
        best = max(views, key=lambda view: -1 if view.height is None else view.height)
        if best.height is not None and (self._chain is None or best.height > self._chain.height):
            self._chain = _chain_view(self._readers[best.name])
        return Snapshot(views, self._chain)

    def _look_at(self, node: NodeProcess) -> NodeView:
        reader = self._reader(node)
        activity = _activity(node.home, node.started_ms)
        gauges = activity.get("gauges", {})
        doing = tuple(_doing(item) for item in activity.get("doing", []))
        running = node.exit_status is None
        return NodeView(
            name=node.name,
            roles=self._roles[node.name],
            height=None if reader is None else reader.height(),
            peers=int(gauges.get("peers", 0)) if running else 0,
            doing=doing if running else (),
            exit_status=node.exit_status,
        )

    def _reader(self, node: NodeProcess) -> ChainReader | None:
        if node.name not in self._readers:
            try:
                self._readers[node.name] = self._stack.enter_context(open_reader(node.home))
            except (UsageError, StateError):
                # Not made yet, or this very moment. A database that stays unusable ends its own node, with its log.
                return None
        return self._readers[node.name]


def heads_agree(homes: list[Home]) -> bool:
    """Whether the block at the lowest common height is the same in all homes and no node is far behind.

    Raises:
        UsageError: a home has no chain.
        StateError: a database is damaged.
    """
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(open_reader(home)) for home in homes]
        heights = [reader.height() for reader in readers]
        lowest, highest = min(heights), max(heights)
        if highest - lowest > HEADS_LAG_MAX:
            return False
        if lowest == 0:
            return len({reader.genesis.hash for reader in readers}) == 1
        return len({reader.store.light_block(lowest).hash for reader in readers}) == 1


def _chain_view(reader: ChainReader) -> ChainView:
    height, names = reader.height(), reader.names()
    rows = tuple(reader.checkpoint_plain(checkpoint, names) for checkpoint in reader.checkpoints())
    return ChainView(height, reader.counts(), rows)


def _activity(home: Home, since_ms: int) -> dict[str, Any]:
    """The activity file; empty where there is none or only an old one. It is replaced whole, never half written."""
    try:
        activity: dict[str, Any] = json.loads(home.activity_path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return activity if activity.get("updated_ms", 0) >= since_ms else {}


def _doing(item: dict[str, Any]) -> str:
    checkpoint = f" …{item['checkpoint'][-8:]}" if item["checkpoint"] else ""
    share = f" {100 * item['done'] // item['total']} %" if item["total"] else ""
    stage = f" ({item['stage']}{share})" if item["stage"] else ""
    return f"{item['what']}{checkpoint}{stage}"
