"""Frames over a byte stream, the same for every host.

A frame is its length in four bytes, big-endian, and its bytes. Reading keeps what has arrived until a frame is
complete, so a read that times out loses nothing. Writing is all or nothing: a frame that fits goes out without a
point at which it could be cancelled; a larger one is shielded, and once its caller is cancelled it has `_GRACE_S` to
finish before the stream is reset. A shield without that limit would hang on a peer that has stopped reading.

`serve` is the guard around every stream handler.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Sequence
from typing import Final, Self

import trio

from node.host.interface import (
    FRAME_HEADER_SIZE_BYTES,
    FaultListener,
    FrameTooLarge,
    HostError,
    Stream,
    StreamClosed,
    StreamHandler,
)
from pdfedchain.errors import InputError

__all__ = ["Arrived", "FrameStream", "Part", "first_leaf", "serve"]

log = logging.getLogger(__name__)

#: Time a frame under way has to finish after its sender was cancelled.
_GRACE_S: Final = 1.0

#: Smaller pieces are put together, larger ones are handed on as they are.
_PART_SIZE_BYTES: Final = 16_384

#: Time to say goodbye, so that a cancelled task never waits for a peer.
_CLOSE_S: Final = 1.0


#: Bytes as they came.
Part = bytes | bytearray | memoryview


class Arrived:
    """Bytes that have arrived and were not asked for yet. Taking copies each byte once, however large a frame is."""

    def __init__(self) -> None:
        self._parts: deque[Part] = deque()
        self.size_bytes = 0

    def put(self, data: Part) -> None:
        """Append; ``data`` belongs to this object from now on."""
        self.size_bytes += len(data)
        last = self._parts[-1] if self._parts else None
        if len(data) >= _PART_SIZE_BYTES or not isinstance(last, bytearray) or len(last) >= _PART_SIZE_BYTES:
            self._parts.append(data if len(data) >= _PART_SIZE_BYTES else bytearray(data))
        else:
            # Who sends byte by byte must not cost an object for each.
            last += data

    def peek(self, size_bytes: int) -> bytes:
        """The first bytes, which stay."""
        data = b""
        for part in self._parts:
            data += part[: size_bytes - len(data)]
            if len(data) == size_bytes:
                break
        return data

    def take(self, size_bytes: int) -> bytes:
        """The first bytes; so many must be here."""
        return b"".join(self.take_parts(size_bytes))

    def take_parts(self, size_bytes: int) -> list[Part]:
        """The first bytes as they lie; so many must be here."""
        self.size_bytes -= size_bytes
        taken: list[Part] = []
        while size_bytes:
            part = self._parts.popleft()
            if len(part) > size_bytes:
                rest = memoryview(part)
                self._parts.appendleft(rest[size_bytes:])
                part = rest[:size_bytes]
            taken.append(part)
            size_bytes -= len(part)
        return taken


class FrameStream(ABC):
    """`Stream` on top of four primitives."""

    def __init__(self, peer_id: str, protocol: str) -> None:
        self._peer_id = peer_id
        self._protocol = protocol
        self._arrived = Arrived()
        self._received_size_bytes = 0
        self._awaited_at: float | None = None
        self._requests = 0
        self._sending = trio.Lock()
        self._closed = False

    @property
    def peer_id(self) -> str:
        return self._peer_id

    @property
    def protocol(self) -> str:
        return self._protocol

    @property
    def received_size_bytes(self) -> int:
        return self._received_size_bytes

    @property
    def barren_s(self) -> float | None:
        """For how long a request has been waited for, if none has arrived whole; None otherwise."""
        if self._awaited_at is None or self._requests:
            return None
        return trio.current_time() - self._awaited_at

    def note_request(self) -> None:
        self._requests += 1

    @abstractmethod
    def _write_now(self, data: bytes | memoryview) -> bool:
        """Write all of it without waiting, or nothing and return false. Raises `StreamClosed`."""

    @abstractmethod
    async def _write(self, data: bytes | memoryview) -> None:
        """Write all of it, waiting as needed. Raises `StreamClosed`."""

    @abstractmethod
    async def _read_some(self) -> Part:
        """At least one byte, to keep; empty at the end. Raises `StreamClosed`. Cancelling loses nothing."""

    @abstractmethod
    async def _close(self) -> None:
        """End our direction."""

    @abstractmethod
    async def _reset(self) -> None:
        """End both directions at once."""

    async def send_frame(self, *frames: bytes) -> None:
        parts, small = [], b""
        for frame in frames:
            small += len(frame).to_bytes(FRAME_HEADER_SIZE_BYTES, "big")
            if len(frame) < _PART_SIZE_BYTES:
                small += frame
            else:
                parts += [small, frame]
                small = b""
        await self._send([*parts, small] if small else parts)

    async def write(self, data: bytes) -> None:
        await self._send((data,))

    async def _send(self, parts: Sequence[bytes]) -> None:
        await trio.lowlevel.checkpoint()
        self._check_open()
        if len(parts) == 1 and not self._sending.locked() and self._write_now(parts[0]):
            return
        async with self._sending:
            await self._write_shielded(parts)

    async def _write_shielded(self, parts: Sequence[bytes]) -> None:
        self._check_open()
        shield = trio.CancelScope(shield=True)

        async def hurry_when_cancelled() -> None:
            try:
                await trio.sleep_forever()
            finally:
                shield.deadline = trio.current_time() + _GRACE_S

        failure: StreamClosed | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hurry_when_cancelled)
            with shield:
                try:
                    for part in parts:
                        await self._write(memoryview(part))
                except StreamClosed as error:
                    failure = error
            if shield.cancelled_caught:
                failure = StreamClosed(self._peer_id, reason="the peer stopped reading")
                await self.reset()
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def _check_open(self) -> None:
        if self._closed:
            raise StreamClosed(self._peer_id, reason="closed on this side")

    async def _fill(self, size_bytes: int) -> None:
        """Wait until so many bytes have arrived; others have their turn in any case."""
        self._check_open()
        if self._awaited_at is None:
            self._awaited_at = trio.current_time()
        if self._arrived.size_bytes >= size_bytes:
            await trio.lowlevel.checkpoint()
        while self._arrived.size_bytes < size_bytes:
            data = await self._read_some()
            if not data:
                clean = not self._arrived.size_bytes
                raise StreamClosed(self._peer_id, clean=clean, reason="" if clean else "ended in the middle")
            self._received_size_bytes += len(data)
            self._arrived.put(data)

    async def receive_frame(self, size_bytes_max: int) -> bytes:
        self._check_open()
        if self._arrived.size_bytes < FRAME_HEADER_SIZE_BYTES:
            await self._fill(FRAME_HEADER_SIZE_BYTES)
        size_bytes = int.from_bytes(self._arrived.peek(FRAME_HEADER_SIZE_BYTES), "big")
        if size_bytes > size_bytes_max:
            await self.reset()
            raise FrameTooLarge(self._peer_id, size_bytes, size_bytes_max)
        await self._fill(FRAME_HEADER_SIZE_BYTES + size_bytes)
        self._arrived.take(FRAME_HEADER_SIZE_BYTES)
        self.note_request()
        return self._arrived.take(size_bytes)

    async def read_exactly(self, size_bytes: int) -> bytes:
        await self._fill(size_bytes)
        return self._arrived.take(size_bytes)

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLOSE_S):
                await self._close()

    async def reset(self) -> None:
        self._closed = True
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLOSE_S):
            await self._reset()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        if exception[0] is None:
            await self.aclose()
        else:
            await self.reset()


async def serve(stream: Stream, handler: StreamHandler, fault: FaultListener, counters: Counter[str]) -> None:
    """Run a handler on a stream so that nothing it raises goes further, and the stream is closed afterwards."""
    served = False
    try:
        await handler(stream)
        served = True
    except* HostError as gone:
        for error in _leaves(gone):
            if isinstance(error, InputError):
                fault(stream.peer_id, str(error))
        counters["stream_ended_early"] += 1
    except* InputError as wrong:
        counters["stream_input_errors"] += 1
        for error in _leaves(wrong):
            fault(stream.peer_id, f"{stream.protocol}: {error}")
    except* Exception:
        counters["stream_handler_errors"] += 1
        log.exception("the handler of %s failed while serving %s", stream.protocol, stream.peer_id)
    finally:
        if served:
            await stream.aclose()
        else:
            await stream.reset()


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            found += _leaves(error)
        else:
            found.append(error)
    return found


def first_leaf(group: ExceptionGroup[Exception]) -> Exception:
    """The first exception inside nested groups that is not a group itself."""
    error: Exception = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
