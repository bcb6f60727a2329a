"""Hostile peers on the wire: each is bounded and dropped, and honest traffic goes on."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
import trio
from libp2p.exceptions import BaseLibp2pError
from libp2p.host.exceptions import StreamFailure
from libp2p.pubsub.pb import rpc_pb2
from libp2p.utils import encode_varint_prefixed

from node.channel import Hello
from node.host.interface import HostError, HostLimits, Stream
from node.host.libp2p_host import Libp2pHost, open_host
from node.host.standing import PEERS_PER_NETWORK_MAX
from node.peers import Peers
from pdfedchain.ids import Address, Hash
from tests.node.host.hosts import echo, until
from tests.node.host.test_mends import TOPIC, Victim, meet, message, send_rpc

PROTOCOL = "/test/1"


async def honest_exchange(host: Libp2pHost, peer_id: str) -> None:
    """What must go on working, whatever the others do."""
    with trio.fail_after(20):
        async with await host.open_stream(peer_id, PROTOCOL) as stream:
            await stream.send_frame(b"honest")
            assert await stream.receive_frame(6) == b"honest"


@asynccontextmanager
async def three(limits: HostLimits) -> AsyncIterator[tuple[Libp2pHost, Libp2pHost, Libp2pHost]]:
    """An attacker, its victim and an honest peer, the last two with a connection each to the victim."""
    async with (
        open_host(b"a" * 32) as attacker,
        open_host(b"v" * 32, limits=limits) as victim,
        open_host(b"h" * 32) as honest,
    ):
        victim.set_stream_handler(PROTOCOL, echo)
        for host in (attacker, honest):
            await host.connect(victim.addresses[0])
        yield attacker, victim, honest


def port_of(host: Libp2pHost) -> int:
    return int(host.addresses[0].split("/")[4])


async def dial_from(source: str, port: int) -> trio.socket.SocketType:
    """A bare TCP connection from an address of the loopback network."""
    connection = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    await connection.bind((source, 0))
    await connection.connect(("127.0.0.1", port))
    return connection


async def ended(connection: trio.socket.SocketType) -> None:
    with suppress(OSError):
        while await connection.recv(4_096):
            pass


async def test_a_hundred_connections_from_one_address_leave_room_for_others() -> None:
    limits = HostLimits(connections_inbound_max=32, connections_per_address_max=8)
    async with open_host(b"v" * 32, limits=limits) as victim, open_host(b"h" * 32) as honest:
        victim.set_stream_handler(PROTOCOL, echo)
        connections = [await dial_from("127.0.0.2", port_of(victim)) for _ in range(100)]
        await until(lambda: victim.counters["inbound_address_full"] == 92)
        assert victim.swarm.entrance.inbound == {"127.0.0.2": 8}
        await honest.connect(victim.addresses[0])
        await honest_exchange(honest, victim.peer_id)
        for connection in connections:
            connection.close()
        await until(lambda: "127.0.0.2" not in victim.swarm.entrance.inbound)


@pytest.mark.parametrize("first_bytes", [b"", b"\x13/multistream/1.0.0\n", b"GET / HTTP/1.1\r\n\r\n"])
async def test_a_stranger_that_does_not_shake_hands_loses_its_place(first_bytes: bytes) -> None:
    limits = HostLimits(handshake_timeout_s=3.0)
    async with open_host(b"v" * 32, limits=limits) as victim, open_host(b"h" * 32) as honest:
        victim.set_stream_handler(PROTOCOL, echo)
        connection = await dial_from("127.0.0.1", port_of(victim))
        if first_bytes:
            await connection.send(first_bytes)
        with trio.fail_after(30):
            await ended(connection)
        connection.close()
        await until(lambda: victim.counters["inbound_upgrades_failed"] == 1)
        await until(lambda: not victim.swarm.entrance.inbound)
        await honest.connect(victim.addresses[0])
        await honest_exchange(honest, victim.peer_id)


async def test_places_are_kept_for_peers_whose_address_is_known() -> None:
    limits = HostLimits(connections_inbound_max=4, connections_reserved=1, dial_timeout_s=5.0)
    async with AsyncExitStack() as stack:
        victim = await stack.enter_async_context(open_host(b"v" * 32, limits=limits))
        victim.set_stream_handler(PROTOCOL, echo)
        known, *unknown = [await stack.enter_async_context(open_host(bytes([number]) * 32)) for number in range(5)]
        for number, host in enumerate(unknown[:3]):
            await host.connect(victim.addresses[0])
            await until(lambda number=number: len(victim.connected_peers()) == number + 1, 30)  # type: ignore[misc]
        with suppress(HostError):
            await unknown[3].connect(victim.addresses[0])
        await until(lambda: victim.counters["inbound_unknown_full"] == 1, 30)
        victim.learn(known.addresses[0])
        await known.connect(victim.addresses[0])
        await honest_exchange(known, victim.peer_id)


async def test_an_address_from_which_many_banned_peers_came_is_refused() -> None:
    async with open_host(b"v" * 32) as victim, open_host(b"h" * 32) as honest:
        victim.set_stream_handler(PROTOCOL, echo)
        await honest.connect(victim.addresses[0])
        for number in range(PEERS_PER_NETWORK_MAX):
            async with open_host(bytes([number]) * 32) as attacker:
                await attacker.connect(victim.addresses[0])
                await until(lambda attacker=attacker: attacker.peer_id in victim.connected_peers(), 30)  # type: ignore[misc]
                await victim.ban(attacker.peer_id, 1_000.0)
        connection = await dial_from("127.0.0.1", port_of(victim))
        with trio.fail_after(30):
            await ended(connection)
        connection.close()
        assert victim.counters["inbound_address_banned"] == 1
        await honest_exchange(honest, victim.peer_id)  # who is connected stays


async def test_streams_that_never_say_what_they_are_for_are_bounded() -> None:
    async with three(HostLimits(streams_inbound_per_peer_max=8)) as (attacker, victim, honest):
        (connection,) = attacker.swarm.get_connections()
        for _ in range(60):
            await connection.muxed_conn.open_stream()
        await until(lambda: victim.counters["streams_refused"] >= 52)
        assert victim.swarm._streams_inbound[attacker.peer_id] <= 8
        await honest_exchange(honest, victim.peer_id)


async def test_very_many_tiny_streams_leave_nothing_behind() -> None:
    async with three(HostLimits(streams_barren_per_peer_burst=1_000.0)) as (attacker, victim, honest):

        async def open_and_drop() -> None:
            for _ in range(50):
                with suppress(HostError):
                    stream = await attacker.open_stream(victim.peer_id, PROTOCOL)
                    await stream.reset()

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(open_and_drop)
        await honest_exchange(honest, victim.peer_id)
        muxed = [each.muxed_conn for each in victim.swarm.get_connections()]
        await until(lambda: sum(len(each.streams) for each in muxed) < 10)
        await until(lambda: victim.swarm._streams_inbound[attacker.peer_id] < 5)


async def test_a_flood_of_tiny_streams_costs_its_sender_the_connection() -> None:
    faults: list[tuple[str, str]] = []
    limits = HostLimits(streams_per_peer_per_s=1.0, streams_per_peer_burst=100.0, streams_barren_per_peer_burst=1_000.0)
    async with three(limits) as (attacker, victim, honest):
        victim.set_fault_listener(lambda peer_id, reason: faults.append((peer_id, reason)))

        async def open_for_ever() -> None:
            while True:
                stream = await attacker.open_stream(victim.peer_id, PROTOCOL)
                await stream.reset()

        with trio.fail_after(60), pytest.raises(HostError):
            await open_for_ever()
        await until(lambda: attacker.peer_id not in victim.connected_peers(), 30)
        assert (attacker.peer_id, "a flood of streams") in faults
        await honest_exchange(honest, victim.peer_id)


async def test_gossip_that_never_ends_loses_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.host.gossip._READ_TIMEOUT_S", 0.5)
    async with open_host(b"a" * 32) as attacker, open_host(b"b" * 32) as host:
        victim = Victim(host)
        await meet(attacker, victim)
        stream = await attacker.basic.new_stream(host.basic.get_id(), ["/meshsub/1.1.0"])
        await stream.write(b"\xff")  # the size goes on, and does not
        await until(lambda: host.counters["gossip_slow"] == 1, 30)
        await victim.still_receives(attacker, b"after")


async def test_one_peer_has_few_streams_of_gossip() -> None:
    async with open_host(b"a" * 32) as attacker, open_host(b"b" * 32) as host:
        victim = Victim(host)
        await meet(attacker, victim)
        for _ in range(20):
            with suppress(StreamFailure):
                await attacker.basic.new_stream(host.basic.get_id(), ["/meshsub/1.1.0"])
        await until(lambda: host.counters["gossip_streams_refused"] >= 12, 30)
        assert max(host.pubsub._readers.values()) <= 8
        await victim.still_receives(attacker, b"after")


async def test_a_frame_that_never_ends_blocks_nobody_else() -> None:
    received: list[int] = []

    async def read_one(stream: Stream) -> None:
        received.append(len(await stream.receive_frame(1_000)))

    async with three(HostLimits()) as (attacker, victim, honest):
        victim.set_stream_handler("/frames/1", read_one)
        drips = [await attacker.open_stream(victim.peer_id, "/frames/1") for _ in range(5)]
        for stream in drips:
            await stream.write(b"\x00\x00\x03")  # the fourth byte of the length never comes
        for stream in drips:
            await stream.write(b"\xe7")
            await stream.write(b"x")  # 998 more to go
        await honest_exchange(honest, victim.peer_id)
        async with await honest.open_stream(victim.peer_id, "/frames/1") as stream:
            await stream.send_frame(bytes(10))
        await until(lambda: received == [10])


async def test_replayed_and_duplicated_gossip_is_taken_once() -> None:
    async with open_host(b"a" * 32) as attacker, open_host(b"b" * 32) as host:
        victim = Victim(host)
        await meet(attacker, victim)
        rpc = message(attacker, 1, b"again")
        for _ in range(5):
            await send_rpc(attacker, victim, b"".join(b"\x12" + _sized(rpc.SerializeToString()) for _ in range(40)))
        await victim.still_receives(attacker, b"after")
        assert victim.received.count(b"again") == 1


async def test_oversized_gossip_is_not_taken_and_honest_gossip_is() -> None:
    limits = HostLimits(gossip_size_bytes_max=1_000)
    async with open_host(b"a" * 32) as attacker, open_host(b"b" * 32, limits=limits) as host:
        victim = Victim(host)
        await meet(attacker, victim)
        await attacker.publish(TOPIC, bytes(5_000))
        await until(lambda: host.counters["gossip_oversized"] == 1)
        assert victim.faults == ["gossip message of 5000 bytes"]
        await victim.still_receives(attacker, b"after")
        assert bytes(5_000) not in victim.received


@pytest.mark.parametrize(
    ("count", "size_bytes", "reason"),
    [
        (1, 1_100_000, "gossip message of 1100000 bytes"),
        (1_000, 5, "a flood of gossip messages that bring nothing"),
    ],
    ids=["oversized", "replayed"],
)
async def test_who_gossips_too_much_is_dropped_by_a_node_and_others_are_heard(
    count: int, size_bytes: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        open_host(b"a" * 32) as attacker,
        open_host(b"b" * 32) as host,
        open_host(b"h" * 32) as honest,
        trio.open_nursery() as nursery,
    ):
        victim = Victim(host)
        await meet(attacker, victim)
        hello = Hello(1, "test", Hash(bytes(32)), Address(bytes(32)), 0, bytes(8))
        peers = Peers(host, lambda: hello, [], receive=lambda peer_id, message: None)
        nursery.start_soon(peers.run)
        await honest.subscribe(TOPIC, lambda peer_id, data: True)
        await honest.connect(host.addresses[0])
        payload = rpc_pb2.RPC(publish=[message(attacker, 1, bytes(size_bytes))] * count).SerializeToString()
        with trio.fail_after(60), suppress(HostError, BaseLibp2pError):
            stream = await attacker.basic.new_stream(host.basic.get_id(), ["/meshsub/1.1.0"])
            while attacker.peer_id in host.connected_peers():
                await stream.write(encode_varint_prefixed(payload))
        await until(lambda: attacker.peer_id not in host.connected_peers(), 30)
        assert any(record.getMessage().endswith(reason) for record in caplog.records if record.name == "node.peers")
        assert host.swarm.entrance.standing.bans_peer(attacker.peer_id)
        await victim.still_receives(honest, b"after")
        nursery.cancel_scope.cancel()


def _sized(data: bytes) -> bytes:
    size, head = len(data), bytearray()
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes(head) + bytes([size]) + data
