"""Sockets are read and written in pieces of any size, and may be closed at any moment."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from node.host.sockets import Socket


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[trio.SocketStream, trio.SocketStream]]:
    """Two ends over loopback."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        one = await trio.open_tcp_stream(*listener.socket.getsockname())
        two = await listener.accept()
    async with one, two:
        yield one, two


async def read_all(stream: trio.SocketStream, step_size_bytes: int) -> bytes:
    whole, buffer, end = bytearray(), memoryview(bytearray(step_size_bytes)), Socket(stream.socket)
    while size_bytes := await end.receive_into(buffer):
        whole += buffer[:size_bytes]
    return bytes(whole)


@pytest.mark.parametrize("step_size_bytes", [1_000, 70_000, 2_000_000])
async def test_pieces_of_any_size_arrive_whole_and_in_order(step_size_bytes: int) -> None:
    dice = random.Random(step_size_bytes)
    pieces = [dice.randbytes(dice.choice((0, 1, 100, 65_535, 300_000))) for _ in range(50)]
    arrived = b""

    async def read(stream: trio.SocketStream) -> None:
        nonlocal arrived
        arrived = await read_all(stream, step_size_bytes)

    async with pair() as (one, two), trio.open_nursery() as nursery:
        nursery.start_soon(read, two)
        await Socket(one.socket).send(pieces)
        await one.send_eof()
    assert arrived == b"".join(pieces)


async def test_others_have_their_turn_while_much_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.host.sockets._TURN_SIZE_BYTES", 10_000)
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with pair() as (one, two), trio.open_nursery() as nursery:
        await Socket(one.socket).send([bytes(100_000)])
        end, buffer = Socket(two.socket), memoryview(bytearray(1_000))
        nursery.start_soon(take_turns)
        left_size_bytes = 100_000
        while left_size_bytes:
            left_size_bytes -= await end.receive_into(buffer)
        nursery.cancel_scope.cancel()
    assert turns >= 5


async def test_who_reads_a_socket_that_is_closed_here_is_at_its_end() -> None:
    async with pair() as (one, _), trio.open_nursery() as nursery:
        end, buffer = Socket(one.socket), memoryview(bytearray(10))

        async def close() -> None:
            await trio.testing.wait_all_tasks_blocked()
            await one.aclose()

        nursery.start_soon(close)
        assert await end.receive_into(buffer) == 0
        assert await end.receive_into(buffer) == 0


async def test_who_writes_to_a_socket_that_is_closed_here_is_told_so() -> None:
    async with pair() as (one, _), trio.open_nursery() as nursery:

        async def close() -> None:
            await trio.testing.wait_all_tasks_blocked(0.01)
            await one.aclose()

        nursery.start_soon(close)
        with pytest.raises(trio.ClosedResourceError):
            await Socket(one.socket).send([bytes(100_000_000)])
        with pytest.raises(trio.ClosedResourceError):
            await Socket(one.socket).send([b"more"])


async def test_a_connection_that_the_peer_has_reset_is_broken() -> None:
    async with pair() as (one, two):
        two.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await two.aclose()
        with pytest.raises(OSError, match="reset"):
            await Socket(one.socket).receive_into(memoryview(bytearray(10)))
