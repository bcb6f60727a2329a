"""Joining by a snapshot: what is offered, who is believed, and that nothing is begun by halves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from node.core import Node
from node.host.interface import Stream, StreamClosed, StreamHandler
from node.memory_host import MemoryHost, MemoryNetwork
from node.state_sync import SnapshotServer, sync_state
from node.wire import CHUNKS_PER_REQUEST_MAX, SNAPSHOT_PROTOCOL, SnapshotRequest
from pdfedchain.application import Execution
from pdfedchain.codec import encode
from pdfedchain.errors import StateError
from pdfedchain.limits import SNAPSHOT_CHUNK_SIZE_BYTES_MAX, SNAPSHOT_MANIFEST_SIZE_BYTES_MAX
from pdfedchain.snapshot import Snapshot, take_snapshot
from pdfedchain.store.memory import MemoryStore
from pdfedchain.store.sqlite import SqliteStore
from pdfedchain.types.block import FinalBlock
from tests.node.memory_testnet import memory_testnet, observer_parts
from tests.pdfedchain.chain_world import Maker, words_genesis
from tests.pdfedchain.ledger_world import START_MS

LATER_MS = START_MS + 3_600_000


async def inline(work: Callable[[], Any]) -> Any:
    """A virtual clock does not wait for threads."""
    await trio.lowlevel.checkpoint()
    return work()


def server_of(store: MemoryStore, interval: int = 1) -> SnapshotServer:
    server = SnapshotServer(store, interval=interval, in_thread=inline)
    server.committed()
    return server


class World:
    """A chain whose state needs some chunks, and hosts that serve it."""

    def __init__(self, network: MemoryNetwork, stack: AsyncExitStack) -> None:
        self.maker = Maker.start(words_genesis(4))
        self.store = MemoryStore()
        self.store.initialise(self.maker.genesis, self.maker.position.state)
        for i in range(20):
            self.grow(b"key%d=" % i + bytes(200_000))
        self.grow(b"@authority1 authority5")
        self.grow(b"a=1")
        self.network = network
        self.addresses: list[str] = []
        self.joined = MemoryStore()
        self._stack = stack

    def grow(self, *words: bytes) -> tuple[FinalBlock, Execution]:
        final, execution = self.maker.advance(*words)
        self.store.commit(final, execution)
        return final, execution

    async def host(self, handler: StreamHandler | None = None) -> MemoryHost:
        seed = bytes([len(self.addresses) + 1]) * 32
        host = await self._stack.enter_async_context(self.network.open_host(seed))
        if handler is not None:
            host.set_stream_handler(SNAPSHOT_PROTOCOL, handler)
        self.addresses.append(host.addresses[0])
        return host

    def server(self, interval: int = 1) -> SnapshotServer:
        return server_of(self.store, interval)

    async def join(self) -> int | None:
        """Sync into ``joined`` from everybody there is."""
        peers = tuple(self.addresses)
        joiner = await self.host()
        return await sync_state(joiner, self.maker.genesis, peers, self.joined, clock=lambda: LATER_MS)


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield World(MemoryNetwork(), stack)


def same_state(one: MemoryStore, two: MemoryStore) -> bool:
    return dict(one.state_items(b"")) == dict(two.state_items(b""))


async def test_an_empty_store_begins_with_the_state_of_a_peer() -> None:
    async with world() as here:
        await here.host(here.server().handle)
        assert await here.join() == 22
        assert same_state(here.store, here.joined)
        final, execution = here.grow(b"b=2")
        here.joined.commit(final, execution)
        assert here.joined.next_authorities() == here.store.next_authorities()


async def test_several_peers_each_send_a_share() -> None:
    counted: dict[int, int] = {}

    def counting(server: SnapshotServer, number: int) -> StreamHandler:
        class Counted:
            def __init__(self, stream: Stream) -> None:
                self._stream = stream

            async def send_frame(self, frame: bytes) -> None:
                counted[number] = counted.get(number, 0) + (len(frame) > 100_000)
                await trio.lowlevel.checkpoint()
                await self._stream.send_frame(frame)

            @property
            def peer_id(self) -> str:
                return self._stream.peer_id

            async def receive_frame(self, size_bytes_max: int) -> bytes:
                return await self._stream.receive_frame(size_bytes_max)

        return lambda stream: server.handle(Counted(stream))  # type: ignore[arg-type]

    async with world() as here:
        for i in range(60):
            here.grow(b"more%d=" % i + bytes(300_000))
        for number in range(2):
            await here.host(counting(here.server(), number))
        assert await here.join() == 82
        assert same_state(here.store, here.joined)
        assert sorted(counted) == [0, 1]
        assert CHUNKS_PER_REQUEST_MAX < sum(counted.values()) <= take_snapshot(here.store).chunks()


class Liar:
    """Serves a snapshot with one thing changed."""

    def __init__(self, snapshot: Snapshot, lie: str) -> None:
        self._snapshot = snapshot
        self._lie = lie
        self.asked = 0

    async def handle(self, stream: Stream) -> None:
        while True:
            self.asked += 1
            await stream.receive_frame(1_000)
            if self.asked == 1:
                blocks = self._snapshot.blocks()
                frames = [self._snapshot.manifest(), *(blocks[1:] if self._lie == "handover" else blocks), b""]
                if self._lie == "manifest":
                    frames[0] = frames[0][:-1] + bytes([frames[0][-1] ^ 1])
            elif self._lie == "gone":
                frames = [b""]
            elif self._lie == "silent":
                await trio.sleep_forever()
            else:
                frames = [self._snapshot.chunk(0)[:-1] + b"!", b""]
            for frame in frames:
                await stream.send_frame(frame)


@pytest.mark.parametrize("lie", ["manifest", "handover", "chunk", "gone", "silent"])
async def test_one_honest_peer_among_liars_is_enough(lie: str, autojump_clock: trio.testing.MockClock) -> None:
    async with world() as here:
        liar = Liar(take_snapshot(here.store), lie)
        await here.host(liar.handle)
        await here.host(here.server().handle)
        assert await here.join() == 22
        assert same_state(here.store, here.joined)
        assert liar.asked >= 1


@pytest.mark.parametrize("lie", ["manifest", "handover", "chunk", "gone", "silent"])
async def test_liars_alone_leave_the_store_empty(lie: str, autojump_clock: trio.testing.MockClock) -> None:
    async with world() as here:
        await here.host(Liar(take_snapshot(here.store), lie).handle)
        assert await here.join() is None
        assert (here.joined.genesis(), here.joined.height(), list(here.joined.state_items(b""))) == (None, 0, [])


async def test_who_has_nothing_is_asked_again_for_a_while(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as here:
        empty = MemoryStore()
        empty.initialise(here.maker.genesis, here.store.state())
        await here.host(server_of(empty).handle)
        await here.host()  # does not speak the protocol
        here.addresses.append("/memory/nobody/p2p/" + here.addresses[0].rpartition("/")[2])
        assert await here.join() is None


async def test_the_highest_offer_wins(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as here:
        old = here.server()
        here.grow(b"b=2")
        await here.host(old.handle)
        await here.host(here.server().handle)
        assert await here.join() == 23


async def test_a_dripping_peer_with_the_newest_offer_does_not_hold_up_the_join(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Dripping:
        def __init__(self, stream: Stream) -> None:
            self._stream = stream
            self._is_transfer = False

        @property
        def peer_id(self) -> str:
            return self._stream.peer_id

        async def receive_frame(self, size_bytes_max: int) -> bytes:
            frame = await self._stream.receive_frame(size_bytes_max)
            self._is_transfer = frame != encode(SnapshotRequest(None, 0, 1))
            return frame

        async def send_frame(self, frame: bytes) -> None:
            await trio.sleep(14.5 if self._is_transfer else 0)
            await self._stream.send_frame(frame)

    async with world() as here:
        for i in range(60):
            here.grow(b"more%d=" % i + bytes(300_000))
        older = here.server()
        here.grow(b"b=2")
        newest = here.server()
        await here.host(older.handle)
        await here.host(lambda stream: newest.handle(Dripping(stream)))  # type: ignore[arg-type]
        assert await here.join() == 82
        assert trio.current_time() < 200


async def test_two_proven_histories_are_not_chosen_from() -> None:
    async with world() as here:
        await here.host(here.server().handle)
        # The same authorities sign another block of that height.
        other, twin = MemoryStore(), Maker.start(here.maker.genesis)
        other.initialise(twin.genesis, twin.position.state)
        for i in range(20):
            other.commit(*twin.advance(b"key%d=" % i + bytes(200_000)))
        for word in (b"@authority1 authority5", b"a=2"):
            other.commit(*twin.advance(word))
        await here.host(server_of(other).handle)
        with pytest.raises(StateError, match="two different blocks at height 22"):
            await here.join()
        assert here.joined.genesis() is None


async def test_snapshots_are_offered_at_intervals_and_the_one_before_stays() -> None:
    async with world() as here:
        server = here.server(interval=5)
        host = await here.host(server.handle)
        asker = await here.host()
        await asker.connect(host.addresses[0])

        async def offered() -> list[bytes]:
            async with await asker.open_stream(host.peer_id, SNAPSHOT_PROTOCOL) as stream:
                await stream.send_frame(encode(SnapshotRequest(None, 0, 1)))
                return [await stream.receive_frame(SNAPSHOT_MANIFEST_SIZE_BYTES_MAX) for _ in range(4)]

        async def chunks(height: int, first: int, count: int) -> int:
            async with await asker.open_stream(host.peer_id, SNAPSHOT_PROTOCOL) as stream:
                await stream.send_frame(encode(SnapshotRequest(height, first, count)))
                number = 0
                while await stream.receive_frame(SNAPSHOT_CHUNK_SIZE_BYTES_MAX):
                    number += 1
                return number

        first = take_snapshot(here.store)
        assert await offered() == [first.manifest(), *first.blocks(), b""]
        for i in range(4):
            here.grow(b"b=%d" % i)
            server.committed()
        assert (await offered())[0] == first.manifest()
        here.grow(b"c=1")
        server.committed()
        second = take_snapshot(here.store)
        assert (await offered())[0] == second.manifest()
        assert [await chunks(height, 0, 3) for height in (22, 27, 21)] == [3, 3, 0]
        assert await chunks(27, second.chunks() - 1, 3) == 1
        assert await chunks(27, 2**62, 1) == 0
        for i in range(5):
            here.grow(b"d=%d" % i)
            server.committed()
        assert [await chunks(height, 0, 1) for height in (22, 27, 32)] == [0, 1, 1]


async def test_one_peer_has_two_streams_and_all_together_eight(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as here:
        host = await here.host(here.server().handle)

        async def served(asker: MemoryHost) -> bool:
            stream = await asker.open_stream(host.peer_id, SNAPSHOT_PROTOCOL)
            try:
                await stream.send_frame(encode(SnapshotRequest(0, 0, 1)))
                return await stream.receive_frame(0) == b""
            except StreamClosed:
                return False

        askers = [await here.host() for _ in range(5)]
        for asker in askers:
            await asker.connect(host.addresses[0])
        assert [[await served(asker) for _ in range(3)] for asker in askers] == [[True, True, False]] * 4 + [
            [False] * 3
        ]
        await trio.sleep(61)  # whoever is silent for long is let go
        assert await served(askers[4])


async def test_a_node_joins_a_running_network_by_a_snapshot(tmp_path: Path) -> None:
    async with memory_testnet(tmp_path, snapshot_interval=4, keep_blocks=32) as testnet:
        await testnet.wait(lambda node: node.head.height >= 50)
        assert all(node.parts.store.bodies_from() > 1 for node in testnet.nodes)
        async with testnet.network.open_host(bytes([200]) * 32) as host:
            addresses = [node.parts.host.addresses[0] for node in testnet.nodes]
            store = SqliteStore(tmp_path / "joined.db")
            height = await sync_state(host, testnet.genesis, addresses, store, clock=lambda: 10**15)
            assert height is not None
            assert height >= 40
            parts = observer_parts(tmp_path, testnet.genesis, host, addresses, store)
            joined = Node(replace(parts, sync=testnet.nodes[0].parts.sync))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(joined.run)
                with trio.fail_after(120):
                    while joined.head.height < height + 12:
                        await trio.sleep(0.02)
                reached = joined.head.height
                testnet.nodes.append(joined)
                await testnet.wait(lambda node: node.head.height >= reached)
                assert len({node.parts.store.light_block(reached).hash for node in testnet.nodes}) == 1
                assert store.headers_from() == height
                nursery.cancel_scope.cancel()
            store.close()
