"""Streams on which a peer has said what it says, and nothing more follows."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgpack
import trio
from trio.testing import MockClock

from node.host.framing import FrameStream, serve
from node.host.interface import Stream

__all__ = ["AnsweringHost", "FedStream", "StreamTarget", "array_of", "framed", "frames_of", "run_virtual"]

_T = TypeVar("_T")

#: A handler that sends more than this in answer to an input is out of proportion.
_SENT_SIZE_BYTES_MAX = 64 * 2**20


class FedStream(FrameStream):
    """A stream on which a peer has sent these bytes, in parts, and has ended its side."""

    def __init__(self, data: bytes) -> None:
        super().__init__("peer", "/fuzz/1")
        middle = len(data) // 2
        self._parts = deque(part for part in (data[:middle], data[middle:]) if part)
        self.sent_size_bytes = 0

    def _write_now(self, data: bytes | memoryview) -> bool:
        self.sent_size_bytes += len(data)
        return True

    async def _write(self, data: bytes | memoryview) -> None:
        self.sent_size_bytes += len(data)

    async def _read_some(self) -> bytes:
        return self._parts.popleft() if self._parts else b""

    async def _close(self) -> None:
        self._closed = True

    async def _reset(self) -> None:
        self._closed = True


def framed(*frames: bytes) -> bytes:
    return b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)


def frames_of(data: bytes) -> list[bytes]:
    """The frames that an input stands for: elements of a MessagePack array, so that mutations reach inside each.

    What is bytes there is a frame as it is, what is nil an empty one. An input that is no array is a frame by itself.
    """
    try:
        tree = msgpack.unpackb(data, raw=False, unicode_errors="surrogateescape", strict_map_key=False)
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError, TypeError):
        return [data]
    if type(tree) is not list:
        return [data]
    return [_frame(part) for part in tree]


def _frame(part: Any) -> bytes:
    if part is None:
        return b""
    packed: bytes = part if type(part) is bytes else msgpack.packb(part, unicode_errors="surrogateescape")
    return packed


class AnsweringHost:
    """A host whose peers answer every request with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    async def open_stream(self, peer_id: str, protocol: str, *, bulk: bool = False) -> Stream:
        await trio.lowlevel.checkpoint()
        return FedStream(self._answer)


class StreamTarget:
    """A stream handler behind the guard of every host; what the guard has to catch for it counts as a defect."""

    def __init__(self, handler: Callable[[Stream], Awaitable[object]]) -> None:
        self._handler = handler

    def __call__(self, data: bytes) -> None:
        counters: Counter[str] = Counter()
        stream = FedStream(data)

        async def handle(given: Stream) -> None:
            await self._handler(given)

        trio.run(serve, stream, handle, lambda peer_id, reason: None, counters)
        if counters["stream_handler_errors"]:
            raise AssertionError("the handler failed in a way it does not document")
        if stream.sent_size_bytes > _SENT_SIZE_BYTES_MAX:
            raise AssertionError(f"{stream.sent_size_bytes} bytes sent for {len(data)}")


def run_virtual(work: Callable[..., Awaitable[_T]], *arguments: object) -> _T:
    """Run to its end with a clock that jumps over whatever is only waited for."""
    return trio.run(work, *arguments, clock=MockClock(autojump_threshold=0))


def array_of(parts: Sequence[bytes]) -> bytes:
    """The input of `frames_of` that stands for these canonical encodings; an empty one ends a list."""
    head: bytes = msgpack.Packer().pack_array_header(len(parts))
    return head + b"".join(part or b"\xc0" for part in parts)
