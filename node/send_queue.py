"""Frames that wait to be sent to a peer, by priority, within a budget of bytes of its own and one of all queues.

Above a budget, the oldest frames of the lowest priority are dropped and counted, never those of a higher priority than
the new one. Within a priority, order holds. A frame for several peers is one object and counts once in the budget of
all, so many peers that do not read hold little more than one of them; and a queue that is short always gets its share,
so those that do not read cannot take the room of those that do.
"""

from __future__ import annotations

import enum
from collections import Counter, deque
from typing import Final

import trio

__all__ = ["QUEUES_SIZE_BYTES_MAX", "SHARE_SIZE_BYTES", "FrameBudget", "Priority", "SendQueue"]

#: Of all queues of a node, each frame once.
QUEUES_SIZE_BYTES_MAX: Final = 67_108_864

#: What a queue may hold in any case: a thousand votes.
SHARE_SIZE_BYTES: Final = 262_144


class Priority(enum.IntEnum):
    """Which frames leave first, and which are dropped last."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


class FrameBudget:
    """Bytes of the frames that wait in any queue, each frame once."""

    def __init__(self, size_bytes_max: int = QUEUES_SIZE_BYTES_MAX) -> None:
        self._size_bytes_max = size_bytes_max
        #: In how many queues each frame waits, by `id`: a frame that waits exists.
        self._queues: dict[int, int] = {}
        self.size_bytes = 0

    def exceeds(self, frame: bytes) -> bool:
        """Whether there is no room for a frame that waits nowhere yet."""
        return id(frame) not in self._queues and self.size_bytes + len(frame) > self._size_bytes_max

    def hold(self, frame: bytes) -> None:
        """A frame waits in one more queue."""
        count = self._queues.get(id(frame), 0)
        self._queues[id(frame)] = count + 1
        self.size_bytes += 0 if count else len(frame)

    def release(self, frame: bytes) -> None:
        """A frame waits in one queue less."""
        count = self._queues[id(frame)] - 1
        if count:
            self._queues[id(frame)] = count
        else:
            del self._queues[id(frame)]
            self.size_bytes -= len(frame)


class SendQueue:
    """Frames waiting to be sent to one peer."""

    def __init__(self, size_bytes_max: int, budget: FrameBudget | None = None) -> None:
        self._frames: tuple[deque[bytes], ...] = tuple(deque() for _ in Priority)
        self._size_bytes_max = size_bytes_max
        self._budget = budget or FrameBudget()
        self._filled = trio.Event()
        self.size_bytes = 0
        self.dropped: Counter[Priority] = Counter()

    def put(self, frame: bytes, priority: Priority) -> bool:
        """Add a frame, making room at the expense of lower priorities; false if it was dropped itself."""
        for lowest in sorted(Priority, reverse=True):
            while lowest > priority and self._frames[lowest] and self._exceeds(frame):
                self._pop(self._frames[lowest])
                self.dropped[lowest] += 1
        if self._exceeds(frame):
            self.dropped[priority] += 1
            return False
        self._frames[priority].append(frame)
        self._budget.hold(frame)
        self.size_bytes += len(frame)
        self._filled.set()
        return True

    def _exceeds(self, frame: bytes) -> bool:
        after = self.size_bytes + len(frame)
        return after > self._size_bytes_max or (after > SHARE_SIZE_BYTES and self._budget.exceeds(frame))

    def _pop(self, frames: deque[bytes]) -> bytes:
        frame = frames.popleft()
        self._budget.release(frame)
        self.size_bytes -= len(frame)
        return frame

    async def get(self) -> bytes:
        """The next frame, waiting for one."""
        while True:
            for frames in self._frames:
                if frames:
                    return self._pop(frames)
            self._filled = trio.Event()
            await self._filled.wait()

    def clear(self) -> None:
        """Forget all: the peer has gone."""
        for frames in self._frames:
            while frames:
                self._pop(frames)
