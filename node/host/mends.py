"""Small mends of libp2p 0.8.1 that several parts share. Each says what it mends; each has a test that fails without it.

Larger mends are subclasses: `node.host.yamux` (writing), `node.host.swarm` (connections, listening), `node.host.gossip`
(pubsub). Nothing in libp2p is patched in place, so a second user of libp2p in the same process is not affected.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

__all__ = ["GuardedManager", "guarded"]

log = logging.getLogger(__name__)

AsyncFunction = Callable[..., Awaitable[Any]]


def guarded(function: AsyncFunction, counters: Counter[str]) -> AsyncFunction:
    """An exception in any task of a libp2p service stops the whole service, and with it the node.

    What a task of libp2p raises concerns one connection or one stream, never the node. Returns whether all went well.
    """

    async def run(*args: Any) -> bool:
        try:
            await function(*args)
        except Exception:
            counters["libp2p_task_errors"] += 1
            log.warning("a task of libp2p failed: %s", getattr(function, "__qualname__", function), exc_info=True)
            return False
        return True

    return run


class GuardedManager:
    """The task manager of a libp2p service with every task `guarded`, except those the service cannot live without."""

    def __init__(self, inner: Any, counters: Counter[str]) -> None:
        self._inner = inner
        self._counters = counters

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def run_task(self, function: AsyncFunction, *args: Any, **options: Any) -> None:
        """As `TrioManager.run_task`."""
        self._inner.run_task(partial(guarded(function, self._counters)), *args, **options)
