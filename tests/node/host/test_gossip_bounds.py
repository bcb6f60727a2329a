"""What a peer can make gossip hold, send and dial, and beside each mend that libp2p still lacks it."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.rpc_queue import RpcQueue

from node.host.gossip_control import (
    IDS_MAX,
    PAYLOADS_MAX,
    REPEATED_MAX,
    SUBSCRIPTIONS_MAX,
    Misuse,
    clean_control,
    clean_subscriptions,
)
from node.host.gossip_queue import GOSSIP_SHARE_SIZE_BYTES, Queues
from node.host.gossip_router import ANSWER_SIZE_BYTES_MAX, CACHE_SIZE_BYTES_MAX, BoundedCache, MendedGossipSub
from node.host.interface import HostLimits
from node.host.libp2p_host import open_host
from tests.node.host.hosts import until
from tests.node.host.test_mends import TOPIC, Victim, meet, message, send_rpc

PEER = ID(b"\x00\x24" + bytes(36))
OTHER = ID(b"\x00\x24" + bytes(35) + b"1")
OPTIONS: dict[str, Any] = {"protocols": [PROTOCOL_ID_V11], "degree": 8, "degree_low": 6, "degree_high": 12}


def payload(number: int, size_bytes: int) -> rpc_pb2.Message:
    return rpc_pb2.Message(data=bytes(size_bytes), topicIDs=[TOPIC], from_id=b"author", seqno=number.to_bytes(8, "big"))


def router(kind: type[GossipSub]) -> tuple[GossipSub, RpcQueue]:
    """A router with one neighbour, whose queue is returned."""
    made = kind(**OPTIONS, spam_protection_enabled=False)
    made.counters = Counter()
    queue = RpcQueue(max_size=1_000_000)
    made.pubsub = SimpleNamespace(peer_queues={PEER: queue, OTHER: RpcQueue()}, peers={}, seen_messages=set())
    return made, queue


def waiting_size_bytes(queue: RpcQueue) -> int:
    return sum(rpc.ByteSize() for rpc in queue._queue._non_priority)


def iwant(*identifiers: bytes) -> rpc_pb2.ControlIWant:
    return rpc_pb2.ControlIWant(messageIDs=identifiers)


# Requests for cached messages


def test_the_same_message_asked_for_again_and_again_is_misuse() -> None:
    counters: Counter[str] = Counter()
    control = rpc_pb2.ControlMessage(iwant=[iwant(*[b"one"] * 20_000), iwant(*[b"one"] * 20_000)])
    with pytest.raises(Misuse):
        clean_control(control, {TOPIC}, counters)
    assert counters["gossip_control_misused"] == 1


def test_an_identifier_counts_once_however_it_is_written() -> None:
    ways = [b"\xab\xcd\xef", b"abcdef", b"ABCDEF", b"aBcDeF"]
    cleaned = clean_control(rpc_pb2.ControlMessage(iwant=[iwant(*ways)]), {TOPIC}, Counter())
    assert [list(each.messageIDs) for each in cleaned.iwant] == [[b"\xab\xcd\xef"]]


def test_too_many_messages_asked_for_at_once_are_misuse() -> None:
    many = [b"id%d" % number for number in range(IDS_MAX + 1)]
    with pytest.raises(Misuse):
        clean_control(rpc_pb2.ControlMessage(iwant=[iwant(*many)]), {TOPIC}, Counter())
    cleaned = clean_control(rpc_pb2.ControlMessage(iwant=[iwant(*many[:-1])]), {TOPIC}, Counter())
    assert list(cleaned.iwant[0].messageIDs) == many[:-1]


def test_a_few_repetitions_are_dropped_and_forgiven() -> None:
    counters: Counter[str] = Counter()
    cleaned = clean_control(rpc_pb2.ControlMessage(iwant=[iwant(*[b"one"] * (REPEATED_MAX + 1))]), {TOPIC}, counters)
    assert list(cleaned.iwant[0].messageIDs) == [b"one"]
    assert counters["gossip_control_dropped"] == REPEATED_MAX


async def test_an_answer_is_bounded_in_bytes_whatever_is_asked_for() -> None:
    mended, queue = router(MendedGossipSub)
    identifiers = []
    for number in range(2 * ANSWER_SIZE_BYTES_MAX // 131_072):
        mended.mcache.put(payload(number, 131_072))
        identifiers.append(b"author" + number.to_bytes(8, "big"))
    await mended.handle_iwant(iwant(*identifiers), PEER)
    assert ANSWER_SIZE_BYTES_MAX // 2 < waiting_size_bytes(queue) <= ANSWER_SIZE_BYTES_MAX + 1_024
    assert mended.counters["gossip_wishes_refused"] > 0


async def test_libp2p_still_answers_a_wish_as_often_as_it_is_named() -> None:
    stock, queue = router(GossipSub)
    stock.mcache.put(payload(1, 10_000))
    await stock.handle_iwant(iwant(*[b"author" + (1).to_bytes(8, "big")] * 1_000), PEER)
    assert waiting_size_bytes(queue) > 10_000_000


async def test_who_asks_for_the_same_message_thousands_of_times_is_at_fault_and_gets_nothing() -> None:
    async with open_host(b"a" * 32) as attacker, open_host(b"b" * 32) as host:
        victim = Victim(host)
        await meet(attacker, victim)
        await host.publish(TOPIC, bytes(100_000))
        (identifier,) = [
            each for each in host.pubsub.router.mcache.msgs if each.startswith(host.pubsub.my_id.to_bytes())
        ]
        control = rpc_pb2.ControlMessage(iwant=[iwant(*[identifier] * 20_000)])
        await send_rpc(attacker, victim, rpc_pb2.RPC(control=control).SerializeToString())
        await until(lambda: bool(victim.faults), 30)
        assert victim.faults[0].startswith("asked for 1 messages")
        assert host.pubsub.peer_queues.total.size_bytes < 1_000_000
        await victim.still_receives(attacker, b"after")


# Topics and addresses out of nowhere


def test_made_up_topics_and_offered_peers_are_dropped() -> None:
    counters: Counter[str] = Counter()
    offered = [rpc_pb2.PeerInfo(peerID=b"x", signedPeerRecord=b"y")] * 16
    control = rpc_pb2.ControlMessage(
        prune=[rpc_pb2.ControlPrune(topicID=f"/made/up/{number}") for number in range(1_000)]
        + [rpc_pb2.ControlPrune(topicID=TOPIC, peers=offered, backoff=10**9)],
        graft=[rpc_pb2.ControlGraft(topicID=topic) for topic in (TOPIC, "/made/up", TOPIC)],
        ihave=[
            rpc_pb2.ControlIHave(topicID=topic, messageIDs=[b"one", b"two", b"one"]) for topic in (TOPIC, "/made/up")
        ],
        idontwant=[rpc_pb2.ControlIDontWant(messageIDs=[b"one"])],
    )
    cleaned = clean_control(control, {TOPIC}, counters)
    expected = rpc_pb2.ControlMessage(
        ihave=[rpc_pb2.ControlIHave(topicID=TOPIC, messageIDs=[b"one", b"two"])],
        graft=[rpc_pb2.ControlGraft(topicID=TOPIC)],
        prune=[rpc_pb2.ControlPrune(topicID=TOPIC, backoff=3_600)],
    )
    assert expected == cleaned
    assert counters["gossip_peers_offered"] == 16


def test_of_subscriptions_the_last_word_on_few_topics_counts() -> None:
    counters: Counter[str] = Counter()
    toggled = [rpc_pb2.RPC.SubOpts(topicid=TOPIC, subscribe=bool(number % 2)) for number in range(1_000)]
    many = [rpc_pb2.RPC.SubOpts(topicid=f"/{number}", subscribe=True) for number in range(1_000)]
    long = [rpc_pb2.RPC.SubOpts(topicid="x" * 100_000, subscribe=True)]
    taken = clean_subscriptions([*long, *toggled, *many], counters)
    assert len(taken) == SUBSCRIPTIONS_MAX
    assert (taken[0].topicid, taken[0].subscribe) == (TOPIC, True)
    assert counters["gossip_subscriptions_dropped"] == 1 + 1_000 - (SUBSCRIPTIONS_MAX - 1)


async def test_a_prune_makes_nobody_dial_and_nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_host(b"a" * 32) as attacker, open_host(b"b" * 32) as host:
        victim = Victim(host)
        await meet(attacker, victim)
        dialled: list[object] = []

        async def connect(info: object) -> None:
            dialled.append(info)

        monkeypatch.setattr(host.basic, "connect", connect)
        prunes = [
            rpc_pb2.ControlPrune(topicID=topic, peers=[rpc_pb2.PeerInfo(peerID=attacker.pubsub.my_id.to_bytes())])
            for topic in (*(f"/made/up/{number}" for number in range(100)), TOPIC)
        ]
        rpc = rpc_pb2.RPC(control=rpc_pb2.ControlMessage(prune=prunes))
        await send_rpc(attacker, victim, rpc.SerializeToString())
        await until(lambda: host.counters["gossip_peers_offered"] == 1)
        await victim.still_receives(attacker, b"after")
        assert set(host.pubsub.router.back_off) <= {TOPIC}
        assert dialled == []


async def test_libp2p_still_dials_whom_a_prune_names_and_remembers_its_topics() -> None:
    stock, _ = router(GossipSub)
    dialled: list[object] = []

    async def connect(info: object) -> None:
        dialled.append(info)

    peerstore = SimpleNamespace(peer_info=lambda peer_id: peer_id)
    stock.pubsub.host = SimpleNamespace(get_peerstore=lambda: peerstore, connect=connect)
    prune = rpc_pb2.ControlPrune(topicID="/made/up", peers=[rpc_pb2.PeerInfo(peerID=OTHER.to_bytes())])
    await stock.handle_prune(prune, PEER)
    assert (dialled, list(stock.back_off)) == ([OTHER], ["/made/up"])


# Floods


async def test_very_many_payloads_at_once_are_a_fault() -> None:
    async with open_host(b"a" * 32) as attacker, open_host(b"b" * 32) as host:
        victim = Victim(host)
        await meet(attacker, victim)
        await send_rpc(attacker, victim, b"\x12\x00" * (PAYLOADS_MAX + 1))
        await until(lambda: victim.faults == [f"{PAYLOADS_MAX + 1} gossip messages at once"], 30)


async def test_after_a_bad_message_the_rest_of_its_rpc_is_not_looked_at() -> None:
    async with open_host(b"a" * 32) as attacker, open_host(b"b" * 32) as host:
        victim = Victim(host)
        await meet(attacker, victim)
        forged = rpc_pb2.Message(
            data=b"forged", topicIDs=[TOPIC], from_id=b"x", seqno=b"1", key=b"junk", signature=b"x"
        )
        rpc = rpc_pb2.RPC(publish=[*[forged] * 1_000, message(attacker, 1, b"behind")])
        await send_rpc(attacker, victim, rpc.SerializeToString())
        await until(lambda: bool(victim.faults), 30)
        await victim.still_receives(attacker, b"after")
        assert victim.faults == ["gossip message with a wrong signature"]
        assert b"behind" not in victim.received


async def test_a_flood_of_what_is_known_already_is_a_fault_and_goes_no_further() -> None:
    async with open_host(b"a" * 32) as attacker, open_host(b"b" * 32) as host, open_host(b"c" * 32) as third:
        victim = Victim(host)
        await meet(attacker, victim)
        further = Victim(third)
        await third.subscribe(TOPIC, further.accept)
        await third.connect(host.addresses[0])
        again = message(attacker, 1, b"again")
        for _ in range(4):
            await send_rpc(attacker, victim, rpc_pb2.RPC(publish=[again] * 2_000).SerializeToString())
        await until(lambda: bool(victim.faults), 60)
        assert set(victim.faults) == {"a flood of gossip messages that bring nothing"}
        assert victim.received.count(b"again") == 1
        await further.still_receives(host, b"after")
        assert further.received.count(b"again") <= 1


# What waits to be sent


def test_a_queue_is_bounded_in_bytes_and_what_it_loses_is_counted() -> None:
    counters: Counter[str] = Counter()
    queues = Queues(HostLimits(gossip_queue_size_bytes_max=1_000_000), counters)
    queue = RpcQueue()
    queues[PEER] = queue
    taken = sum(queue.push(rpc_pb2.RPC(publish=[payload(number, 99_000)])) for number in range(100))
    assert taken == 10
    assert 990_000 < queues.total.size_bytes <= 1_000_000
    queues.pop(PEER).close()
    assert (queues.total.size_bytes, counters["gossip_dropped"]) == (0, 10)


def test_libp2p_s_queue_is_still_bounded_in_number_only() -> None:
    queue = RpcQueue(max_size=4_096)
    assert all(queue.push(rpc_pb2.RPC(publish=[payload(number, 1_000_000)])) for number in range(50))


def test_who_does_not_read_leaves_room_for_the_others() -> None:
    queues = Queues(HostLimits(gossip_queue_size_bytes_max=1_000_000), Counter())
    queues.total.size_bytes_max = 1_500_000
    deaf, honest = RpcQueue(), RpcQueue()
    queues[PEER], queues[OTHER] = deaf, honest
    while deaf.push(rpc_pb2.RPC(publish=[payload(1, 50_000)])):
        pass
    queues.total.size_bytes_max = queues.total.size_bytes  # as if the deaf were many
    taken = 0
    while honest.push(rpc_pb2.RPC(publish=[payload(2, 50_000)])):
        taken += 1
    assert taken == GOSSIP_SHARE_SIZE_BYTES // 50_100
    assert not deaf.push(rpc_pb2.RPC(publish=[payload(3, 50_000)]))


async def test_messages_to_a_peer_that_does_not_read_are_dropped_and_counted() -> None:
    limits = HostLimits(gossip_queue_size_bytes_max=300_000)
    async with open_host(b"a" * 32) as deaf, open_host(b"b" * 32, limits=limits) as host:
        await meet(deaf, Victim(host))
        await until(lambda: any(host.pubsub.router.mesh.get(TOPIC, ())))

        async def stuck(*_: object) -> None:
            await trio.sleep_forever()

        for connection in deaf.swarm.get_connections():
            connection.muxed_conn._read_data_body = stuck
        for _ in range(60):
            await host.publish(TOPIC, bytes(100_000))
            await until(lambda: True)
        await until(lambda: host.counters["gossip_dropped"] > 0)
        assert host.pubsub.peer_queues.total.size_bytes <= 300_000


def test_a_cache_is_bounded_in_bytes() -> None:
    cache = BoundedCache(3, 5)
    for number in range(2 * CACHE_SIZE_BYTES_MAX // 1_000_000):
        cache.put(payload(number, 1_000_000))
    assert 0 < cache.size_bytes <= CACHE_SIZE_BYTES_MAX
    for _ in range(5):
        cache.shift()
    assert (cache.size_bytes, cache.msgs) == (0, {})


async def sent_grafts(kind: type[GossipSub]) -> dict[ID, list[str]]:
    """What two peers are told, of which one is to be grafted into one topic, and the other into the other."""
    made, _ = router(kind)
    sent: dict[ID, list[str]] = {}

    async def emit(control: Any, peer_id: ID) -> None:
        sent[peer_id] = [graft.topicID for graft in control.graft]

    made.emit_control_message = emit
    await made._emit_control_msgs({PEER: ["/one"], OTHER: ["/two"]}, {}, {})
    return sent


async def test_each_peer_is_told_what_concerns_it() -> None:
    assert await sent_grafts(MendedGossipSub) == {PEER: ["/one"], OTHER: ["/two"]}


async def test_libp2p_still_tells_each_peer_what_concerns_those_before_it() -> None:
    assert await sent_grafts(GossipSub) == {PEER: ["/one"], OTHER: ["/one", "/two"]}


async def test_deliveries_are_not_remembered_for_ever() -> None:
    async with open_host(b"a" * 32) as one, open_host(b"b" * 32) as two:
        await meet(one, Victim(two))
        assert not one.pubsub.router.recent_message_deliveries


async def test_libp2p_still_remembers_every_delivery() -> None:
    stock, _ = router(GossipSub)
    stock.pubsub = None
    stock._get_peers_to_send = lambda *_, **__: ()
    await stock.publish(PEER, payload(1, 1))
    assert len(stock.recent_message_deliveries[TOPIC]) == 1
