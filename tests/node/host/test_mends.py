"""Each mend of libp2p: these fail without it, so that a new version of libp2p tells which can go."""

from __future__ import annotations

import struct
from collections import Counter
from contextlib import suppress

import pytest
import trio
import trio.testing
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.envelope import Envelope
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import PUBSUB_SIGNING_PREFIX
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.tools.anyio_service import Service, background_trio_service
from libp2p.utils import encode_varint_prefixed
from multiaddr import Multiaddr

from node.host.interface import DialFailed, HostLimits, ProtocolRefused, Stream, StreamClosed
from node.host.libp2p_host import Libp2pHost, open_host
from node.host.mends import GuardedManager
from node.host.yamux import QueuedYamux, grant_room
from tests.node.host.hosts import echo, until, until_connected
from tests.node.host.wires import Wire, unencrypted

GOSSIP = "/meshsub/1.1.0"
TOPIC = "/topic"
PROTOCOL = "/test/1"


class Victim:
    """What the second of two hosts has received, and whom it blames."""

    def __init__(self, host: Libp2pHost) -> None:
        self.host = host
        self.received: list[bytes] = []
        self.faults: list[str] = []
        host.set_fault_listener(lambda peer_id, reason: self.faults.append(reason))

    def accept(self, peer_id: str, data: bytes) -> bool:
        self.received.append(data)
        return True

    async def still_receives(self, friend: Libp2pHost, data: bytes) -> None:
        await friend.publish(TOPIC, data)
        await until(lambda: data in self.received)


async def meet(attacker: Libp2pHost, victim: Victim) -> None:
    await attacker.subscribe(TOPIC, lambda peer_id, data: True)
    await victim.host.subscribe(TOPIC, victim.accept)
    await attacker.connect(victim.host.addresses[0])
    await victim.still_receives(attacker, b"before")


async def send_rpc(attacker: Libp2pHost, victim: Victim, payload: bytes) -> None:
    """Gossip that libp2p itself would never send."""
    stream = await attacker.basic.new_stream(victim.host.basic.get_id(), [GOSSIP])
    await stream.write(encode_varint_prefixed(payload))


def message(author: Libp2pHost, seqno: int, data: bytes) -> rpc_pb2.Message:
    """A correctly signed gossip message."""
    unsigned = rpc_pb2.Message(
        data=data, topicIDs=[TOPIC], from_id=author.pubsub.my_id.to_bytes(), seqno=seqno.to_bytes(8, "big")
    )
    signature = author.pubsub.sign_key.sign(PUBSUB_SIGNING_PREFIX.encode() + unsigned.SerializeToString())
    unsigned.signature = signature
    return unsigned


@pytest.mark.parametrize("payload", [b"\xff" * 40, b"\x0a\xff", b"\x12\x7fshort"])
async def test_an_undecodable_rpc_is_a_fault_and_stops_nothing(payload: bytes) -> None:
    async with open_host(b"a" * 32) as attacker, open_host(b"b" * 32) as host:
        victim = Victim(host)
        await meet(attacker, victim)
        await send_rpc(attacker, victim, payload)
        await until(lambda: bool(victim.faults))
        assert victim.faults[0].startswith("undecodable gossip")
        await victim.still_receives(attacker, b"after")


async def test_a_gossip_frame_announced_too_large_is_a_fault() -> None:
    async with open_host(b"a" * 32) as attacker, open_host(b"b" * 32) as host:
        victim = Victim(host)
        await meet(attacker, victim)
        stream = await attacker.basic.new_stream(host.basic.get_id(), [GOSSIP])
        await stream.write(b"\xff" * 9 + b"\x01")
        await until(lambda: bool(victim.faults))


async def test_a_garbage_key_is_a_wrong_signature() -> None:
    async with open_host(b"a" * 32) as attacker, open_host(b"b" * 32) as host:
        victim = Victim(host)
        await meet(attacker, victim)
        forged = rpc_pb2.Message(
            data=b"forged", topicIDs=[TOPIC], from_id=b"\x12\x20" + bytes(32), seqno=b"1", key=b"junk", signature=b"x"
        )
        await send_rpc(attacker, victim, rpc_pb2.RPC(publish=[forged]).SerializeToString())
        await until(lambda: victim.faults == ["gossip message with a wrong signature"])
        await victim.still_receives(attacker, b"after")
        assert b"forged" not in victim.received


async def test_a_changed_message_is_a_wrong_signature() -> None:
    async with open_host(b"a" * 32) as attacker, open_host(b"b" * 32) as host:
        victim = Victim(host)
        await meet(attacker, victim)
        changed = message(attacker, 1, b"signed")
        changed.data = b"changed"
        await send_rpc(attacker, victim, rpc_pb2.RPC(publish=[changed]).SerializeToString())
        await until(lambda: victim.faults == ["gossip message with a wrong signature"])
        assert b"changed" not in victim.received


async def test_a_failing_task_does_not_stop_its_service() -> None:
    counters: Counter[str] = Counter()
    after = trio.Event()

    class Fragile(Service):  # type: ignore[misc]
        @property
        def manager(self) -> GuardedManager:
            return GuardedManager(self._manager, counters)

        async def run(self) -> None:
            self.manager.run_task(self.fail)
            await trio.sleep(0.01)
            after.set()
            await self.manager.wait_finished()

        async def fail(self) -> None:
            raise ZeroDivisionError

    async with background_trio_service(Fragile()):
        with trio.fail_after(5):
            await after.wait()
    assert dict(counters) == {"libp2p_task_errors": 1}


async def test_a_peer_that_speaks_plaintext_only_is_refused() -> None:
    key_pair = create_new_key_pair(b"a" * 32)
    plain = new_host(key_pair=key_pair, sec_opt={PLAINTEXT_PROTOCOL_ID: InsecureTransport(key_pair)})
    async with open_host(b"b" * 32) as host, plain.run(listen_addrs=[]):
        try:
            with pytest.raises(Exception, match="unable to connect"):
                await plain.connect(info_from_p2p_addr(Multiaddr(host.addresses[0])))
            assert frozenset() == host.connected_peers()
        finally:
            await plain.close()


async def test_a_repeated_number_with_new_content_is_judged_again() -> None:
    async with open_host(b"a" * 32) as attacker, open_host(b"b" * 32) as host:
        victim = Victim(host)
        await meet(attacker, victim)
        for data in (b"first", b"second"):
            payload = rpc_pb2.RPC(publish=[message(attacker, 7, data)]).SerializeToString()
            await send_rpc(attacker, victim, payload)
            await until(lambda data=data: data in victim.received)  # type: ignore[misc]
            host.pubsub.seen_messages.cache.clear()


async def test_a_peer_that_ignores_its_window_loses_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.host.yamux.BUFFERED_SIZE_BYTES_MAX", 1_000_000)

    async def deaf(stream: Stream) -> None:
        await trio.sleep_forever()

    async with open_host(b"a" * 32) as attacker, open_host(b"b" * 32) as host:
        host.set_stream_handler(PROTOCOL, deaf)
        await attacker.connect(host.addresses[0])
        stream = await attacker.open_stream(host.peer_id, PROTOCOL)
        stream._muxed.send_window = 1 << 30
        with pytest.raises(StreamClosed):
            await stream.write(bytes(20_000_000))
        await until(lambda: not host.connected_peers())


def frame(kind: int, flags: int, stream_id: int, length: int, body: bytes = b"") -> bytes:
    return struct.pack("!BBHII", 0, kind, flags, stream_id, length) + body


async def reads_past_a_ping(muxer: type[Yamux]) -> bool:
    """Whether data behind a ping arrives while nothing can be written."""
    incoming = frame(2, 1, 0, 1) + frame(0, 1, 2, 5, b"hello")
    wire, session = unencrypted(incoming) if muxer is QueuedYamux else ((plain := Wire(incoming)), plain)
    muxed = muxer(session, "peer", is_initiator=True)
    arrived = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(muxed.start)
        with trio.move_on_after(5):
            await (await muxed.accept_stream()).read(5)
            arrived = True
        await wire.close()
        nursery.cancel_scope.cancel()
    return arrived


async def test_reading_goes_on_while_writing_is_stuck(autojump_clock: trio.testing.MockClock) -> None:
    assert await reads_past_a_ping(QueuedYamux)


async def test_the_read_that_waits_for_writing_is_still_there_in_libp2p(
    autojump_clock: trio.testing.MockClock,
) -> None:
    assert not await reads_past_a_ping(Yamux)


async def test_closing_does_not_wait_for_a_peer_that_does_not_read() -> None:
    wire, session = unencrypted(b"")
    muxed = QueuedYamux(session, "peer", is_initiator=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(muxed.start)
        await muxed.event_started.wait()
        with trio.fail_after(5):
            await muxed.close()
    assert wire.closed.is_set()


async def test_who_writes_much_is_told_that_the_peer_has_gone() -> None:
    async def flood(stream: Stream) -> None:
        try:
            await stream.write(bytes(50_000_000))
        except StreamClosed:
            ended.set()
            raise

    ended = trio.Event()
    async with open_host(b"a" * 32) as guest, open_host(b"b" * 32) as host:
        host.set_stream_handler(PROTOCOL, flood)
        await guest.connect(host.addresses[0])
        stream = await guest.open_stream(host.peer_id, PROTOCOL)
        stream._muxed.recv_window = 1 << 30
        grant_room(stream._muxed, 1 << 30)
        await stream.read_exactly(1)
        for connection in guest.swarm.get_connections():
            await connection.muxed_conn.secured_conn.close()
        with trio.fail_after(10):
            await ended.wait()


async def test_a_writer_without_a_window_goes_on_when_it_grows() -> None:
    async with open_host(b"a" * 32) as guest, open_host(b"b" * 32) as host:
        host.set_stream_handler(PROTOCOL, echo)
        await guest.connect(host.addresses[0])
        async with await guest.open_stream(host.peer_id, PROTOCOL) as stream:
            stream._muxed.send_window = 0
            written = trio.Event()

            async def write() -> None:
                await stream.send_frame(b"hello")
                written.set()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(write)
                await trio.testing.wait_all_tasks_blocked(0.01)
                assert not written.is_set()
                async with stream._muxed.window_lock:
                    stream._muxed.send_window += 1_000
                with trio.fail_after(5):
                    await written.wait()
            assert await stream.receive_frame(5) == b"hello"


async def test_a_peer_that_makes_us_answer_without_reading_loses_the_connection() -> None:
    wire, session = unencrypted(frame(2, 1, 0, 1) * 5_000)
    wire.incoming *= 4
    muxed = QueuedYamux(session, "peer", is_initiator=True)
    with trio.fail_after(20):
        await muxed.start()
    assert muxed.event_shutting_down.is_set() or muxed._writing_ended


async def test_bulk_in_both_directions_at_once_arrives_whole() -> None:
    async with open_host(b"a" * 32) as one, open_host(b"b" * 32) as two:
        one.set_stream_handler(PROTOCOL, echo)
        two.set_stream_handler(PROTOCOL, echo)
        await one.connect(two.addresses[0])

        async def exchange(host: Libp2pHost, peer_id: str, byte: int) -> None:
            async with await host.open_stream(peer_id, PROTOCOL) as stream:
                await stream.send_frame(bytes([byte]) * 3_000_000)
                assert bytes([byte]) * 3_000_000 == await stream.receive_frame(3_000_000)

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for byte in range(2):
                    nursery.start_soon(exchange, one, two.peer_id, byte)
                    nursery.start_soon(exchange, two, one.peer_id, 100 + byte)


async def test_the_inbound_limit_counts_live_connections_only() -> None:
    limits = HostLimits(connections_inbound_max=2, dial_timeout_s=1.0)
    async with open_host(b"z" * 32, limits=limits) as host:
        for number in range(4):
            async with open_host(bytes([number]) * 32) as guest:
                await guest.connect(host.addresses[0])
                await until_connected(host, guest.peer_id)
            await until(lambda: not host.connected_peers() and host.swarm._inbound_limiter.borrowed_tokens == 0)
        async with open_host(b"1" * 32) as one, open_host(b"2" * 32) as two, open_host(b"3" * 32) as three:
            await one.connect(host.addresses[0])
            await two.connect(host.addresses[0])
            with pytest.raises(DialFailed):
                await three.connect(host.addresses[0])


async def test_a_failed_dial_does_not_block_the_peer() -> None:
    async with open_host(b"a" * 32) as one:
        async with open_host(b"b" * 32) as two:
            address = two.addresses[0]
        for _ in range(2):
            with pytest.raises(DialFailed):
                await one.connect(address)
        async with open_host(b"b" * 32, address.partition("/p2p/")[0]) as two:
            assert two.peer_id == await one.connect(address)


async def test_a_peer_has_a_bounded_number_of_streams() -> None:
    async with (
        open_host(b"a" * 32) as one,
        open_host(b"b" * 32, limits=HostLimits(streams_inbound_per_peer_max=8)) as two,
    ):
        two.set_stream_handler(PROTOCOL, echo)
        await one.connect(two.addresses[0])
        # Gossip and identification may hold some of the eight.
        opened = 0
        with suppress(ProtocolRefused):
            while opened < 9:
                await one.open_stream(two.peer_id, PROTOCOL)
                opened += 1
        assert 1 <= opened <= 8
        assert two.counters["streams_refused"] >= 1


async def test_a_quick_restart_is_not_mute() -> None:
    async with open_host(b"b" * 32) as host:
        victim = Victim(host)
        await host.subscribe(TOPIC, victim.accept)
        for data in (b"first life", b"second life"):
            async with open_host(b"a" * 32) as author:
                await author.subscribe(TOPIC, lambda peer_id, data: True)
                await author.connect(host.addresses[0])
                await victim.still_receives(author, data)


async def test_address_records_are_ignored() -> None:
    async with open_host(b"a" * 32) as attacker, open_host(b"b" * 32) as host:
        victim = Victim(host)
        await meet(attacker, victim)
        rpc = rpc_pb2.RPC(publish=[message(attacker, 3, b"with an unusable record")], senderRecord=b"unusable")
        await send_rpc(attacker, victim, rpc.SerializeToString())
        await until(lambda: b"with an unusable record" in victim.received)


async def test_outgoing_gossip_queues_are_long() -> None:
    async with open_host(b"a" * 32) as one, open_host(b"b" * 32) as two:
        await meet(one, Victim(two))
        assert [queue._queue.max_size for queue in one.pubsub.peer_queues.values()] == [4_096]


async def test_a_burst_of_gossip_arrives_complete() -> None:
    async with open_host(b"a" * 32) as one, open_host(b"b" * 32) as two:
        victim = Victim(two)
        await meet(one, victim)
        for number in range(300):
            await one.publish(TOPIC, number.to_bytes(4, "big"))
        await until(lambda: len(victim.received) == 301)


async def test_the_record_of_our_own_addresses_is_packed_once_for_many_messages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packed: list[Envelope] = []
    pack = Envelope.marshal_envelope

    def counted(envelope: Envelope) -> bytes:
        packed.append(envelope)
        return pack(envelope)

    async with open_host(b"a" * 32) as sender, open_host(b"b" * 32) as host:
        victim = Victim(host)
        await meet(sender, victim)
        monkeypatch.setattr(Envelope, "marshal_envelope", counted)
        for number in range(20):
            await victim.still_receives(sender, b"%d" % number)
    assert len(packed) <= 4
