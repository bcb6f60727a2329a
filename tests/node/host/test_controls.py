"""Controls that take sockets of their own: libp2p as it comes, and whether it still has the traps that we mend.

One that fails after an upgrade is good news: that mend can go (docs/adr/0015).
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.io.trio import TrioTCPStream
from libp2p.io.utils import read_exactly
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport
from libp2p.stream_muxer.yamux.yamux import Yamux
from multiaddr import Multiaddr

from tests.node.host.hosts import until
from tests.node.host.test_mends import frame
from tests.node.host.test_traps import stock_host

ANYWHERE = Multiaddr("/ip4/127.0.0.1/tcp/0")


# 5: plaintext


async def test_a_stock_node_still_agrees_to_plaintext() -> None:
    key_pair = create_new_key_pair(b"a" * 32)
    plain = new_host(key_pair=key_pair, sec_opt={PLAINTEXT_PROTOCOL_ID: InsecureTransport(key_pair)})
    stock = stock_host(1)
    async with stock.run(listen_addrs=[ANYWHERE]), plain.run(listen_addrs=[]):
        try:
            with trio.fail_after(60):
                await plain.connect(info_from_p2p_addr(stock.get_addrs()[0]))
            await until(lambda: plain.get_id() in stock.get_network().connections)
        finally:
            await plain.close()
            await stock.close()


# 10, 19: writes and reads that are cancelled


@asynccontextmanager
async def pair_of_sockets() -> AsyncIterator[tuple[trio.SocketStream, trio.SocketStream]]:
    """Two ends of a connection on which little fits."""
    ends = []
    for end in socket.socketpair():
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        ends.append(trio.SocketStream(trio.socket.from_stdlib_socket(end)))
    async with ends[0], ends[1]:
        yield ends[0], ends[1]


async def test_libp2p_still_leaves_half_a_frame_behind_a_cancelled_write() -> None:
    async with pair_of_sockets() as (ours, theirs):
        muxed = Yamux(TrioTCPStream(ours), "peer", is_initiator=True)
        whole, following = frame(0, 0, 1, 5_000_000, bytes(5_000_000)), frame(2, 1, 0, 7)
        received = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(muxed._write_frame, whole)
            received += await theirs.receive_some(1_000)
            nursery.cancel_scope.cancel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(muxed._write_frame, following)
            with trio.fail_after(60):
                while not received.endswith(following):
                    received += await theirs.receive_some(65_536)
        assert len(received) < len(whole), "the next frame comes where the rest of this one should"


class Noting(TrioTCPStream):  # type: ignore[misc]
    """Knows how much was read."""

    size_bytes = 0

    async def read(self, n: int | None = None) -> bytes:
        data: bytes = await super().read(n)
        self.size_bytes += len(data)
        return data


async def test_libp2p_still_loses_what_a_cancelled_read_had_read() -> None:
    async with pair_of_sockets() as (ours, theirs):
        reader = Noting(ours)
        await theirs.send_all(b"abc")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_exactly, reader, 6)
            await until(lambda: reader.size_bytes == 3)
            nursery.cancel_scope.cancel()
        await theirs.send_all(b"defghi")
        with trio.fail_after(60):
            assert await read_exactly(reader, 6) == b"defghi"


# 12, 18: connections that are gone, and nodes that are


async def test_a_stock_node_still_counts_connections_that_have_ended() -> None:
    stock, guest = stock_host(1), stock_host(2)
    async with stock.run(listen_addrs=[ANYWHERE]):
        try:
            async with guest.run(listen_addrs=[]):
                with trio.fail_after(60):
                    await guest.connect(info_from_p2p_addr(stock.get_addrs()[0]))
                await until(lambda: guest.get_id() in stock.get_network().connections)
                await guest.close()
            await until(lambda: guest.get_id() not in stock.get_network().connections)
            assert stock.get_network()._inbound_limiter.borrowed_tokens == 1
        finally:
            await stock.close()


async def test_a_stock_node_that_has_ended_still_listens() -> None:
    stock = stock_host(1)
    async with stock.run(listen_addrs=[ANYWHERE]):
        port = int(stock.get_addrs()[0].value_for_protocol("tcp"))
    try:
        with pytest.raises(OSError, match="in use"):
            await trio.open_tcp_listeners(port, host="127.0.0.1")
    finally:
        await stock.close()
