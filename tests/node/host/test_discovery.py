"""Peers found by a content and on the same network; garbage finds nobody."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from libp2p.host.exceptions import StreamFailure
from libp2p.kad_dht.common import PROTOCOL_ID
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.utils import encode_varint_prefixed
from zeroconf import ServiceInfo, Zeroconf

from node.channel import Hello
from node.host import neighbours as neighbours_module
from node.host import providers as providers_module
from node.host.libp2p_host import Libp2pHost, open_host
from node.host.neighbours import SERVICE, addresses_in, announced, neighbours
from node.peers import Peers
from pdfedchain.ids import Address, Hash
from tests.node.host.hosts import until

CID = b"\x01\x70\x12\x20" + bytes(range(32))
LOOPBACK = ["127.0.0.1"]


async def test_a_provider_is_found_through_a_third_host_and_can_be_dialled() -> None:
    async with (
        open_host(b"a" * 32, providers=True) as has,
        open_host(b"b" * 32, providers=True) as between,
        open_host(b"c" * 32, providers=True) as wants,
    ):
        await has.connect(between.addresses[0])
        await wants.connect(between.addresses[0])
        has.provide(CID)
        with trio.fail_after(60):
            while not (found := await wants.find_providers(CID)):
                await trio.sleep(0.1)
            assert found == has.addresses
            assert await wants.connect(found[0]) == has.peer_id


async def test_a_host_without_discovery_finds_nobody_and_bothers_nobody() -> None:
    async with open_host(b"a" * 32) as alone, open_host(b"b" * 32, providers=True) as other:
        await alone.connect(other.addresses[0])
        alone.provide(CID)
        assert await alone.find_providers(CID) == ()
        assert await other.find_providers(CID) == ()


async def send(attacker: Libp2pHost, victim: Libp2pHost, payload: bytes) -> None:
    stream = await attacker.basic.new_stream(victim.basic.get_id(), [PROTOCOL_ID])
    await stream.write(encode_varint_prefixed(payload))


@pytest.mark.parametrize("payload", [b"", b"\xff" * 100, b"\x08\x09"])
async def test_garbage_stops_nothing(payload: bytes) -> None:
    async with open_host(b"a" * 32) as attacker, open_host(b"b" * 32, providers=True) as victim:
        await attacker.connect(victim.addresses[0])
        await send(attacker, victim, payload)
        assert await victim.find_providers(CID) == ()
        assert attacker.peer_id in victim.connected_peers()


async def test_addresses_that_are_none_are_left_out() -> None:
    async with open_host(b"a" * 32) as attacker, open_host(b"b" * 32, providers=True) as victim:
        await attacker.connect(victim.addresses[0])
        message = Message(type=Message.MessageType.ADD_PROVIDER, key=CID[2:])
        addresses = [attacker.basic.get_addrs()[0].to_bytes(), b"\xff\xff", b""]
        message.providerPeers.add(id=attacker.basic.get_id().to_bytes(), addrs=addresses)
        await send(attacker, victim, message.SerializeToString())
        with trio.fail_after(30):
            while not (found := await victim.find_providers(CID)):
                await trio.sleep(0.05)
        assert found == attacker.addresses


async def test_values_of_strangers_are_not_kept() -> None:
    async with open_host(b"a" * 32) as attacker, open_host(b"b" * 32, providers=True) as victim:
        await attacker.connect(victim.addresses[0])
        assert victim._providers is not None
        for key in (b"key", b"/pk/" + bytes(34)):
            message = Message(type=Message.MessageType.PUT_VALUE, key=key)
            message.record.key, message.record.value = key, bytes(1_000)
            await send(attacker, victim, message.SerializeToString())
        await send(attacker, victim, Message(type=Message.MessageType.FIND_NODE, key=CID[2:]).SerializeToString())
        await trio.testing.wait_all_tasks_blocked(0.2)
        assert victim._providers._dht.get_value_store_size() == 0


async def test_keys_with_providers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers_module, "_KEYS_MAX", 3)
    kept = providers_module._Newest()
    for number in range(5):
        kept[bytes([number])] = {}
    assert list(kept) == [b"\x02", b"\x03", b"\x04"]


async def test_a_peer_that_says_nothing_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers_module, "_SERVE_TIMEOUT_S", 3.0)
    async with open_host(b"a" * 32) as attacker, open_host(b"b" * 32, providers=True) as victim:
        await attacker.connect(victim.addresses[0])
        for _ in range(providers_module._STREAMS_PER_PEER_MAX + 2):
            with suppress(StreamFailure):
                await attacker.basic.new_stream(victim.basic.get_id(), [PROTOCOL_ID])
        await until(lambda: victim.counters["kademlia_refused"] >= 2)
        assert victim._providers is not None
        serving: Counter[str] = victim._providers._serving
        await until(lambda: not serving)


async def test_two_hosts_on_one_network_hear_of_each_other() -> None:
    heard: dict[str, set[str]] = {"one": set(), "two": set()}
    async with open_host(b"a" * 32) as one, open_host(b"b" * 32) as two:
        async with (
            neighbours(one.addresses, heard["one"].add, interfaces=LOOPBACK),
            neighbours(two.addresses, heard["two"].add, interfaces=LOOPBACK),
        ):
            await until(lambda: set(two.addresses) <= heard["one"] and set(one.addresses) <= heard["two"], 60.0)
        assert not heard["one"] & set(one.addresses)
        assert await one.connect(two.addresses[0]) == two.peer_id


async def test_garbage_on_the_network_is_heard_as_nothing() -> None:
    heard: set[str] = set()
    zeroconf = await trio.to_thread.run_sync(lambda: Zeroconf(interfaces=LOOPBACK))
    try:
        async with (
            open_host(b"a" * 32) as one,
            open_host(b"b" * 32) as two,
            neighbours(one.addresses, heard.add, interfaces=LOOPBACK),
        ):
            for number, text in enumerate((b"", b"\xff" * 30, b"\x20dnsaddr=/ip4/1.2.3.4", b"\x08dnsaddr=")):
                name = f"{'garbage' * 3}{number}"
                info = ServiceInfo(SERVICE, f"{name}.{SERVICE}", port=0, properties=text, server=f"{name}.local.")
                await trio.to_thread.run_sync(zeroconf.register_service, info)
            async with neighbours(two.addresses, lambda address: None, interfaces=LOOPBACK):
                await until(lambda: set(two.addresses) <= heard, 60.0)
            assert heard == set(two.addresses)
    finally:
        await trio.to_thread.run_sync(zeroconf.close)


async def test_what_is_heard_is_dialled_and_shakes_hands() -> None:
    async with open_host(b"a" * 32) as one, open_host(b"b" * 32) as two, trio.open_nursery() as nursery:
        hello = Hello(1, "test", Hash(bytes(32)), Address(bytes(32)), 0, bytes(8))
        managers = [Peers(host, lambda: hello, (), receive=lambda peer_id, frame: None) for host in (one, two)]
        for manager in managers:
            nursery.start_soon(manager.run)
        async with (
            neighbours(one.addresses, managers[0].add, interfaces=LOOPBACK),
            neighbours(two.addresses, managers[1].add, interfaces=LOOPBACK),
        ):
            with trio.fail_after(60):
                for manager in managers:
                    await manager.wait_connected(1)
        assert managers[0].peer_ids() == (two.peer_id,)
        nursery.cancel_scope.cancel()


@given(st.binary(max_size=2_000))
def test_any_record_is_addresses_or_nothing(text: bytes) -> None:
    assert all("/p2p/" in address and address.isprintable() for address in addresses_in(text))


def test_a_record_has_a_bounded_number_of_addresses() -> None:
    text = b"".join(
        bytes([len(string)]) + string for string in (b"dnsaddr=/ip4/1.2.3.4/tcp/%d/p2p/x" % port for port in range(99))
    )
    assert len(addresses_in(text)) == neighbours_module._ADDRESSES_MAX
    assert addresses_in(b"\x05hello\x04\xff\xff\xff\xff" + text[: 1 + text[0]]) == ("/ip4/1.2.3.4/tcp/0/p2p/x",)


def test_a_wildcard_is_announced_as_every_interface_and_loopback_not_at_all() -> None:
    interfaces = ["192.168.1.5", "fd00::5"]
    listened = ["/ip4/0.0.0.0/tcp/1/p2p/x", "/ip6/::/tcp/2/p2p/x", "/ip4/127.0.0.1/tcp/3/p2p/x"]
    assert announced(listened, interfaces) == ("/ip4/192.168.1.5/tcp/1/p2p/x", "/ip6/fd00::5/tcp/2/p2p/x")
    assert announced(["/ip4/192.168.1.5/tcp/4/p2p/x"], interfaces) == ("/ip4/192.168.1.5/tcp/4/p2p/x",)
