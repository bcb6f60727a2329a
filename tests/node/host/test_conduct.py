"""What peers do with streams: those that come to nothing cost their opener the connection, on every host."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import trio

from node.gate import Gate
from node.host.allowance import Allowances
from node.host.conduct import Conduct
from node.host.interface import Host, HostError, HostLimits, Stream
from node.host.libp2p_host import open_host
from tests.node.host.hosts import KINDS, Opener, echo, opener, until
from tests.node.host.test_mends import Victim, meet

PROTOCOL = "/test/1"
FEW = HostLimits(streams_barren_per_peer_per_s=0.001, streams_barren_per_peer_burst=5.0)
FLOOD = "a flood of streams without a request"


def test_what_is_used_up_grows_again_for_each_user() -> None:
    now = [0.0]
    allowances = Allowances(1.0, 3.0, lambda: now[0])
    assert [allowances.spend("a", 1) for _ in range(4)] == [True, True, True, False]
    assert allowances.spend("b", 3)
    now[0] = 1.0
    assert [allowances.spend("a", 1), allowances.spend("a", 1)] == [True, False]
    allowances.give_back("a", 100)
    assert [allowances.spend("a", 3), allowances.spend("a", 1)] == [True, False]
    allowances.give_back("nobody", 1)


def test_users_beyond_what_is_remembered_make_room() -> None:
    allowances = Allowances(1.0, 1.0, lambda: 0.0)
    for number in range(5_000):
        allowances.spend(str(number), 1)
    assert len(allowances._by_user) == 1_024
    assert not allowances.spend("4999", 1)
    assert allowances.spend("0", 1)


def test_a_barren_stream_counts_for_as_long_as_it_held_a_place() -> None:
    now = [0.0]
    counters: Counter[str] = Counter()
    conduct = Conduct(HostLimits(), counters, lambda: now[0])
    # A line that is dead for a minute has eight streams waiting on it, the most that a stranger may have.
    assert [conduct.barren("dead line", 60.0) for _ in range(8)] == [None] * 8
    assert [conduct.barren("slow loris", 60.0) for _ in range(16)][-1] == FLOOD
    assert [conduct.barren("tiny") for _ in range(65)] == [None] * 64 + [FLOOD]
    now[0] = 10.0
    assert [conduct.barren("tiny") for _ in range(6)] == [None] * 5 + [FLOOD]
    assert conduct.barren("another") is None
    assert (counters["streams_barren"], counters["streams_barren_flooded"]) == (8 + 16 + 65 + 6 + 1, 9)


class World:
    """A host, a peer of it, and what the host finds wrong with it."""

    def __init__(self, one: Host, two: Host) -> None:
        self.one, self.two = one, two
        self.faults: list[tuple[str, str]] = []
        two.set_fault_listener(lambda peer_id, reason: self.faults.append((peer_id, reason)))

    async def counted(self, number: int) -> None:
        """Wait until so many streams were, or the peer is known for too many."""
        await until(lambda: self.two.counters["streams_barren"] >= number or bool(self.faults))

    async def is_expelled(self) -> None:
        await until(lambda: self.one.peer_id not in self.two.connected_peers())
        await until(lambda: not self.one.connected_peers())
        assert self.faults == [(self.one.peer_id, FLOOD)]

    async def is_welcome(self) -> None:
        async with await self.one.open_stream(self.two.peer_id, PROTOCOL) as stream:
            await stream.send_frame(b"here")
            assert await stream.receive_frame(4) == b"here"
        assert self.faults == []


@pytest.fixture(params=KINDS)
def open_one(request: pytest.FixtureRequest) -> Opener:
    return opener(request.param)


@asynccontextmanager
async def world(open_one: Opener, limits: HostLimits = FEW) -> AsyncIterator[World]:
    async with open_one(1) as one, open_one(2, limits=limits) as two:
        two.set_stream_handler(PROTOCOL, echo)
        await one.connect(two.addresses[0])
        yield World(one, two)


async def test_streams_opened_and_reset_cost_their_opener_the_connection(open_one: Opener) -> None:
    async with world(open_one) as here:
        with suppress(HostError):
            for number in range(20):
                stream = await here.one.open_stream(here.two.peer_id, PROTOCOL)
                await stream.reset()
                await here.counted(number + 1)
        await here.is_expelled()


async def test_streams_that_are_closed_unused_cost_their_opener_the_connection(open_one: Opener) -> None:
    async with world(open_one) as here:
        with suppress(HostError):
            for number in range(20):
                await (await here.one.open_stream(here.two.peer_id, PROTOCOL)).aclose()
                await here.counted(number + 1)
        await here.is_expelled()


async def test_streams_that_stop_in_mid_request_cost_their_opener_the_connection(open_one: Opener) -> None:
    async def impatient(stream: Stream) -> None:
        with trio.move_on_after(0.1):
            await stream.receive_frame(1_000)
        await stream.reset()

    async with world(open_one) as here:
        here.two.set_stream_handler("/impatient/1", impatient)
        with suppress(HostError):
            for number in range(20):
                stream = await here.one.open_stream(here.two.peer_id, "/impatient/1")
                await stream.write(b"\0\0\3\xe7slow")
                await here.counted(number + 1)
        await here.is_expelled()


async def test_streams_above_the_number_that_a_peer_may_have_cost_it_the_connection(open_one: Opener) -> None:
    limits = HostLimits(
        streams_inbound_per_peer_max=4, streams_barren_per_peer_per_s=0.001, streams_barren_per_peer_burst=5.0
    )
    async with world(open_one, limits) as here:
        held = []
        while here.one.peer_id in here.two.connected_peers():
            with suppress(HostError):
                held.append(await here.one.open_stream(here.two.peer_id, PROTOCOL))
        await here.is_expelled()
        assert here.two.counters["streams_refused"] >= 6


async def test_a_peer_that_goes_with_all_its_streams_is_blamed_for_none(open_one: Opener) -> None:
    async with world(open_one) as here:
        for _ in range(20):
            await here.one.open_stream(here.two.peer_id, PROTOCOL)
        await here.one.disconnect(here.two.peer_id)
        await until(lambda: not here.two.connected_peers())
        await here.one.connect(here.two.addresses[0])
        await here.is_welcome()
        assert here.two.counters["streams_barren"] == 0


async def test_a_peer_is_reported_once_however_many_streams_it_had(open_one: Opener) -> None:
    async with world(open_one) as here:
        held = [await here.one.open_stream(here.two.peer_id, PROTOCOL) for _ in range(20)]
        with suppress(HostError):
            for stream in held:
                await stream.reset()
        await here.is_expelled()


async def test_streams_with_a_request_each_are_welcome(open_one: Opener) -> None:
    async with world(open_one) as here:
        for _ in range(20):
            await here.is_welcome()
        assert here.two.counters["streams_barren"] == 0


async def test_what_is_refused_for_want_of_room_is_not_counted(open_one: Opener) -> None:
    async def full(stream: Stream) -> None:
        await stream.reset()

    async with world(open_one) as here:
        here.two.set_stream_handler("/full/1", full)
        gate = Gate(lambda peer_id: False, lambda peer_id: trio.sleep(0))
        here.two.set_stream_handler("/members/1", gate.for_members(echo))
        for protocol in ("/full/1", "/members/1"):
            for _ in range(20):
                with suppress(HostError):
                    stream = await here.one.open_stream(here.two.peer_id, protocol)
                    await stream.send_frame(b"request")
                    await stream.receive_frame(10)
        await here.is_welcome()
        assert here.two.counters["streams_barren"] == 0


async def test_a_handler_that_only_talks_waits_for_no_request(open_one: Opener) -> None:
    async def tell(stream: Stream) -> None:
        await stream.send_frame(b"news")

    async with world(open_one) as here:
        here.two.set_stream_handler("/news/1", tell)
        for _ in range(20):
            async with await here.one.open_stream(here.two.peer_id, "/news/1") as stream:
                assert await stream.receive_frame(4) == b"news"
        await here.is_welcome()


async def test_streams_that_never_say_what_they_are_for_cost_their_opener_the_connection() -> None:
    async with world(opener("libp2p")) as here:
        (connection,) = here.one.swarm.get_connections()  # type: ignore[attr-defined]
        with suppress(Exception):
            for _ in range(20):
                await (await connection.muxed_conn.open_stream()).reset()
        await here.is_expelled()


async def test_streams_of_gossip_without_gossip_cost_their_opener_the_connection() -> None:
    async with open_host(b"a" * 32) as attacker, open_host(b"b" * 32, limits=FEW) as host:
        victim = Victim(host)
        await meet(attacker, victim)
        with suppress(Exception):
            for _ in range(20):
                stream = await attacker.basic.new_stream(host.basic.get_id(), ["/meshsub/1.1.0"])
                await stream.reset()
        await until(lambda: FLOOD in victim.faults)
        await until(lambda: attacker.peer_id not in host.connected_peers())
