"""Bitswap: serving it, asking by it, and what hostile peers make of it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from node.host.bitswap_wire import (
    PROTOCOL,
    BitswapMessage,
    BitswapWant,
    decode_message,
    encode_message,
    receive_message,
    send_message,
)
from node.host.interface import Stream, StreamClosed
from node.memory_host import MemoryHost, MemoryNetwork
from node.weights.bitswap import Bitswap
from node.weights.cid import Block, Codec
from node.weights.errors import PeerFaultKind, WeightsUnavailable
from node.weights.fetch import fetch
from node.weights.store import WeightsStore
from node.weights.tree import Layout
from pdfedchain.errors import DecodeError

SMALL = Layout(chunk_size_bytes=64, links_max=8)
NOWHERE = Block.of(Codec.RAW, b"nowhere")
MESSAGE_SIZE_BYTES_MAX = 4_194_304

wants = st.builds(BitswapWant, st.binary(max_size=40), st.booleans(), st.booleans(), st.booleans())
messages = st.builds(
    BitswapMessage,
    st.lists(wants, max_size=4).map(tuple),
    st.lists(st.tuples(st.binary(max_size=4), st.binary(max_size=80)), max_size=3).map(tuple),
    st.lists(st.binary(max_size=36), max_size=3).map(tuple),
    st.lists(st.binary(max_size=36), max_size=3).map(tuple),
)


@given(messages)
def test_messages_are_read_as_they_were_written(message: BitswapMessage) -> None:
    assert decode_message(encode_message(message)) == message


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    try:
        decode_message(data)
    except DecodeError:
        return


class World:
    """A node with a folder that speaks Bitswap only, and one that wants the folder."""

    def __init__(self, tmp_path: Path, ours: MemoryHost, theirs: MemoryHost) -> None:
        self.ours, self.theirs = ours, theirs
        self.store = WeightsStore(tmp_path / "own", layout=SMALL)
        self.origin = WeightsStore(tmp_path / "origin", layout=SMALL)
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "weights").write_bytes(hashlib.shake_128(b"weights").digest(2_000))
        self.cid = self.origin.add_folder(tmp_path / "model")
        self.bitswap, self.server = Bitswap(self.store), Bitswap(self.origin)
        self.bitswap.attach(ours)
        self.server.attach(theirs)

    async def fetch(self, *, stall_timeout_s: float = 20.0) -> object:
        return await fetch(
            self.ours,
            self.store,
            self.cid,
            [self.theirs.peer_id],
            size_bytes_max=10**9,
            stall_timeout_s=stall_timeout_s,
            bitswap=self.bitswap,
        )


@asynccontextmanager
async def open_world(tmp_path: Path) -> AsyncIterator[World]:
    network = MemoryNetwork()
    async with AsyncExitStack() as stack:
        hosts = [await stack.enter_async_context(network.open_host(bytes([number]) * 32)) for number in (1, 2)]
        await hosts[0].connect(hosts[1].addresses[0])
        yield World(tmp_path, hosts[0], hosts[1])


async def test_a_folder_comes_whole_from_a_peer_that_speaks_bitswap_only(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await world.fetch()
        assert world.store.verify(world.cid) == ()
        assert world.server.counters["blocks"] == len(list(world.origin.stored()))


async def test_a_missing_part_is_nobodys_fault(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        gone = next(block.cid for block in world.origin.stored() if block.cid[1] == Codec.RAW)
        world.origin.delete_block(gone)
        with pytest.raises(WeightsUnavailable) as caught:
            await world.fetch()
        assert (caught.value.missing, caught.value.faults) == ((gone,), ())


class Client:
    """A peer that asks by hand; what it is answered comes on streams of its peer's."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.answers: list[BitswapMessage] = []
        world.ours.set_stream_handler(PROTOCOL, self._read)

    async def _read(self, stream: Stream) -> None:
        while (message := await receive_message(stream, MESSAGE_SIZE_BYTES_MAX)) is not None:
            self.answers.append(message)

    async def ask(self, *entries: BitswapWant, count: int) -> list[BitswapMessage]:
        """The next answers to a want-list, as many as are expected."""
        self.answers.clear()
        async with await self.world.ours.open_stream(self.world.theirs.peer_id, PROTOCOL) as stream:
            await send_message(stream, BitswapMessage(wants=entries))
            with trio.fail_after(5):
                while len(self.answers) < count:
                    await trio.sleep(0.01)
        return list(self.answers)


async def test_each_kind_of_wish_gets_its_answer(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        client = Client(world)
        root = world.origin.get_block(world.cid)
        (answer,) = await client.ask(BitswapWant(world.cid), count=1)
        assert answer.blocks == ((root.cid[:4], root.data),)
        (answer,) = await client.ask(BitswapWant(world.cid, block=False), count=1)
        assert answer.haves == (world.cid,)
        foreign = b"\x12\x20" + bytes(32)  # a CIDv0: nothing of ours has one
        first, second = await client.ask(
            BitswapWant(NOWHERE.cid, say_no=False), BitswapWant(world.cid, block=False), BitswapWant(foreign), count=2
        )
        assert (first.haves, second.have_nots) == ((world.cid,), (foreign,))


async def test_cancelled_wishes_are_not_answered(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        client = Client(world)
        entries = (BitswapWant(NOWHERE.cid), BitswapWant(NOWHERE.cid, cancel=True), BitswapWant(world.cid))
        (answer,) = await client.ask(*entries, count=1)
        assert [data for _, data in answer.blocks] == [world.origin.get_block(world.cid).data]


async def test_wishes_of_one_peer_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.weights.bitswap.BITSWAP_WISHES_MAX", 10)
    async with open_world(tmp_path) as world:
        client = Client(world)
        await client.ask(*(BitswapWant(bytes([number])) for number in range(100)), count=10)
        assert world.server.counters["wishes_dropped"] == 90
        assert not world.server._outboxes


async def test_a_peer_that_lies_about_blocks_gets_nothing_stored(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:

        async def lie(stream: Stream) -> None:
            while (message := await receive_message(stream, MESSAGE_SIZE_BYTES_MAX)) is not None:
                async with await world.theirs.open_stream(world.ours.peer_id, PROTOCOL) as back:
                    for want in message.wants:
                        await send_message(back, BitswapMessage(blocks=((want.cid[:4], b"something else"),)))

        world.theirs.set_stream_handler(PROTOCOL, lie)
        with pytest.raises(WeightsUnavailable) as caught:
            await world.fetch(stall_timeout_s=0.5)
        assert [fault.kind for fault in caught.value.faults] == [PeerFaultKind.STALLED]
        assert list(world.store.stored()) == []


@pytest.mark.parametrize("payload", [b"\xff\xff\xff\xff\xff\xff", b"\x03\xff\xff\xff", b"\xff\xff\xff\xff\x0f"])
async def test_who_sends_no_message_is_reset_and_reported(tmp_path: Path, payload: bytes) -> None:
    async with open_world(tmp_path) as world:
        reported: list[str] = []
        world.theirs.set_fault_listener(lambda peer_id, _: reported.append(peer_id))
        stream = await world.ours.open_stream(world.theirs.peer_id, PROTOCOL)
        await stream.write(payload)
        with trio.fail_after(5):
            while not reported:
                await trio.sleep(0.01)
        assert reported == [world.ours.peer_id]
        assert world.server._streams.total() == 0


async def test_blocks_nobody_asked_for_are_dropped(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        async with await world.ours.open_stream(world.theirs.peer_id, PROTOCOL) as stream:
            await send_message(stream, BitswapMessage(blocks=((NOWHERE.cid[:4], NOWHERE.data),)))
        await world.fetch()
        assert not world.origin.has_block(NOWHERE.cid)


async def test_a_wish_for_a_name_that_nothing_can_have_is_not_kept(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        client = Client(world)
        await client.ask(BitswapWant(bytes(65)), BitswapWant(bytes(200_000)), BitswapWant(world.cid), count=1)
        assert world.server.counters["wishes_dropped"] == 2


async def refused(world: World, message: BitswapMessage) -> None:
    stream = await world.ours.open_stream(world.theirs.peer_id, PROTOCOL)
    with suppress(StreamClosed):
        await send_message(stream, message)
    with trio.fail_after(30):
        while not world.server.counters["no_room"]:
            await trio.sleep(0.01)


async def test_a_large_message_is_read_only_from_a_peer_that_was_asked(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        faults: list[str] = []
        world.theirs.set_fault_listener(lambda _, reason: faults.append(reason))
        await refused(world, BitswapMessage(blocks=((NOWHERE.cid[:4], bytes(600_000)),)))
        assert (world.server._arriving_size_bytes, faults) == (0, [])
        await world.fetch()


async def flood(world: World, message: BitswapMessage) -> list[str]:
    """Send a message until somebody is blamed for it; whom."""
    faults: list[str] = []
    world.theirs.set_fault_listener(lambda peer_id, reason: faults.append(f"{peer_id} {reason}"))
    with trio.fail_after(60), suppress(StreamClosed):
        async with await world.ours.open_stream(world.theirs.peer_id, PROTOCOL) as stream:
            while not faults:
                await send_message(stream, message)
    with trio.fail_after(30):
        while not faults:
            await trio.sleep(0.01)
    assert world.server.counters["flooded"] == 1
    return faults


@pytest.mark.parametrize(
    "message",
    [
        BitswapMessage(wants=tuple(BitswapWant(bytes([1, number])) for number in range(100))),
        BitswapMessage(wants=(BitswapWant(NOWHERE.cid),) * 100),
        BitswapMessage(wants=(BitswapWant(NOWHERE.cid, cancel=True),) * 100),
        BitswapMessage(haves=(NOWHERE.cid,) * 100),
        BitswapMessage(have_nots=(NOWHERE.cid,) * 100),
        BitswapMessage(blocks=((NOWHERE.cid[:4], bytes(50_000)),)),
        BitswapMessage(),
    ],
)
async def test_messages_without_end_are_their_senders_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: BitswapMessage
) -> None:
    monkeypatch.setattr("node.weights.bitswap.BITSWAP_SAID_MAX", 500.0)
    monkeypatch.setattr("node.weights.bitswap.BITSWAP_SAID_PER_S", 0.001)
    async with open_world(tmp_path) as world:
        faults = await flood(world, message)
        assert faults == [
            f"{world.ours.peer_id} {PROTOCOL}: a flood of wishes, or of blocks that nobody asked for",
        ]


async def test_blocks_that_are_fetched_do_not_use_up_what_a_peer_may_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.weights.bitswap.BITSWAP_SAID_MAX", 50.0)
    monkeypatch.setattr("node.weights.bitswap.BITSWAP_SAID_PER_S", 0.001)
    async with open_world(tmp_path) as world:
        client = Client(world)
        for _ in range(30):  # a message counts one, and so does a wish whose block gives it back
            await client.ask(BitswapWant(world.cid), count=1)
        for side in (world.bitswap, world.server):
            assert side.counters["flooded"] == 0


async def test_blocks_that_were_asked_for_count_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.weights.bitswap.BITSWAP_SAID_MAX", 100.0)
    monkeypatch.setattr("node.weights.bitswap.BITSWAP_SAID_PER_S", 0.001)
    async with open_world(tmp_path) as world:
        (tmp_path / "large").mkdir()
        (tmp_path / "large" / "weights").write_bytes(hashlib.shake_128(b"large").digest(2_000_000))
        origin = WeightsStore(tmp_path / "large origin")
        Bitswap(origin).attach(world.theirs)
        world.cid = origin.add_folder(tmp_path / "large")
        world.store = WeightsStore(tmp_path / "large own")
        await world.fetch()
        assert (world.bitswap.counters["flooded"], world.store.verify(world.cid)) == (0, ())


async def test_messages_that_are_being_received_are_bounded_in_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.weights.bitswap.BITSWAP_ARRIVING_SIZE_BYTES_MAX", 500_000)
    async with open_world(tmp_path) as world:
        streams = [await world.ours.open_stream(world.theirs.peer_id, PROTOCOL) for _ in range(4)]
        for stream in streams:
            await stream.write(b"\x80\x80\x08")  # 131,072 bytes are to come, and do not
        with trio.fail_after(30):
            while not world.server.counters["no_room"]:
                await trio.sleep(0.01)
        assert world.server._arriving_size_bytes == 3 * 131_072
        for stream in streams:
            await stream.reset()
        with trio.fail_after(30):
            while world.server._arriving_size_bytes:
                await trio.sleep(0.01)
