"""Message channels: queue, handshake, liveness, and what a peer may not do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from node.channel import (
    MESSAGES_PROTOCOL,
    Channel,
    ChannelDuplicate,
    Hello,
    OtherChain,
    PeerSilent,
    Priority,
    answer_channel,
    open_channel,
)
from node.host.interface import Stream, StreamClosed
from node.memory_host import MemoryHost, MemoryNetwork
from node.send_queue import SendQueue
from pdfedchain.codec import encode
from pdfedchain.errors import DecodeError, InputError
from pdfedchain.ids import Address, Hash
from tests.node.host.hosts import until


def hello(genesis: int = 1, *, version: int = 1, session: int = 0) -> Hello:
    return Hello(version, "test", Hash(bytes([genesis]) * 32), Address(bytes(32)), 5, bytes([session]) * 8)


@given(st.lists(st.tuples(st.sampled_from(Priority), st.integers(1, 40))))
def test_the_queue_keeps_its_budget_and_the_order_within_a_priority(entries: list[tuple[Priority, int]]) -> None:
    queue = SendQueue(100)
    sent: dict[Priority, list[bytes]] = {priority: [] for priority in Priority}
    for number, (priority, size) in enumerate(entries):
        frame = number.to_bytes(2, "big") + bytes(size)
        if queue.put(frame, priority):
            sent[priority].append(frame)
        assert queue.size_bytes <= 100

    received: list[bytes] = []

    async def drain() -> None:
        while queue.size_bytes:
            received.append(await queue.get())

    trio.run(drain)
    kept = {priority: [frame for frame in frames if frame in received] for priority, frames in sent.items()}
    assert received == kept[Priority.HIGH] + kept[Priority.NORMAL] + kept[Priority.LOW]
    assert len(entries) == len(received) + sum(queue.dropped.values())


def test_a_full_queue_drops_the_oldest_of_the_lowest_priority_first() -> None:
    queue = SendQueue(30)
    for number in range(3):
        assert queue.put(bytes([number]) * 10, Priority.LOW)
    assert queue.put(b"h" * 15, Priority.HIGH)
    assert not queue.put(b"l" * 10, Priority.LOW)
    assert not queue.put(b"h" * 31, Priority.HIGH)
    assert dict(queue.dropped) == {Priority.LOW: 4, Priority.HIGH: 1}


@asynccontextmanager
async def hosts(
    answer: Callable[[Stream], object] | None = None,
) -> AsyncIterator[tuple[MemoryHost, MemoryHost, MemoryNetwork]]:
    network = MemoryNetwork()
    async with network.open_host(b"a" * 32) as one, network.open_host(b"b" * 32) as two:
        if answer is not None:
            two.set_stream_handler(MESSAGES_PROTOCOL, answer)
        await one.connect(two.addresses[0])
        yield one, two, network


class Echo:
    """The answering side: shakes hands and sends every message back."""

    def __init__(self, ours: Hello) -> None:
        self.ours = ours
        self.theirs: Hello | None = None
        self.ended: Exception | None = None

    async def __call__(self, stream: Stream) -> None:
        try:
            self.theirs = await answer_channel(stream, self.ours, lambda theirs: theirs.session == b"\x09" * 8)
            channel = Channel(stream, self.theirs, opened_by_us=False)
            await channel.run(lambda peer_id, message: channel.send(message) and None)
        except (OtherChain, ChannelDuplicate) as error:
            self.ended = error
        except Exception as error:
            self.ended = error
            raise


async def test_messages_go_there_and_back_in_order() -> None:
    echo = Echo(hello(session=2))
    async with hosts(echo) as (one, two, _):
        stream, theirs = await open_channel(one, two.peer_id, hello(session=1))
        assert (hello(session=2), hello(session=1)) == (theirs, echo.theirs)
        channel = Channel(stream, theirs, opened_by_us=True, ping_interval_s=0.01)
        received: list[bytes] = []

        def receive(peer_id: str, message: bytes) -> None:
            received.append(message)
            if len(received) == 50:
                channel.close()

        messages = [bytes([n]) * n for n in range(50)]
        for message in messages:
            assert channel.send(message)
        await channel.run(receive)
        assert messages == received


async def test_a_ping_measures_the_way_there_and_back() -> None:
    async with hosts(Echo(hello())) as (one, two, network):
        network.link(one.peer_id, two.peer_id).delay_s = 0.02
        stream, theirs = await open_channel(one, two.peer_id, hello())
        channel = Channel(stream, theirs, opened_by_us=True, ping_interval_s=0.2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(channel.run, lambda peer_id, message: None)
            with trio.fail_after(5):
                while channel.rtt_s is None:
                    await trio.sleep(0.01)
            channel.close()
        assert channel.rtt_s >= 0.04


async def test_a_peer_of_another_chain_is_refused_on_both_sides_naming_both_hashes() -> None:
    echo = Echo(hello(genesis=2))
    async with hosts(echo) as (one, two, _):
        with pytest.raises(OtherChain) as caught:
            await open_channel(one, two.peer_id, hello(genesis=1))
        assert "01" * 32 in str(caught.value)
        assert "02" * 32 in str(caught.value)
        assert isinstance(echo.ended, OtherChain)


async def test_a_peer_of_another_version_is_refused() -> None:
    async with hosts(Echo(hello(version=2))) as (one, two, _):
        with pytest.raises(OtherChain, match="speaks version 2, we speak 1"):
            await open_channel(one, two.peer_id, hello())


async def test_a_second_channel_is_called_a_duplicate() -> None:
    async with hosts(Echo(hello())) as (one, two, _):
        with pytest.raises(ChannelDuplicate):
            await open_channel(one, two.peer_id, hello(session=9))


async def test_a_peer_that_falls_silent_is_gone(autojump_clock: trio.testing.MockClock) -> None:
    async with hosts(Echo(hello())) as (one, two, network):
        stream, theirs = await open_channel(one, two.peer_id, hello())
        channel = Channel(stream, theirs, opened_by_us=True, ping_interval_s=0.02, silence_max_s=0.1)
        network.link(one.peer_id, two.peer_id).stall()
        with pytest.raises(PeerSilent):
            await channel.run(lambda peer_id, message: None)


async def answer_badly(stream: Stream, frame: bytes) -> None:
    await stream.receive_frame(10_000)
    await stream.send_frame(frame)
    await stream.receive_frame(1)


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (b"", InputError),
        (b"\x00message", InputError),
        (b"\x03", DecodeError),
        (b"\x03" + encode(hello())[:-1], DecodeError),
        (b"\x03" + encode(hello()) + b"x", DecodeError),
        (b"\x03" + bytes(2_000), InputError),
    ],
)
async def test_an_answer_that_is_no_hello_is_the_peers_fault(frame: bytes, error: type[Exception]) -> None:
    async with hosts(lambda stream: answer_badly(stream, frame)) as (one, two, _):
        with pytest.raises(error):
            await open_channel(one, two.peer_id, hello())


async def test_opening_with_a_duplicate_is_the_peers_fault() -> None:
    echo = Echo(hello())
    async with hosts(echo) as (one, two, _):
        stream = await one.open_stream(two.peer_id, MESSAGES_PROTOCOL)
        await stream.send_frame(b"\x04")
        with pytest.raises(StreamClosed):
            await stream.receive_frame(1)
        assert isinstance(echo.ended, InputError)


@pytest.mark.parametrize(
    "frame", [b"", b"\x01", b"\x01" + bytes(9), b"\x02", b"\x03" + encode(hello()), b"\x04", b"\x63x"]
)
async def test_a_frame_of_no_known_kind_is_the_peers_fault(frame: bytes) -> None:
    echo = Echo(hello())
    async with hosts(echo) as (one, two, _):
        stream, _ = await open_channel(one, two.peer_id, hello())
        await stream.send_frame(frame)
        await until(lambda: isinstance(echo.ended, InputError))


async def test_what_the_receiver_refuses_is_the_peers_fault_and_ends_the_channel() -> None:
    def refuse(peer_id: str, message: bytes) -> None:
        raise InputError("nonsense")

    async with hosts(Echo(hello())) as (one, two, _):
        stream, theirs = await open_channel(one, two.peer_id, hello())
        channel = Channel(stream, theirs, opened_by_us=True)
        channel.send(b"x")
        with pytest.raises(InputError, match="nonsense"):
            await channel.run(refuse)


async def test_a_bug_in_the_receiver_is_not_mistaken_for_a_fault() -> None:
    def fail(peer_id: str, message: bytes) -> None:
        raise ZeroDivisionError

    async with hosts(Echo(hello())) as (one, two, _):
        stream, theirs = await open_channel(one, two.peer_id, hello())
        channel = Channel(stream, theirs, opened_by_us=True)
        channel.send(b"x")
        with pytest.raises(ExceptionGroup) as caught:
            await channel.run(fail)
        assert caught.value.subgroup(ZeroDivisionError) is not None


class SlowStream:
    """Of a large frame so many bytes arrive in a second."""

    peer_id = "peer"

    def __init__(self, bytes_per_s: int) -> None:
        self._bytes_per_s = bytes_per_s
        self._started_at = trio.current_time()

    @property
    def received_size_bytes(self) -> int:
        return int((trio.current_time() - self._started_at) * self._bytes_per_s)

    async def send_frame(self, frame: bytes) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_frame(self, size_bytes_max: int) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async def reset(self) -> None:
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize(("bytes_per_s", "is_alive"), [(65_536, True), (20_000, True), (15_000, False), (1, False)])
async def test_a_large_frame_on_a_slow_line_is_a_sign_of_life_and_a_drip_is_none(
    bytes_per_s: int, is_alive: bool, autojump_clock: MockClock
) -> None:
    channel = Channel(SlowStream(bytes_per_s), hello(), opened_by_us=True)
    silent = False
    with trio.move_on_after(300):
        try:
            await channel.run(lambda peer_id, message: None)
        except PeerSilent:
            silent = True
    assert silent is not is_alive
