"""Bulk beside everything else: a second connection that nothing but bulk sees."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from libp2p.peer.id import ID

from node.host.interface import ProtocolRefused
from node.host.libp2p_host import Libp2pHost, open_host
from node.host.yamux import YamuxOnly
from tests.node.host.hosts import echo, until

PROTOCOL = "/test/1"


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[Libp2pHost, Libp2pHost]]:
    async with open_host(b"a" * 32) as guest, open_host(b"b" * 32) as host:
        host.set_stream_handler(PROTOCOL, echo)
        guest.set_stream_handler(PROTOCOL, echo)
        await guest.connect(host.addresses[0])
        await until(lambda: guest.peer_id in host.connected_peers())
        yield guest, host


async def exchange(host: Libp2pHost, peer_id: str, *, bulk: bool) -> object:
    """One frame there and back; returns the connection it took."""
    async with await host.open_stream(peer_id, PROTOCOL, bulk=bulk) as stream:
        await stream.send_frame(bytes(100_000))
        assert await stream.receive_frame(100_000) == bytes(100_000)
        return stream._muxed.conn


async def test_bulk_takes_a_connection_of_its_own_which_later_bulk_shares() -> None:
    async with pair() as (guest, host):
        first = await exchange(guest, host.peer_id, bulk=False)
        second = await exchange(guest, host.peer_id, bulk=True)
        assert first is not second
        assert await exchange(guest, host.peer_id, bulk=True) is second
        assert await exchange(guest, host.peer_id, bulk=False) is first
        assert await exchange(host, guest.peer_id, bulk=False) is not second
        for one, other in ((guest, host), (host, guest)):
            assert one.connected_peers() == {other.peer_id}
            assert len(one.swarm.get_connections()) == 1, "gossip and channels see one connection"


async def test_the_side_that_knows_no_address_uses_the_others_connection_for_bulk() -> None:
    async with pair() as (guest, host):
        main = await exchange(host, guest.peer_id, bulk=False)
        assert await exchange(host, guest.peer_id, bulk=True) is main
        await exchange(guest, host.peer_id, bulk=True)
        assert await exchange(host, guest.peer_id, bulk=True) is not main


async def test_gossip_survives_the_end_of_a_connection_for_bulk() -> None:
    async with pair() as (guest, host):
        received: list[bytes] = []

        def accept(peer_id: str, data: bytes) -> bool:
            received.append(data)
            return True

        await host.subscribe("/topic", accept)
        await guest.subscribe("/topic", accept)
        await exchange(guest, host.peer_id, bulk=True)
        await until(lambda: bool(host.swarm.bulk.of(ID.from_base58(guest.peer_id))))
        await host.swarm.bulk.drop(ID.from_base58(guest.peer_id))
        await until(lambda: not guest.swarm.bulk.of(ID.from_base58(host.peer_id)))
        assert host.connected_peers() == {guest.peer_id}
        with trio.fail_after(10):
            while b"after" not in received:
                await guest.publish("/topic", b"after")
                await trio.sleep(0.1)


async def test_the_end_of_the_first_connection_ends_the_one_for_bulk() -> None:
    async with pair() as (guest, host):
        await exchange(guest, host.peer_id, bulk=True)
        await guest.disconnect(host.peer_id)
        for one, other in ((guest, host), (host, guest)):
            await until(lambda one=one, other=other: not one.swarm.bulk.of(ID.from_base58(other.peer_id)))  # type: ignore[misc]
            await until(lambda one=one: not one.connected_peers())  # type: ignore[misc]


async def test_a_peer_that_does_not_know_bulk_gets_it_over_the_first_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with pair() as (guest, host):
        chooser = host.swarm.upgrader.muxer_multistream
        assert isinstance(chooser, YamuxOnly)
        chooser._selector.handlers.pop("/pdfed/bulk/yamux/1.0.0")
        chooser._selector.multiselect.handlers.pop("/pdfed/bulk/yamux/1.0.0", None)
        main = await exchange(guest, host.peer_id, bulk=False)
        assert await exchange(guest, host.peer_id, bulk=True) is main
        assert guest.counters["bulk_dials_failed"] == 1
        assert await exchange(guest, host.peer_id, bulk=True) is main
        assert guest.counters["bulk_dials_failed"] == 1, "not tried again at once"


async def test_a_stranger_gets_no_connection_for_bulk_alone() -> None:
    async with open_host(b"a" * 32) as guest, open_host(b"b" * 32) as host:
        host.set_stream_handler(PROTOCOL, echo)
        guest.learn(host.addresses[0])
        with pytest.raises(Exception, match="bulk"):
            await guest.swarm.bulk.dial(guest._addresses[host.peer_id], ID.from_base58(host.peer_id))
        assert not host.swarm.bulk.of(ID.from_base58(guest.peer_id))


async def test_one_connection_for_bulk_in_each_direction_is_enough() -> None:
    async with pair() as (guest, host):
        await exchange(guest, host.peer_id, bulk=True)
        await until(lambda: bool(host.swarm.bulk.of(ID.from_base58(guest.peer_id))))
        with pytest.raises(Exception, match="bulk"):
            await guest.swarm.bulk.dial(guest._addresses[host.peer_id], ID.from_base58(host.peer_id))
        assert len(host.swarm.bulk.of(ID.from_base58(guest.peer_id))) == 1
        await exchange(guest, host.peer_id, bulk=True)


async def test_a_refused_protocol_on_bulk_is_refused() -> None:
    async with pair() as (guest, host):
        with pytest.raises(ProtocolRefused):
            await guest.open_stream(host.peer_id, "/nobody/1", bulk=True)
