"""The peer manager: one channel per pair, redialling, standing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
import trio.testing

from node import peers as peers_module
from node.channel import MESSAGES_PROTOCOL, Hello, Priority
from node.host.interface import Host, HostLimits
from node.memory_host import MemoryNetwork
from node.peers import Peers, PeerSettings
from pdfedchain.errors import InputError
from pdfedchain.ids import Address, Hash
from tests.node.host.hosts import KINDS, Opener, opener, until

QUICK = PeerSettings(
    backoff_first_s=0.02,
    backoff_max_s=0.1,
    backoff_other_chain_s=0.05,
    parting_s=0.05,
    ban_first_s=0.3,
    ping_interval_s=0.2,
    silence_max_s=1.0,
)


class Member:
    """A host with its peer manager, and what they have seen."""

    def __init__(self, host: Host, addresses: list[str], genesis: int, session: int) -> None:
        self.host = host
        self.received: list[tuple[str, bytes]] = []
        self.events: list[str] = []
        self.judge: Callable[[bytes], None] = lambda message: None
        hello = Hello(1, "test", Hash(bytes([genesis]) * 32), Address(bytes(32)), 0, bytes([session]) * 8)
        self.peers = Peers(
            host,
            lambda: hello,
            addresses,
            receive=self.receive,
            up=lambda peer_id, hello: self.events.append("up " + peer_id),
            down=lambda peer_id: self.events.append("down " + peer_id),
            settings=QUICK,
        )

    def receive(self, peer_id: str, message: bytes) -> None:
        self.judge(message)
        self.received.append((peer_id, message))


@asynccontextmanager
async def member(
    open_one: Opener, number: int, addresses: list[str], *, listen: str = "", genesis: int = 1, session: int = 0
) -> AsyncIterator[Member]:
    async with open_one(number, listen) as host, trio.open_nursery() as nursery:
        one = Member(host, addresses, genesis, session)
        nursery.start_soon(one.peers.run)
        yield one
        nursery.cancel_scope.cancel()


@pytest.fixture(params=KINDS)
def open_one(request: pytest.FixtureRequest) -> Opener:
    return opener(request.param)


SETTLING = b"settling"


async def mesh(stack: AsyncExitStack, open_one: Opener, count: int) -> list[Member]:
    """Members that all know each other's addresses and start at once."""
    hosts = [await stack.enter_async_context(open_one(number + 1)) for number in range(count)]
    addresses = [host.addresses[0] for host in hosts]
    nursery = await stack.enter_async_context(trio.open_nursery())
    stack.callback(nursery.cancel_scope.cancel)
    members = [Member(host, addresses, 1, number) for number, host in enumerate(hosts)]
    for one in members:
        nursery.start_soon(one.peers.run)
    return members


async def settled(members: list[Member]) -> None:
    """Until who lost a race between two channels has noticed, which is when messages have gone around."""
    with trio.fail_after(30):
        while not all(len({peer_id for peer_id, _ in one.received}) == len(members) - 1 for one in members):
            for one in members:
                one.peers.broadcast(SETTLING)
            await trio.sleep(0.05)


def heard(one: Member) -> list[tuple[str, bytes]]:
    """What a member received, but for what `settled` sent."""
    return [(peer_id, data) for peer_id, data in one.received if data != SETTLING]


async def test_all_pairs_that_dial_each_other_at_once_end_with_one_channel_each(open_one: Opener) -> None:
    async with AsyncExitStack() as stack:
        members = await mesh(stack, open_one, 4)
        with trio.fail_after(20):
            for one in members:
                await one.peers.wait_connected(3)
        await settled(members)
        for one in members:
            one.peers.broadcast(b"once")
        await until(lambda: all(len(heard(one)) >= 3 for one in members))
        everybody = {one.host.peer_id for one in members}
        for one in members:
            others = everybody - {one.host.peer_id}
            assert sorted((peer_id, b"once") for peer_id in others) == sorted(heard(one))
            assert tuple(sorted(others)) == one.peers.peer_ids()
            for peer_id, channel in one.peers.connected.items():
                other = next(other for other in members if other.host.peer_id == peer_id)
                assert channel.opened_by_us is not other.peers.connected[one.host.peer_id].opened_by_us


async def test_sending_reaches_one_and_broadcasting_spares_the_excluded(open_one: Opener) -> None:
    async with AsyncExitStack() as stack:
        one, two, three = await mesh(stack, open_one, 3)
        with trio.fail_after(20):
            for each in (one, two, three):
                await each.peers.wait_connected(2)
        await settled([one, two, three])
        one.peers.broadcast(b"not for three", priority=Priority.HIGH, exclude=three.host.peer_id)
        one.peers.send(three.host.peer_id, b"only for three")
        one.peers.send("nobody", b"lost")
        await until(lambda: bool(heard(two) and heard(three)))
        assert [(one.host.peer_id, b"not for three")] == heard(two)
        assert [(one.host.peer_id, b"only for three")] == heard(three)


async def test_a_peer_that_vanishes_and_returns_is_connected_again(open_one: Opener) -> None:
    async with member(open_one, 2, [], session=1) as two:
        address = two.host.addresses[0]
        name = two.host.peer_id
        async with member(open_one, 1, [address]) as one:
            with trio.fail_after(10):
                await one.peers.wait_connected(1)
            await two.host.disconnect(one.host.peer_id)
            await until(lambda: one.events == ["up " + name, "down " + name, "up " + name])
            other = one.host.peer_id
            await until(lambda: two.events[:3] == ["up " + other, "down " + other, "up " + other])


async def test_a_restarted_peer_is_found_at_its_old_address(open_one: Opener) -> None:
    async with open_one(2) as first:
        address = first.addresses[0]
    async with member(open_one, 1, [address]) as one:
        for session in (1, 2):
            async with member(open_one, 2, [], listen=address.partition("/p2p/")[0], session=session):
                with trio.fail_after(10):
                    await one.peers.wait_connected(1)
            await until(lambda: not one.peers.connected)
        assert [event.split()[0] for event in one.events] == ["up", "down"] * 2


async def test_a_peer_of_another_chain_is_told_and_logged_once(
    open_one: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        member(open_one, 2, [], genesis=2) as two,
        member(open_one, 1, [two.host.addresses[0]], genesis=1) as one,
    ):
        await until(lambda: one.peers.counters["other_chain"] >= 2 and two.peers.counters["other_chain"] >= 2)
        await until(lambda: not one.host.connected_peers() and not two.host.connected_peers(), 30)
        assert one.events + two.events == []
        errors = [record.getMessage() for record in caplog.records if record.name == "node.peers"]
        assert len(errors) == 2
        assert all("01" * 32 in error and "02" * 32 in error for error in errors)


async def test_who_sends_nonsense_is_dropped_banned_and_taken_back_later(open_one: Opener) -> None:
    def refuse_nonsense(message: bytes) -> None:
        if message == b"nonsense":
            raise InputError("nonsense")

    async with member(open_one, 2, []) as two, member(open_one, 1, [two.host.addresses[0]]) as one:
        two.judge = refuse_nonsense
        with trio.fail_after(10):
            await one.peers.wait_connected(1)
        one.peers.broadcast(b"nonsense")
        await until(lambda: two.peers.counters["faults"] == 1 and not two.peers.connected)
        await until(lambda: not one.peers.connected)
        with trio.fail_after(10):
            await one.peers.wait_connected(1)
        one.peers.broadcast(b"sense")
        await until(lambda: two.received == [(one.host.peer_id, b"sense")])


async def test_undecodable_frames_are_a_fault(open_one: Opener) -> None:
    async with member(open_one, 2, []) as two, open_one(1) as one:
        await one.connect(two.host.addresses[0])
        stream = await one.open_stream(two.host.peer_id, MESSAGES_PROTOCOL)
        await stream.send_frame(b"garbage")
        await until(lambda: two.peers.counters["faults"] == 1)
        await until(lambda: not two.host.connected_peers())


async def test_addresses_that_cannot_work_are_given_up_without_stopping_the_others(open_one: Opener) -> None:
    async with (
        member(open_one, 2, []) as two,
        member(open_one, 1, ["nonsense", "/ip4/127.0.0.1", two.host.addresses[0]]) as one,
    ):
        with trio.fail_after(10):
            await one.peers.wait_connected(1)


async def test_a_silent_link_is_given_up_and_dialled_anew() -> None:
    network = MemoryNetwork()

    @asynccontextmanager
    async def open_one(number: int, listen: str = "", limits: HostLimits | None = None) -> AsyncIterator[Host]:
        async with network.open_host(bytes([number]) * 32, listen, limits=limits) as host:
            yield host

    async with member(open_one, 2, []) as two, member(open_one, 1, [two.host.addresses[0]]) as one:
        with trio.fail_after(10):
            await one.peers.wait_connected(1)
            await two.peers.wait_connected(1)
        network.link(one.host.peer_id, two.host.peer_id).stall()
        await until(lambda: not one.peers.connected and not two.peers.connected)
        network.heal(one.host.peer_id, two.host.peer_id)
        with trio.fail_after(10):
            await two.peers.wait_connected(1)


async def test_a_bug_in_the_receiver_stops_the_node() -> None:
    network = MemoryNetwork()

    def fail(message: bytes) -> None:
        raise ZeroDivisionError

    async def fails() -> None:
        async with network.open_host(b"a" * 32) as host, network.open_host(b"b" * 32) as other:
            one, two = Member(host, [], 1, 1), Member(other, list(host.addresses), 1, 2)
            one.judge = fail
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.peers.run)
                nursery.start_soon(two.peers.run)
                await two.peers.wait_connected(1)
                two.peers.broadcast(b"x")

    with pytest.raises(ExceptionGroup) as caught:
        await fails()
    assert caught.value.subgroup(ZeroDivisionError) is not None


async def test_bans_grow_with_each_fault_and_a_clean_day_clears_the_record(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bans: list[tuple[str, float]] = []

    async def note(peer_id: str, duration_s: float) -> None:
        bans.append((peer_id, duration_s))

    async with MemoryNetwork().open_host(bytes([1]) * 32) as host:
        host.ban = note  # type: ignore[method-assign]
        hello = Hello(1, "test", Hash(bytes(32)), Address(bytes(32)), 0, bytes(8))
        peers = Peers(host, lambda: hello, [], receive=lambda peer_id, message: None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peers.run)
            await trio.testing.wait_all_tasks_blocked()
            for pause_s in (0.0, 60.0, 120.0, 86_401.0, 0.0):
                await trio.sleep(pause_s)
                peers.fault("mallory", "nonsense")
            for _ in range(20):
                peers.fault("oscar", "nonsense")
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert [duration_s for name, duration_s in bans if name == "mallory"] == [30.0, 60.0, 120.0, 30.0, 60.0]
    assert max(duration_s for name, duration_s in bans if name == "oscar") == 3_600.0


async def test_a_peer_that_was_found_is_dialled_and_dialled_again(open_one: Opener) -> None:
    async with member(open_one, 1, []) as one:
        async with member(open_one, 2, []) as two:
            address = two.host.addresses[0]
            listen = address.partition("/p2p/")[0]
            assert one.peers.add(address)
            assert not one.peers.add(address)
            assert not one.peers.add(one.host.addresses[0])
            with trio.fail_after(30):
                await one.peers.wait_connected(1)
        await until(lambda: not one.peers.connected)
        async with member(open_one, 2, [], listen=listen, session=1):
            with trio.fail_after(30):
                await one.peers.wait_connected(1)


async def test_a_found_peer_of_another_chain_gets_no_channel(open_one: Opener) -> None:
    async with member(open_one, 1, []) as one, member(open_one, 2, [], genesis=2) as two:
        assert one.peers.add(two.host.addresses[0])
        await until(lambda: one.peers.counters["other_chain"] > 0)
        assert not one.peers.connected


async def test_found_peers_are_bounded_and_forgotten_when_nobody_is_there(
    open_one: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers_module, "_FOUND_MAX", 2)
    async with AsyncExitStack() as stack:
        gone = []
        for number in (2, 3, 4):
            async with open_one(number) as host:
                gone.append(host.addresses[0])
        one = await stack.enter_async_context(member(open_one, 1, []))
        assert [one.peers.add(address) for address in gone] == [True, True, False]
        assert one.peers.counters["found_dropped"] == 1
        await until(lambda: one.peers.add(gone[2]))


@pytest.mark.parametrize(
    "text", ["", "/p2p/", "hello", "/ip4/1.2.3.4/tcp/1/p2p/garbage", "/ip4/1.2.3.4/p2p/" + "1" * 500]
)
async def test_garbage_that_was_found_is_forgotten(open_one: Opener, text: str) -> None:
    async with member(open_one, 1, []) as one:
        one.peers.add(text)
        await until(lambda: not one.peers._found)
        assert not one.peers.connected
