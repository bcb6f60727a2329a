"""A peer may use a stream's number again; each stream still reads what is its own."""

from __future__ import annotations

import struct
from collections import deque
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from libp2p.stream_muxer.yamux.yamux import FLAG_RST, FLAG_SYN, TYPE_DATA, TYPE_WINDOW_UPDATE

from node.host.interface import StreamClosed
from node.host.stream import Libp2pStream
from node.host.yamux import QueuedYamux
from tests.node.host.wires import Wire, unencrypted, unencrypted_session


def frame(kind: int, flags: int, length: int, body: bytes = b"") -> bytes:
    """A frame of stream 2."""
    return struct.pack("!BBHII", 0, kind, flags, 2, length) + body


#: A stream that is reset, and another by its number.
AGAIN = (
    frame(TYPE_WINDOW_UPDATE, FLAG_SYN, 0)
    + frame(TYPE_WINDOW_UPDATE, FLAG_RST, 0)
    + frame(TYPE_WINDOW_UPDATE, FLAG_SYN, 0)
    + frame(TYPE_DATA, 0, 5, b"hello")
)


async def test_a_stream_does_not_read_what_is_sent_to_another_of_its_number(autojump_clock: object) -> None:
    wire, session = unencrypted(AGAIN)
    muxed = QueuedYamux(session, "peer", is_initiator=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(muxed.start)
        net = [SimpleNamespace(muxed_conn=muxed, muxed_stream=await muxed.accept_stream()) for _ in range(2)]
        first, second = (Libp2pStream(cast(Any, each), "/again/1") for each in net)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(StreamClosed):
            await first.read_exactly(5)
        assert await second.read_exactly(5) == b"hello"
        await wire.close()
        nursery.cancel_scope.cancel()


async def test_libp2p_still_reads_by_number(autojump_clock: object) -> None:
    wire, session = unencrypted(AGAIN)
    muxed = QueuedYamux(session, "peer", is_initiator=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(muxed.start)
        first, second = await muxed.accept_stream(), await muxed.accept_stream()
        await trio.testing.wait_all_tasks_blocked()
        assert (first.reset_received, second.reset_received) == (True, False)
        assert await muxed.read_stream(first.stream_id, 5) == b"hello"
        await wire.close()
        nursery.cancel_scope.cancel()


async def test_every_reader_of_a_number_ends_with_the_connection(autojump_clock: object) -> None:
    wire, session = unencrypted(AGAIN[:-17] + frame(TYPE_DATA, 0, 2, b"he"))
    muxed = QueuedYamux(session, "peer", is_initiator=True)
    ended = []

    async def read(net: object) -> None:
        try:
            await Libp2pStream(cast(Any, net), "/again/1").read_exactly(5)
        except StreamClosed:
            ended.append(net)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(muxed.start)
            for _ in range(2):
                net = SimpleNamespace(muxed_conn=muxed, muxed_stream=await muxed.accept_stream())
                nursery.start_soon(read, net)
            await trio.testing.wait_all_tasks_blocked()
            await wire.close()
    assert len(ended) == 2


class SlowWire(Wire):
    """Brings one noise message after the other, with a pause before each."""

    def __init__(self, messages: list[bytes], pause_s: float) -> None:
        super().__init__(b"")
        self._messages = deque(len(message).to_bytes(2, "big") + message for message in messages)
        self._pause_s = pause_s

    async def read(self, size_bytes: int) -> bytes:
        await trio.sleep(self._pause_s)
        if self._messages:
            self.incoming += self._messages.popleft()
        return await super().read(size_bytes)


async def read_slowly(pause_s: float) -> bytes:
    """What a stream reads of a frame that comes in four noise messages."""
    body = b"".join(bytes([part]) * 60_000 for part in range(4))
    header = frame(TYPE_WINDOW_UPDATE, FLAG_SYN, 0) + frame(TYPE_DATA, 0, len(body))
    wire = SlowWire([header, *(body[at : at + 60_000] for at in range(0, len(body), 60_000))], pause_s)
    muxed = QueuedYamux(unencrypted_session(wire), "peer", is_initiator=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(muxed.start)
        net = SimpleNamespace(muxed_conn=muxed, muxed_stream=await muxed.accept_stream())
        try:
            data = await Libp2pStream(cast(Any, net), "/slow/1").read_exactly(len(body))
        except StreamClosed:
            data = b""
        await wire.close()
        nursery.cancel_scope.cancel()
    assert data in (b"", body)
    return data


async def test_a_large_frame_may_take_long_as_long_as_it_goes_on(autojump_clock: object) -> None:
    assert await read_slowly(12.0)
    assert not await read_slowly(40.0)
