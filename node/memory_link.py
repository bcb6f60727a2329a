"""Streams in memory, on links that are cut, stalled, slow and lossy: what `node.memory_host` is made of."""

from __future__ import annotations

import random
from collections import deque
from typing import Final

import trio

from node.host.framing import FrameStream
from node.host.interface import StreamClosed

__all__ = ["Link", "MemoryStream", "Pipe"]

#: As yamux' first window: what a sender may be ahead of its receiver.
_WINDOW_SIZE_BYTES: Final = 262_144


#: What a connection over TCP sees of a lost segment: it, and all behind it, arrive so much later.
RETRANSMISSION_S: Final = 0.2
_SEGMENT_SIZE_BYTES: Final = 1_448


class Link:
    """The line between two hosts.

    Attributes:
        delay_s: from one end to the other.
        rate_bytes_per_s: of everything on it, in both directions together; None for no bound.
        loss: share of segments that are lost, which the connection sends again.
    """

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.rate_bytes_per_s: float | None = None
        self.loss = 0.0
        self._free_at = 0.0
        self._random = random.Random(0)  # noqa: S311 - the same losses in every run
        self._flowing = trio.Event()
        self._flowing.set()
        self.is_cut = False

    def stall(self) -> None:
        """Hold back everything, silently, until `flow`."""
        if self._flowing.is_set():
            self._flowing = trio.Event()

    def flow(self) -> None:
        """Let what was held back, and all that follows, arrive."""
        self._flowing.set()

    def departs(self, size_bytes: int) -> float:
        """When so many bytes, sent now, have left: behind all that was sent before, and again if some were lost."""
        at = trio.current_time()
        if self.rate_bytes_per_s is not None:
            at = self._free_at = max(at, self._free_at) + size_bytes / self.rate_bytes_per_s
        if self.loss:
            segments = -(-size_bytes // _SEGMENT_SIZE_BYTES)
            at += RETRANSMISSION_S * sum(self._random.random() < self.loss for _ in range(segments))
        return at

    async def carried(self, sent_at: float) -> None:
        """Return when something that left at that time arrives."""
        await self._flowing.wait()
        await trio.sleep_until(sent_at + self.delay_s)


class Pipe:
    """One direction of a stream."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._chunks: deque[tuple[float, bytes]] = deque()
        self.size_bytes = 0
        self.ended = False
        self.broken = False
        self._changed = trio.Event()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def room(self) -> int:
        return _WINDOW_SIZE_BYTES - self.size_bytes

    def put(self, data: bytes) -> None:
        self._chunks.append((self._link.departs(len(data)), data))
        self.size_bytes += len(data)
        self._notify()

    def end(self, *, broken: bool = False) -> None:
        self.ended = True
        if broken:
            self.broken = True
            self._chunks.clear()
            self.size_bytes = 0
        self._notify()

    async def changed(self) -> None:
        await self._changed.wait()

    async def get(self) -> bytes:
        """The next chunk; empty at the end."""
        while True:
            if self._chunks:
                await self._link.carried(self._chunks[0][0])
                if self._chunks:
                    _, data = self._chunks.popleft()
                    self.size_bytes -= len(data)
                    self._notify()
                    return data
            elif self.ended:
                await self._link.carried(0.0)
                return b""
            else:
                await self._changed.wait()


class MemoryStream(FrameStream):
    """One end of a stream."""

    def __init__(self, peer_id: str, protocol: str, incoming: Pipe, outgoing: Pipe) -> None:
        super().__init__(peer_id, protocol)
        self._incoming = incoming
        self._outgoing = outgoing

    def _write_now(self, data: bytes | memoryview) -> bool:
        if self._outgoing.ended:
            raise StreamClosed(self.peer_id, reason="reset")
        if len(data) > self._outgoing.room():
            return False
        self._outgoing.put(bytes(data))
        return True

    async def _write(self, data: bytes | memoryview) -> None:
        start = 0
        while start < len(data):
            room = self._outgoing.room()
            if room <= 0 and not self._outgoing.ended:
                await self._outgoing.changed()
            elif self._write_now(data[start : start + room]):
                start += room
                await trio.lowlevel.checkpoint()

    async def _read_some(self) -> bytes:
        data = await self._incoming.get()
        if not data and self._incoming.broken:
            raise StreamClosed(self.peer_id, reason="reset")
        return data

    async def _close(self) -> None:
        self._outgoing.end()

    async def _reset(self) -> None:
        self.break_off()

    def break_off(self) -> None:
        """End both directions at once."""
        self._outgoing.end(broken=True)
        self._incoming.end(broken=True)
