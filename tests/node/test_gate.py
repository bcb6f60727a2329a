"""Members come first, strangers have a share, and who is of no use is disconnected."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from node.gate import STREAMS_MAX, STREAMS_PER_PEER_MAX, Gate
from node.host.allowance import Allowance
from node.host.interface import Host, HostError, Stream
from node.host.strangers import MESSAGES_MAX, MESSAGES_PER_S
from node.strangers import Strangers, StrangerSettings
from tests.node.host.hosts import KINDS, echo, opener, until

MEMBERS_ONLY, OPEN = "/members/1", "/open/1"
TOPIC = "/topic"


class World:
    """A node with a gate, and its visitors."""

    def __init__(self, node: Host, visitors: list[Host]) -> None:
        self.node = node
        self.visitors = visitors
        self.members: set[str] = set()
        self.joined = trio.Event()
        self.gate = Gate(self.members.__contains__, self.wait_member)
        node.set_members(self.members.__contains__, self.gate.remember_use)
        node.set_stream_handler(MEMBERS_ONLY, self.gate.for_members(echo))
        node.set_stream_handler(OPEN, self.gate.for_all(echo))

    async def wait_member(self, peer_id: str) -> None:
        await self.joined.wait()

    def admit(self, visitor: Host) -> None:
        self.members.add(visitor.peer_id)
        self.joined.set()

    async def is_served(self, visitor: Host, protocol: str) -> bool:
        try:
            stream = await visitor.open_stream(self.node.peer_id, protocol)
            await stream.send_frame(b"hello")
            assert await stream.receive_frame(5) == b"hello"
        except HostError:
            return False
        return True


@asynccontextmanager
async def world(kind: str, visitors: int = 1) -> AsyncIterator[World]:
    open_one = opener(kind)
    async with AsyncExitStack() as stack:
        hosts = [await stack.enter_async_context(open_one(number)) for number in range(visitors + 1)]
        made = World(hosts[0], hosts[1:])
        for visitor in made.visitors:
            await visitor.connect(made.node.addresses[0])
        await until(lambda: len(made.node.connected_peers()) == visitors, 30)
        yield made


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_stranger_uses_what_is_open_and_nothing_else(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.gate._HELLO_S", 0.05)
    async with world(kind) as made:
        (visitor,) = made.visitors
        assert await made.is_served(visitor, OPEN)
        assert not await made.is_served(visitor, MEMBERS_ONLY)
        made.admit(visitor)
        assert await made.is_served(visitor, MEMBERS_ONLY)


async def test_a_stream_that_is_quicker_than_the_hello_waits_for_it(kind: str) -> None:
    async with world(kind) as made, trio.open_nursery() as nursery:
        (visitor,) = made.visitors
        served: list[bool] = []

        async def use() -> None:
            served.append(await made.is_served(visitor, MEMBERS_ONLY))

        nursery.start_soon(use)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert served == []
        made.admit(visitor)
        await until(lambda: served == [True], 30)


async def test_strangers_share_few_streams_and_members_are_served_beside_them(kind: str) -> None:
    async with world(kind, 4) as made:
        *strangers, member = made.visitors
        made.admit(member)
        served = [
            await made.is_served(stranger, OPEN) for stranger in strangers for _ in range(STREAMS_PER_PEER_MAX + 2)
        ]
        assert sum(served) == STREAMS_MAX
        assert made.gate.counters["strangers_refused"] == len(served) - STREAMS_MAX
        assert all([await made.is_served(member, OPEN) for _ in range(STREAMS_MAX)])


async def test_gossip_of_strangers_is_limited_and_that_of_members_is_not(kind: str) -> None:
    async with world(kind, 2) as made:
        stranger, member = made.visitors
        made.admit(member)
        received: list[tuple[str, bytes]] = []

        def accept(peer_id: str, data: bytes) -> bool:
            received.append((peer_id, data))
            return True

        await made.node.subscribe(TOPIC, accept)
        for visitor in made.visitors:
            await visitor.subscribe(TOPIC, lambda peer_id, data: True)

        async def heard(visitor: Host) -> None:
            while not any(peer_id == visitor.peer_id for peer_id, _ in received):
                await visitor.publish(TOPIC, b"before")
                await trio.sleep(0.05)

        with trio.fail_after(60):
            for visitor in made.visitors:
                await heard(visitor)
        for number in range(2_000):
            await stranger.publish(TOPIC, b"stranger %d" % number)
        for number in range(200):
            await member.publish(TOPIC, b"member %d" % number)
        await until(lambda: sum(data.startswith(b"member") for _, data in received) == 200, 60)
        await until(lambda: made.node.counters["gossip_of_strangers_dropped"] > 0, 60)
        assert sum(data.startswith(b"stranger") for _, data in received) < 2_000
        assert made.gate.used_at(stranger.peer_id) > made.gate.used_at(member.peer_id) == float("-inf")


def test_an_allowance_is_used_up_and_grows_again() -> None:
    now = [0.0]
    allowance = Allowance(MESSAGES_PER_S, MESSAGES_MAX, lambda: now[0])
    assert sum(allowance.spend(1) for _ in range(10_000)) == MESSAGES_MAX
    now[0] = 1.0
    assert sum(allowance.spend(1) for _ in range(10_000)) == MESSAGES_PER_S
    now[0] = 1_000_000.0
    assert sum(allowance.spend(1) for _ in range(10_000)) == MESSAGES_MAX


SETTINGS = StrangerSettings(hello_timeout_s=15.0, idle_s=60.0, strangers_max=2, look_interval_s=1.0)


async def test_a_peer_without_a_hello_that_uses_nothing_is_disconnected(autojump_clock: MockClock) -> None:
    async with world("memory", 2) as made, trio.open_nursery() as nursery:
        made.admit(made.visitors[0])
        nursery.start_soon(Strangers(made.node, made.members.__contains__, made.gate.used_at, settings=SETTINGS).run)
        await trio.sleep(50)
        assert len(made.node.connected_peers()) == 2
        await trio.sleep(20)
        assert made.node.connected_peers() == {made.visitors[0].peer_id}
        nursery.cancel_scope.cancel()


async def test_a_stranger_that_fetches_may_stay_until_it_has_done(autojump_clock: MockClock) -> None:
    async with world("memory") as made, trio.open_nursery() as nursery:
        (visitor,) = made.visitors
        nursery.start_soon(Strangers(made.node, made.members.__contains__, made.gate.used_at, settings=SETTINGS).run)
        stream: Stream = await visitor.open_stream(made.node.peer_id, OPEN)
        await trio.sleep(500)
        assert made.node.connected_peers() == {visitor.peer_id}
        await stream.aclose()
        await trio.sleep(50)
        assert made.node.connected_peers() == {visitor.peer_id}
        await trio.sleep(20)
        assert made.node.connected_peers() == frozenset()
        nursery.cancel_scope.cancel()


async def test_of_too_many_strangers_those_go_that_have_used_nothing_for_the_longest(autojump_clock: MockClock) -> None:
    async with world("memory", 4) as made:
        watch = Strangers(made.node, made.members.__contains__, made.gate.used_at, settings=SETTINGS)
        assert watch.unwelcome() == []
        for visitor in made.visitors[2:]:
            assert await made.is_served(visitor, OPEN)
        await trio.sleep(16)
        assert set(watch.unwelcome()) == {visitor.peer_id for visitor in made.visitors[:2]}
