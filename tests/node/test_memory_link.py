"""Links in memory carry at their rate, and lose what a connection then sends again."""

from __future__ import annotations

import trio
import trio.testing

from node.memory_host import MemoryHost, MemoryNetwork
from node.memory_link import RETRANSMISSION_S, Link
from tests.node.host.hosts import echo

PROTOCOL = "/test/1"


async def round_trip(one: MemoryHost, other: MemoryHost, size_bytes: int) -> float:
    """Seconds of the clock of a test, which goes on by itself."""
    started = trio.current_time()
    async with await one.open_stream(other.peer_id, PROTOCOL) as stream:
        await stream.send_frame(bytes(size_bytes))
        assert await stream.receive_frame(size_bytes) == bytes(size_bytes)
    return trio.current_time() - started


def linked(network: MemoryNetwork, one: MemoryHost, other: MemoryHost) -> Link:
    other.set_stream_handler(PROTOCOL, echo)
    return network.link(one.peer_id, other.peer_id)


async def test_a_link_carries_no_more_than_its_rate(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    async with network.open_host(b"1" * 32) as one, network.open_host(b"2" * 32) as other:
        link = linked(network, one, other)
        await one.connect(other.addresses[0])
        link.rate_bytes_per_s = 100_000
        took = await round_trip(one, other, 1_000_000)
        assert 20.0 <= took < 21.0  # there and back, at the clock of the test
        link.rate_bytes_per_s = None
        assert await round_trip(one, other, 1_000_000) < 1.0


async def test_streams_share_the_rate(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    async with network.open_host(b"1" * 32) as one, network.open_host(b"2" * 32) as other:
        link = linked(network, one, other)
        await one.connect(other.addresses[0])
        link.rate_bytes_per_s = 100_000
        started = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(round_trip, one, other, 100_000)
        assert 8.0 <= trio.current_time() - started < 9.0


async def test_what_is_lost_comes_later_and_in_order(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    async with network.open_host(b"1" * 32) as one, network.open_host(b"2" * 32) as other:
        link = linked(network, one, other)
        await one.connect(other.addresses[0])
        link.loss = 1.0
        assert await round_trip(one, other, 1_000) >= 2 * RETRANSMISSION_S
        link.loss = 0.01
        await round_trip(one, other, 500_000)
        link.loss = 0.0
        assert await round_trip(one, other, 1_000) == 0.0


async def test_gossip_takes_the_same_line(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    async with network.open_host(b"1" * 32) as one, network.open_host(b"2" * 32) as other:
        arrived = trio.Event()

        def accept(peer_id: str, data: bytes) -> bool:
            arrived.set()
            return True

        await other.subscribe("/topic", accept)
        await one.connect(other.addresses[0])
        network.link(one.peer_id, other.peer_id).rate_bytes_per_s = 1_000
        started = trio.current_time()
        await one.publish("/topic", bytes(5_000))
        await arrived.wait()
        assert trio.current_time() - started >= 5.0
