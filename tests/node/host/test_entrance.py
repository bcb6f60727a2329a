"""Connections from one address: bounded, and barred where they come to nothing and no honest node is there."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack, suppress

import pytest
import trio

from node.host.entrance import Entrance
from node.host.interface import DialFailed, Host, HostLimits
from node.host.libp2p_host import open_host
from node.host.standing import PEERS_PER_NETWORK_MAX
from tests.node.host.hosts import KINDS, Opener, echo, opener, until, until_connected
from tests.node.host.test_hostile import dial_from, ended, honest_exchange, port_of

HERE, THERE = "192.0.2.1", "192.0.2.2"
FEW = HostLimits(
    connections_per_address_max=2,
    connections_wasted_per_address_per_s=0.001,
    connections_wasted_per_address_burst=3.0,
    dial_timeout_s=5.0,
)


class Door:
    """An entrance with a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.counters: Counter[str] = Counter()
        self.entrance = Entrance(FEW, self.counters, lambda: self.now)

    def barred_after(self, address: str) -> int:
        """How many connections may come to nothing until the address is barred; 100 if it is not."""
        return next((number for number in range(100) if self.entrance.wasted(address)), 100)


def test_one_address_has_a_number_of_places_and_gets_them_back() -> None:
    door = Door().entrance
    assert [door.admit(HERE) for _ in range(3)] == [True, True, False]
    assert door.admit(THERE)
    door.leave(HERE)
    assert door.admit(HERE)
    for address in (HERE, HERE, THERE):
        door.leave(address)
    assert not door.inbound


def test_an_address_that_wastes_connections_is_barred_for_longer_each_time() -> None:
    door = Door()
    for duration_s in (30.0, 60.0, 120.0):
        assert door.barred_after(HERE) == 3
        assert not door.entrance.admit(HERE)
        assert door.entrance.admit(THERE)
        door.entrance.leave(THERE)
        door.now += duration_s - 0.5
        assert not door.entrance.admit(HERE)
        door.now += 5_000.0
        assert door.entrance.admit(HERE)
        door.entrance.leave(HERE)
    door.now += 100_000.0
    assert door.barred_after(HERE) == 3
    door.now += 30.5
    assert door.entrance.admit(HERE), "after a day the record is clean"
    assert door.counters["addresses_barred"] == 4


def test_an_address_of_unknown_owner_is_never_barred() -> None:
    assert Door().barred_after("") == 100


def test_an_address_is_spared_while_an_honest_node_is_there_and_for_an_hour_after() -> None:
    door = Door()
    door.entrance.arrived("honest", HERE)
    door.entrance.vouch("honest")
    assert door.barred_after(HERE) == 100
    door.now = 1_000_000.0
    assert door.barred_after(HERE) == 100, "it is still connected"
    door.entrance.left("honest")
    door.now += 3_599.0
    assert door.barred_after(HERE) == 100
    door.now += 2.0
    assert door.barred_after(HERE) < 100
    assert door.counters["inbound_address_spared"] > 0


def test_where_a_known_peer_listens_nobody_is_barred() -> None:
    door = Door()
    door.entrance.learn(HERE)
    assert door.barred_after(HERE) == 100
    assert door.barred_after(THERE) == 3


def test_a_banned_peer_speaks_for_nobody() -> None:
    door = Door()
    door.entrance.arrived("turncoat", HERE)
    door.entrance.vouch("turncoat")
    door.entrance.ban("turncoat", 30.0)
    door.entrance.left("turncoat")
    assert door.barred_after(HERE) == 3


def test_what_is_remembered_of_addresses_is_bounded() -> None:
    door = Door()
    for number in range(3_000):
        assert door.barred_after(f"barred {number}") == 3
        door.entrance.arrived(str(number), f"spared {number}")
        door.entrance.vouch(str(number))
        door.entrance.left(str(number))
    entrance = door.entrance
    kept = (entrance._bars, entrance._spared, entrance._origins, entrance._vouched)
    assert [len(each) for each in kept] == [1_024, 1_024, 1_024, 0]


def test_who_was_never_here_speaks_for_nobody() -> None:
    door = Door()
    door.entrance.vouch("dialled by us")
    door.entrance.left("dialled by us")
    door.entrance.ban("dialled by us", 30.0)
    assert door.barred_after(HERE) == 3


def test_who_is_banned_after_it_has_gone_counts_for_its_address() -> None:
    door = Door()
    for number in range(PEERS_PER_NETWORK_MAX):
        assert door.entrance.admit(HERE)
        door.entrance.arrived(str(number), HERE)
        door.entrance.leave(HERE)
        door.entrance.left(str(number))
        door.entrance.ban(str(number), 30.0)
    assert not door.entrance.admit(HERE)
    assert door.entrance.admit(THERE)


@pytest.fixture(params=KINDS)
def open_one(request: pytest.FixtureRequest) -> Opener:
    return opener(request.param)


async def is_refused(guest: Host, host: Host) -> None:
    with suppress(DialFailed):  # the dialler may learn only afterwards that it is not wanted
        await guest.connect(host.addresses[0])
    await until(lambda: host.peer_id not in guest.connected_peers())
    assert guest.peer_id not in host.connected_peers()


async def test_one_address_has_a_bounded_number_of_connections_and_gets_places_back(open_one: Opener) -> None:
    async with open_one(1, limits=FEW) as host, open_one(2) as first, open_one(3) as second, open_one(4) as third:
        for guest in (first, second):
            await guest.connect(host.addresses[0])
            await until_connected(host, guest.peer_id)
        await is_refused(third, host)
        assert host.counters["inbound_address_full"] == 1
        await first.disconnect(host.peer_id)
        with trio.fail_after(60):
            while third.peer_id not in host.connected_peers():
                with suppress(DialFailed):
                    await third.connect(host.addresses[0])
                await trio.sleep(0.05)


async def test_an_address_that_dials_again_and_again_is_barred_but_for_those_inside(open_one: Opener) -> None:
    async with open_one(1, limits=FEW) as host, open_one(2) as first, open_one(3) as second, open_one(4) as third:
        for guest in (first, second):
            await guest.connect(host.addresses[0])
            await until_connected(host, guest.peer_id)
        while not host.counters["addresses_barred"]:
            await is_refused(third, host)
        assert host.counters["inbound_address_full"] == 4
        await second.disconnect(host.peer_id)
        await until(lambda: second.peer_id not in host.connected_peers())
        await is_refused(second, host)
        assert host.counters["inbound_address_banned"] >= 1
        assert first.peer_id in host.connected_peers()
        # Whom this host dials comes in all the same.
        assert await host.connect(second.addresses[0]) == second.peer_id


async def test_an_address_of_which_a_member_has_come_is_not_barred(open_one: Opener) -> None:
    async with open_one(1, limits=FEW) as host, open_one(2) as first, open_one(3) as second, open_one(4) as third:
        for guest in (first, second):
            await guest.connect(host.addresses[0])
            await until_connected(host, guest.peer_id)
        host.vouch(first.peer_id)
        while not host.counters["inbound_address_spared"]:
            await is_refused(third, host)
        await first.disconnect(host.peer_id)
        with trio.fail_after(60):
            while first.peer_id not in host.connected_peers():
                with suppress(DialFailed):
                    await first.connect(host.addresses[0])
                await trio.sleep(0.05)
        assert host.counters["addresses_barred"] == 0


async def test_the_address_of_a_peer_that_is_to_be_dialled_is_not_barred(open_one: Opener) -> None:
    async with AsyncExitStack() as stack:
        host = await stack.enter_async_context(open_one(1, limits=FEW))
        guests = [await stack.enter_async_context(open_one(number)) for number in (2, 3, 4)]
        host.learn(guests[2].addresses[0])
        for guest in guests[:2]:
            await guest.connect(host.addresses[0])
            await until_connected(host, guest.peer_id)
        while not host.counters["inbound_address_spared"]:
            await is_refused(guests[2], host)
        assert host.counters["addresses_barred"] == 0


async def test_a_hundred_silent_connections_are_all_ended_and_their_address_barred() -> None:
    limits = HostLimits(connections_per_address_max=8)
    async with open_host(b"v" * 32, limits=limits) as victim, open_host(b"h" * 32) as honest:
        victim.set_stream_handler("/test/1", echo)
        await honest.connect(victim.addresses[0])
        connections = []
        while not victim.counters["addresses_barred"]:
            connections.append(await dial_from("127.0.0.2", port_of(victim)))
        # The eight that were waiting for a handshake too, at once and not after their ten seconds.
        with trio.fail_after(60):
            for connection in connections:
                await ended(connection)
                connection.close()
        await until(lambda: "127.0.0.2" not in victim.swarm.entrance.inbound)
        late = await dial_from("127.0.0.2", port_of(victim))
        with trio.fail_after(60):
            await ended(late)
        late.close()
        assert victim.counters["inbound_address_banned"] >= 1
        await honest_exchange(honest, victim.peer_id)


async def test_who_shows_an_identity_and_is_not_taken_is_nobody_that_wastes() -> None:
    limits = HostLimits(connections_inbound_max=1, connections_reserved=0, connections_wasted_per_address_burst=1.0)
    async with open_host(b"v" * 32, limits=limits) as victim, AsyncExitStack() as stack:
        first = await stack.enter_async_context(open_host(bytes([9]) * 32))
        await first.connect(victim.addresses[0])
        await until(lambda: first.peer_id in victim.connected_peers())
        victim.swarm._inbound_limiter.total_tokens = 10
        for number in range(4):
            guest = await stack.enter_async_context(open_host(bytes([number]) * 32))
            await is_refused(guest, victim)
        await until(lambda: victim.counters["inbound_unknown_full"] == 4)
        assert victim.counters["addresses_barred"] == 0


async def test_four_banned_peers_bar_their_address_but_for_those_inside(open_one: Opener) -> None:
    async with open_one(1) as host, open_one(2) as inside, open_one(3) as late:
        await inside.connect(host.addresses[0])
        for number in range(PEERS_PER_NETWORK_MAX):
            async with open_one(10 + number) as attacker:
                await attacker.connect(host.addresses[0])
                await until_connected(host, attacker.peer_id)
                await host.ban(attacker.peer_id, 1_000.0)
        await is_refused(late, host)
        assert host.counters["inbound_address_banned"] == 1
        assert inside.peer_id in host.connected_peers()
