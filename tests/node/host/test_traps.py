"""Traps of libp2p that no other test here springs, each beside a control that says whether libp2p still has it.

A control that fails after an upgrade is good news: that mend can go.
"""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from google.protobuf.message import DecodeError as ProtobufError
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.exceptions import ValidationError
from libp2p.network.stream.exceptions import StreamReset
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub, get_peer_and_seqno_msg_id
from libp2p.pubsub.rpc_queue import RpcQueue
from libp2p.pubsub.utils import maybe_consume_signed_record
from libp2p.pubsub.validators import signature_validator
from libp2p.stream_muxer.exceptions import MuxedStreamError
from libp2p.stream_muxer.yamux.yamux import DEFAULT_WINDOW_SIZE, Yamux
from libp2p.transport.tcp.tcp import TCP
from libp2p.utils import encode_varint_prefixed
from multiaddr import Multiaddr
from trio.testing import MockClock

from node.host.gossip_router import MendedGossipSub
from node.host.interface import HostError, HostLimits, StreamClosed
from node.host.libp2p_host import Libp2pStream, open_host
from node.host.yamux import QueuedYamux
from pdfedchain.errors import InvalidTransaction
from tests.node.host.hosts import echo, until
from tests.node.host.test_gossip_bounds import PEER, payload, router
from tests.node.host.test_mends import PROTOCOL, TOPIC, Victim, frame, meet
from tests.node.host.wires import Wire, unencrypted

RAW = "/raw/1"
OPTIONS: dict[str, Any] = {"protocols": [PROTOCOL_ID_V11], "degree": 8, "degree_low": 6, "degree_high": 12}


def stock_host(number: int) -> Any:
    return new_host(key_pair=create_new_key_pair(bytes([number]) * 32), listen_addrs=[])


async def taken(data: bytes) -> None:
    """A write that somebody reads."""
    await trio.lowlevel.checkpoint()


def leaves(group: BaseException) -> list[BaseException]:
    if isinstance(group, BaseExceptionGroup):
        return [leaf for error in group.exceptions for leaf in leaves(error)]
    return [group]


# 1, 2: what is no gossip


async def test_libp2p_still_lets_an_undecodable_rpc_out_of_its_reader() -> None:
    rubbish = encode_varint_prefixed(b"\xff" * 40)

    class Incoming:
        muxed_conn = SimpleNamespace(peer_id=PEER)

        def __init__(self) -> None:
            self.left = bytearray(rubbish)

        async def read(self, size_bytes: int | None = None) -> bytes:
            await trio.lowlevel.checkpoint()
            data = bytes(self.left[:size_bytes])
            del self.left[:size_bytes]
            return data

    reader = SimpleNamespace(manager=SimpleNamespace(is_running=True), max_inbound_rpc_size=1_000_000)
    with pytest.raises(ProtobufError):
        await Pubsub.continuously_read_stream(reader, Incoming())


def test_libp2p_still_fails_on_a_garbage_key() -> None:
    forged = rpc_pb2.Message(data=b"x", from_id=b"\x12\x20" + bytes(32), seqno=b"1", key=b"junk", signature=b"x")
    with pytest.raises(ProtobufError):
        signature_validator(forged)


# 3, 4: exceptions in handlers of streams


@pytest.mark.parametrize("error", [ZeroDivisionError(), StreamReset("reset"), ValueError("x")])
async def test_a_handler_that_fails_stops_neither_the_node_nor_the_connection(error: Exception) -> None:
    async def fail(stream: object) -> None:
        await trio.lowlevel.checkpoint()
        raise error

    async with open_host(b"a" * 32) as guest, open_host(b"b" * 32) as host:
        host.basic.set_stream_handler(RAW, fail)  # around `node.host.framing.serve`, as libp2p's own handlers are
        host.set_stream_handler(PROTOCOL, echo)
        await guest.connect(host.addresses[0])
        (connection,) = guest.swarm.get_connections()

        async def use() -> None:
            stream = await guest.open_stream(host.peer_id, RAW)
            await stream.read_exactly(1)

        with trio.fail_after(30), pytest.raises(HostError):
            await use()
        async with await guest.open_stream(host.peer_id, PROTOCOL) as other:
            await other.send_frame(b"alive")
            assert await other.receive_frame(5) == b"alive"
        assert guest.swarm.get_connections() == [connection]
        assert host.counters["libp2p_task_errors"] == 1


async def test_a_stock_node_is_still_stopped_by_a_handler_that_fails() -> None:
    async def fail(stream: object) -> None:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    host = stock_host(1)

    async def be_opened() -> None:
        async with open_host(b"a" * 32) as guest, host.run(listen_addrs=[Multiaddr("/ip4/127.0.0.1/tcp/0")]):
            host.set_stream_handler(RAW, fail)
            await guest.connect(str(host.get_addrs()[0]))
            await guest.open_stream(str(host.get_id()), RAW)
            with trio.fail_after(30):
                await trio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as caught:
        await be_opened()
    assert any(isinstance(error, ZeroDivisionError) for error in leaves(caught.value))


# 6: verdicts by sequence number


def test_libp2p_still_knows_messages_by_author_and_number_alone() -> None:
    first, second = (rpc_pb2.Message(data=data, from_id=b"author", seqno=b"1") for data in (b"first", b"second"))
    assert get_peer_and_seqno_msg_id(first) == get_peer_and_seqno_msg_id(second)


# 7: windows


async def test_libp2p_still_keeps_whatever_a_peer_sends_beyond_its_window() -> None:
    chunk = bytes(65_536)
    count = 4 * DEFAULT_WINDOW_SIZE // len(chunk)
    wire = Wire(frame(0, 1, 2, len(chunk), chunk) + frame(0, 0, 2, len(chunk), chunk) * (count - 1))
    wire.write = taken  # type: ignore[method-assign]
    muxed = Yamux(wire, "peer", is_initiator=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(muxed.start)
        await until(lambda: len(muxed.stream_buffers.get(2, b"")) == 4 * DEFAULT_WINDOW_SIZE, 30)
        await wire.close()
        nursery.cancel_scope.cancel()


# 8: messages as text


async def test_a_refused_message_is_not_written_out(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(peer_id: str, data: bytes) -> bool:
        if len(data) > 1_000:
            raise InvalidTransaction("size", "too large here")
        return True

    caplog.set_level(logging.INFO)
    async with open_host(b"a" * 32) as one, open_host(b"b" * 32) as two:
        victim = Victim(two)
        await meet(one, victim)
        two.pubsub._accept[TOPIC] = refuse
        await one.publish(TOPIC, bytes(500_000))
        await until(lambda: two.counters["gossip_rejected"] == 1, 30)
    assert max((len(record.getMessage()) for record in caplog.records), default=0) < 10_000


async def test_libp2p_still_writes_out_what_it_refuses() -> None:
    cache = SimpleNamespace(get=lambda _: SimpleNamespace(is_valid=False, error_message="no"))
    judge = SimpleNamespace(validation_cache=cache, _msg_id_constructor=get_peer_and_seqno_msg_id)
    with pytest.raises(ValidationError) as caught:
        await Pubsub.validate_msg(judge, PEER, payload(1, 100_000))
    assert len(str(caught.value)) > 100_000


# 14, 15: dialling and listening


async def test_a_dial_goes_straight_to_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object, **__: object) -> None:
        raise AssertionError("libp2p's own dialling waits for a quarter of a second at least")

    monkeypatch.setattr(Swarm, "dial_peer", never)
    async with open_host(b"a" * 32) as one, open_host(b"b" * 32) as two:
        assert await one.connect(two.addresses[0]) == two.peer_id


def test_libp2p_still_waits_between_dials() -> None:
    from libp2p.network import swarm

    assert swarm._HAPPY_EYEBALLS_DELAY >= 0.25


async def test_two_stock_listeners_still_share_a_port() -> None:
    async def ignore(stream: object) -> None:
        await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        first, second = (TCP().create_listener(ignore) for _ in range(2))
        for listener in (first, second):
            listener.background_nursery = nursery
        await first.listen(Multiaddr("/ip4/127.0.0.1/tcp/0"))
        (address,) = first.get_addrs()
        await second.listen(address)
        assert second.get_addrs() == (address,)
        nursery.cancel_scope.cancel()


# 16, 17: waiting for a window, and for a place among streams


async def written_after_a_long_wait(muxer: type[Yamux], clock: MockClock) -> str:
    """What becomes of a write that finds no window for a minute."""
    wire, session = unencrypted(b"") if muxer is QueuedYamux else ((plain := Wire(b"")), plain)
    muxed = muxer(session, PEER, is_initiator=True)
    outcome = ""

    async def write() -> None:
        nonlocal outcome
        try:
            if muxer is QueuedYamux:
                net = SimpleNamespace(muxed_conn=muxed, muxed_stream=stream)
                await Libp2pStream(net, "").write(b"patience")  # type: ignore[arg-type]
            else:
                await stream.write(b"patience")
            outcome = "written"
        except (MuxedStreamError, StreamClosed) as error:
            outcome = str(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(muxed.start)
        await muxed.event_started.wait()
        stream = await muxed.open_stream() if muxer is QueuedYamux else await opened(muxed)
        stream.send_window = 0
        nursery.start_soon(write)
        await trio.sleep(60)
        async with stream.window_lock:
            stream.send_window = 1_000
        await trio.sleep(1)
        await wire.close()
        nursery.cancel_scope.cancel()
    return outcome


async def opened(muxed: Yamux) -> Any:
    """A stream of stock yamux, whose opening frame nobody takes."""
    muxed.secured_conn.write = taken
    return await muxed.open_stream()


async def test_a_write_waits_for_its_window_as_long_as_it_takes(autojump_clock: MockClock) -> None:
    assert await written_after_a_long_wait(QueuedYamux, autojump_clock) == "written"


async def test_libp2p_still_gives_up_after_five_seconds_without_a_window(autojump_clock: MockClock) -> None:
    assert "5 seconds" in await written_after_a_long_wait(Yamux, autojump_clock)


class Full:
    """What libp2p asks for a place among its streams, when all are taken."""

    value = 0

    async def acquire(self) -> None:
        await trio.sleep_forever()

    def release(self) -> None:
        pass


async def test_who_opens_too_many_streams_is_told_so() -> None:
    limits = HostLimits(open_stream_timeout_s=1.0)
    async with open_host(b"a" * 32, limits=limits) as guest, open_host(b"b" * 32) as host:
        host.set_stream_handler(PROTOCOL, echo)
        await guest.connect(host.addresses[0])
        (connection,) = guest.swarm.get_connections()
        connection.muxed_conn.stream_backlog_semaphore = Full()
        with trio.fail_after(60), pytest.raises(HostError):
            await guest.open_stream(host.peer_id, PROTOCOL)


async def test_libp2p_still_waits_for_ever_for_the_257th_stream(autojump_clock: MockClock) -> None:
    wire = Wire(b"")
    muxed = Yamux(wire, PEER, is_initiator=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(muxed.start)
        await muxed.event_started.wait()
        streams = [await opened(muxed) for _ in range(256)]
        with trio.move_on_after(3_600) as waiting:
            streams.append(await muxed.open_stream())
        assert (len(streams), waiting.cancelled_caught) == (256, True)
        await wire.close()
        nursery.cancel_scope.cancel()


# 20, 22, 23, 25, 26: gossip


async def test_sequence_numbers_are_nanoseconds_and_libp2p_s_still_seconds() -> None:
    async with open_host(b"a" * 32) as host:
        assert host.pubsub.counter > 10**18
    stock = Pubsub(stock_host(1), GossipSub(**OPTIONS))
    assert stock.counter < 10**11


async def heartbeat_after(kind: type[GossipSub], **options: Any) -> float:
    """The heartbeat's interval after ten beats of a lonely node."""
    made = kind(**OPTIONS, heartbeat_interval=1, **options)
    made.counters = made.strangers = None
    made.pubsub = SimpleNamespace(peer_topics={}, peers={}, peer_queues={})
    made.mesh = {TOPIC: set()}
    with trio.move_on_after(600):
        await made.heartbeat()
    return float(made.heartbeat_interval)


async def test_the_heartbeat_stays_at_a_second(autojump_clock: MockClock) -> None:
    async with open_host(b"a" * 32) as host:
        mended = host.pubsub.router
        assert (mended.adaptive_gossip_enabled, mended.heartbeat_interval) == (False, 1)
        assert [str(protocol) for protocol in host.pubsub.protocols] == ["/meshsub/1.1.0"]
    assert await heartbeat_after(MendedGossipSub, adaptive_gossip_enabled=False) == 1


def test_libp2p_s_adaptive_mode_still_slows_the_heartbeat() -> None:
    stock = GossipSub(**OPTIONS, heartbeat_interval=1)
    assert stock.adaptive_gossip_enabled
    stock._adapt_heartbeat_parameters(0.1)
    assert stock.heartbeat_interval > 1


def test_libp2p_still_loses_what_is_above_a_mebibyte() -> None:
    stock, queue = router(GossipSub)
    stock.send_rpc(PEER, rpc_pb2.RPC(publish=[payload(1, 1_100_000)]))
    assert len(queue) == 0


def test_libp2p_s_queues_still_hold_thirty_two_messages() -> None:
    queue = RpcQueue()
    assert sum(queue.push(rpc_pb2.RPC()) for _ in range(100)) == 32


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


def test_libp2p_still_discards_an_rpc_for_its_record() -> None:
    rpc = rpc_pb2.RPC(publish=[payload(1, 1)], senderRecord=b"unusable")
    assert not maybe_consume_signed_record(rpc, stock_host(1), ID(b"peer"))


# What is dialled, and what is logged


async def test_nobody_is_dialled_on_libp2p_s_own_account() -> None:
    async with open_host(b"a" * 32) as one, open_host(b"b" * 32) as two:
        await one.connect(two.addresses[0])
        assert type(one.swarm.auto_connector).__name__ == "NoAutoConnector"
        assert one.pubsub.router.direct_peers == {}


def test_libp2p_still_sets_a_level_where_it_should_not() -> None:
    import libp2p.network.auto_connector as module

    assert "logger.setLevel(logging.INFO)" in Path(module.__file__).read_text()


async def test_after_quieting_nothing_of_libp2p_has_a_level_of_its_own() -> None:
    from node.host.libp2p_host import quiet_libp2p_logging

    top = logging.getLogger("libp2p").level
    levels = {name: logging.getLogger(name).level for name in logging.root.manager.loggerDict if "libp2p." in name}
    try:
        quiet_libp2p_logging()
        chatty = logging.getLogger("libp2p.network.auto_connector")
        assert (chatty.level, chatty.isEnabledFor(logging.ERROR)) == (logging.NOTSET, False)
    finally:
        logging.getLogger("libp2p").setLevel(top)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


async def test_a_failed_dial_still_blocks_a_peer_of_a_stock_node() -> None:
    async with open_host(b"b" * 32) as gone:
        address = gone.addresses[0]
    host = stock_host(1)
    async with host.run(listen_addrs=[]):
        with pytest.raises(Exception, match="unable to connect"):
            await host.connect(info_from_p2p_addr(Multiaddr(address)))
        assert host.get_network()._negative_peer_cache.is_blocked(gone.peer_id)
        await host.close()
