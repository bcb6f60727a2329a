"""What a node is doing right now, for people: ``activity.json`` in its home.

A live view reads it while the node runs. It is replaced as a whole a few times a second at most, is never read back by
the node, and nothing depends on it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from pdfedchain.ids import Cid, cid_text

__all__ = ["Activity", "Doing", "read_gauges"]

log = logging.getLogger(__name__)

_WRITE_INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True)
class Doing:
    """One piece of work under way."""

    what: str
    checkpoint: str | None
    stage: str
    done: int
    total: int


class Activity:
    """Work under way, by key, and a few gauges."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._doing: dict[int, Doing] = {}
        self._next_key = 0
        self._written = ""
        #: Named numbers: height, peers, pool size, alarms.
        self.gauges: dict[str, int] = {}

    @contextmanager
    def during(self, what: str, checkpoint: Cid | None = None) -> Iterator[Callable[[str, int, int], None]]:
        """Show ``what`` as under way for the time of the block; call the value with (stage, done, total)."""
        key, self._next_key = self._next_key, self._next_key + 1
        name = None if checkpoint is None else cid_text(checkpoint)

        def report(stage: str, done: int, total: int) -> None:
            self._doing[key] = Doing(what, name, stage, done, total)

        report("", 0, 0)
        try:
            yield report
        finally:
            del self._doing[key]

    def count(self, gauge: str) -> None:
        """Add one to a gauge."""
        self.gauges[gauge] = self.gauges.get(gauge, 0) + 1

    def snapshot(self) -> dict[str, Any]:
        """What the file holds, without its time stamp."""
        doing = [
            {"what": d.what, "checkpoint": d.checkpoint, "stage": d.stage, "done": d.done, "total": d.total}
            for d in self._doing.values()
        ]
        return {"doing": doing, "gauges": dict(sorted(self.gauges.items()))}

    def write(self) -> None:
        """Replace the file if anything has changed."""
        text = json.dumps(self.snapshot())
        if text != self._written:
            temporary = self._path.with_suffix(".tmp")
            temporary.write_text(json.dumps({**json.loads(text), "updated_ms": time.time_ns() // 1_000_000}))
            temporary.replace(self._path)
            self._written = text

    async def run(self) -> None:
        """Keep the file up to date, for ever."""
        while True:
            try:
                self.write()
            except OSError as error:
                log.warning("%s not written: %s", self._path, error)
            await trio.sleep(_WRITE_INTERVAL_S)


def read_gauges(path: Path) -> dict[str, int]:
    """The gauges that a node has last written; none where there is no such file."""
    try:
        gauges: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))["gauges"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return gauges
