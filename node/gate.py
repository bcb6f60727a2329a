"""Which protocols are for members of the chain, and how much of the rest strangers get.

A *member* is a peer with a message channel: it has said hello, with our genesis in it. Everybody else is a stranger,
among them nodes that are about to say hello, nodes that fetch a snapshot before they begin, `pdfed weights fetch`, and
programs of IPFS that know no hello at all. Strangers share `STREAMS_MAX` streams, on protocols that are open to them;
who uses none of these is disconnected after a while (`node.peers`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from node.host.interface import Stream, StreamHandler

__all__ = ["STREAMS_MAX", "STREAMS_PER_PEER_MAX", "Gate"]

#: Streams served to all strangers at once, and to one of them.
STREAMS_MAX: Final = 16
STREAMS_PER_PEER_MAX: Final = 8

#: Of two that have just said hello one may be quicker: its first stream waits so long for the other to catch up.
_HELLO_S: Final = 5.0

#: Strangers whose last use is remembered.
_REMEMBERED_MAX: Final = 1_024


class Gate:
    """Stands before the handlers of one node's protocols."""

    def __init__(self, is_member: Callable[[str], bool], wait_member: Callable[[str], Awaitable[None]]) -> None:
        """
        Args:
            wait_member: returns when a peer is one.
        """
        self.counters: Counter[str] = Counter()
        self._is_member = is_member
        self._wait_member = wait_member
        self._streams: Counter[str] = Counter()
        self._used_at: dict[str, float] = {}

    def for_members(self, handler: StreamHandler) -> StreamHandler:
        """The handler, for members only."""

        async def handle(stream: Stream) -> None:
            if not self._is_member(stream.peer_id):
                with trio.move_on_after(_HELLO_S):
                    await self._wait_member(stream.peer_id)
            if self._is_member(stream.peer_id):
                await handler(stream)
            else:
                await self._refuse(stream)

        return handle

    def for_all(self, handler: StreamHandler) -> StreamHandler:
        """The handler, for members, and for strangers within their share."""

        async def handle(stream: Stream) -> None:
            peer_id = stream.peer_id
            if self._is_member(peer_id):
                await handler(stream)
                return
            if self._streams.total() >= STREAMS_MAX or self._streams[peer_id] >= STREAMS_PER_PEER_MAX:
                await self._refuse(stream)
                return
            self._streams[peer_id] += 1
            try:
                await handler(stream)
            finally:
                self.remember_use(peer_id)
                self._streams[peer_id] -= 1
                if not self._streams[peer_id]:
                    del self._streams[peer_id]

        return handle

    async def _refuse(self, stream: Stream) -> None:
        self.counters["strangers_refused"] += 1
        await stream.reset()

    def used_at(self, peer_id: str) -> float:
        """When a stranger last used its share; now while it does."""
        if self._streams[peer_id]:
            return trio.current_time()
        return self._used_at.get(peer_id, float("-inf"))

    def remember_use(self, peer_id: str) -> None:
        """A stranger uses its share now."""
        self._used_at.pop(peer_id, None)
        self._used_at[peer_id] = trio.current_time()
        if len(self._used_at) > _REMEMBERED_MAX:
            del self._used_at[next(iter(self._used_at))]
