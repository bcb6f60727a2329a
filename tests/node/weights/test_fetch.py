"""Fetching and serving over hosts in memory: honest peers, slow ones, liars and crashes."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio

from node.host.interface import Stream, StreamClosed
from node.memory_host import MemoryHost, MemoryNetwork
from node.weights.cid import Block, Codec
from node.weights.dag import DirectoryNode, Link, encode_node
from node.weights.errors import (
    MalformedWeights,
    PeerFault,
    PeerFaultKind,
    StoreFull,
    WeightsTooLarge,
    WeightsUnavailable,
)
from node.weights.fetch import fetch
from node.weights.limits import (
    ANSWER_SIZE_BYTES_MAX,
    ATTEMPTS_PER_PEER,
    BLOCK_SIZE_BYTES_MAX,
    REQUEST_SIZE_BYTES_MAX,
)
from node.weights.messages import PROTOCOL, Answer, Want, receive_answer, send_answer
from node.weights.serve import WeightsServer
from node.weights.store import WeightsStore
from node.weights.transfer import Progress
from node.weights.tree import PROFILE, Layout
from pdfedchain.codec import decode, encode
from pdfedchain.ids import Cid, cid_text, parse_cid
from tests.node.host.hosts import until

SMALL = Layout(chunk_size_bytes=64, links_max=8)
MANY = 10**9


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers in memory need no time to recover."""
    monkeypatch.setattr("node.weights.fetch._RETRY_DELAY_S", 0.01)


def squeeze(name: str, size_bytes: int) -> bytes:
    return hashlib.shake_128(name.encode()).digest(size_bytes)


def make_folder(path: Path, size_bytes: int = 1_000) -> Path:
    (path / "unet").mkdir(parents=True)
    (path / "model_index.json").write_bytes(b"{}")
    (path / "unet" / "weights").write_bytes(squeeze("weights", size_bytes))
    return path


class Net:
    """Our own host and store, and peers that are connected to it."""

    def __init__(self, network: MemoryNetwork, host: MemoryHost, tmp_path: Path, stack: AsyncExitStack) -> None:
        self.network = network
        self.host = host
        self.store = WeightsStore(tmp_path / "own", layout=SMALL)
        self.cid = WeightsStore(tmp_path / "origin", layout=SMALL).add_folder(make_folder(tmp_path / "model"))
        self.origin = WeightsStore(tmp_path / "origin", layout=SMALL)
        self._tmp_path = tmp_path
        self._stack = stack
        self._count = 0

    async def peer(self, handler: Callable[[Stream], Awaitable[None]] | None = None) -> str:
        """A connected peer that serves the origin's store, or does what the handler does."""
        self._count += 1
        host = await self._stack.enter_async_context(self.network.open_host(bytes([self._count]) * 32))
        host.set_stream_handler(PROTOCOL, handler or WeightsServer(self.origin).handle)
        return await self.host.connect(host.addresses[0])

    def other_store(self, name: str) -> WeightsStore:
        return WeightsStore(self._tmp_path / name, layout=SMALL)

    async def fetch(self, *peers: str, cid: Cid | None = None, stall_timeout_s: float = 30.0) -> object:
        return await fetch(
            self.host, self.store, cid or self.cid, peers, size_bytes_max=MANY, stall_timeout_s=stall_timeout_s
        )


@asynccontextmanager
async def open_net(tmp_path: Path) -> AsyncIterator[Net]:
    network = MemoryNetwork()
    async with AsyncExitStack() as stack:
        host = await stack.enter_async_context(network.open_host(bytes(32)))
        yield Net(network, host, tmp_path, stack)


def stored(root: Path) -> list[Cid]:
    """Identifiers of all blocks of a store."""
    return sorted(parse_cid(path.name) for path in (root / "blocks").glob("*/*"))


def path_of(root: Path, cid: Cid) -> Path:
    (found,) = (root / "blocks").glob(f"*/{cid_text(cid)}")
    return found


async def read_want(stream: Stream) -> Want:
    frame = await stream.receive_frame(REQUEST_SIZE_BYTES_MAX)
    return decode(Want, frame, size_bytes_max=REQUEST_SIZE_BYTES_MAX)


def answering(
    origin: WeightsStore, change: Callable[[bytes | None], bytes | None]
) -> Callable[[Stream], Awaitable[None]]:
    """A server that changes each block before it answers."""

    async def handle(stream: Stream) -> None:
        while True:
            want = await read_want(stream)
            for cid in want.cids:
                data = origin.get_block(cid).data if origin.has_block(cid) else None
                await send_answer(stream, cid, change(data))

    return handle


async def test_a_folder_comes_whole_from_one_peer(tmp_path: Path) -> None:
    async with open_net(tmp_path) as net:
        peer = await net.peer()
        seen: list[Progress] = []
        report = await fetch(
            net.host, net.store, net.cid, [peer], size_bytes_max=net.origin.total_size(net.cid), on_progress=seen.append
        )
    assert net.store.verify(net.cid) == ()
    net.store.export(net.cid, tmp_path / "out")
    assert (tmp_path / "out" / "unet" / "weights").read_bytes() == squeeze("weights", 1_000)
    assert report.by_peer == {peer: report.fetched_blocks}
    assert report.fetched_blocks == report.progress.blocks == report.progress.blocks_known
    assert report.fetched_bytes == report.progress.size_bytes == report.progress.size_total_bytes
    assert report.faults == ()
    assert [progress.blocks for progress in seen] == sorted(progress.blocks for progress in seen)
    assert seen[-1] == report.progress


async def test_chunks_of_a_mebibyte_pass(tmp_path: Path) -> None:
    origin = WeightsStore(tmp_path / "large", layout=PROFILE)
    cid = origin.add_folder(make_folder(tmp_path / "large model", 3 * 1_048_576 + 1))
    async with open_net(tmp_path) as net:
        store = WeightsStore(tmp_path / "own large")
        peer = await net.peer(WeightsServer(origin).handle)
        await fetch(net.host, store, cid, [peer], size_bytes_max=MANY)
    assert store.verify(cid) == ()


async def test_a_single_file_is_fetched_like_a_folder(tmp_path: Path) -> None:
    (tmp_path / "manifest").write_bytes(b"manifest")
    async with open_net(tmp_path) as net:
        cid = net.origin.add_file(tmp_path / "manifest")
        await net.fetch(await net.peer(), cid=cid)
        assert net.store.read_file(cid, size_bytes_max=8) == b"manifest"


async def test_what_is_here_already_is_not_fetched_and_needs_no_peer(tmp_path: Path) -> None:
    async with open_net(tmp_path) as net:
        assert net.store.add_folder(tmp_path / "model") == net.cid
        report = await fetch(net.host, net.store, net.cid, [], size_bytes_max=MANY)
        assert (report.fetched_blocks, report.by_peer) == (0, {})


async def test_every_peer_gives_the_part_it_has(tmp_path: Path) -> None:
    async with open_net(tmp_path) as net:
        halves = [net.other_store("first"), net.other_store("second")]
        for index, cid in enumerate(stored(tmp_path / "origin")):
            halves[index % 2].put_block(net.origin.get_block(cid))
        peers = [await net.peer(WeightsServer(half).handle) for half in halves]
        report = await fetch(net.host, net.store, net.cid, peers, size_bytes_max=MANY)
        assert net.store.verify(net.cid) == ()
        assert set(report.by_peer) == set(peers)
        assert report.faults == ()


@pytest.mark.parametrize("lie", [b"", b"something else", bytes(64)])
async def test_a_peer_that_lies_is_dropped_and_named_and_nothing_of_it_stays(tmp_path: Path, lie: bytes) -> None:
    async with open_net(tmp_path) as net:
        liar = await net.peer(answering(net.origin, lambda data: lie))
        honest = await net.peer()
        report = await fetch(net.host, net.store, net.cid, [liar, honest], size_bytes_max=MANY)
        assert [(fault.peer_id, fault.kind) for fault in report.faults] == [(liar, PeerFaultKind.LIED)]
        assert net.store.verify(net.cid) == ()
        assert report.by_peer == {honest: report.fetched_blocks}


async def test_a_liar_alone_gives_an_error_that_names_it(tmp_path: Path) -> None:
    async with open_net(tmp_path) as net:
        liar = await net.peer(answering(net.origin, lambda data: b"lie"))
        with pytest.raises(WeightsUnavailable) as caught:
            await net.fetch(liar)
        assert caught.value.missing == (net.cid,)
        assert [fault.kind for fault in caught.value.faults] == [PeerFaultKind.LIED]
        assert net.store.missing(net.cid) == (net.cid,)


async def test_a_liar_is_named_however_the_fetch_ends(tmp_path: Path) -> None:
    async with open_net(tmp_path) as net:
        liar = await net.peer(answering(net.origin, lambda data: b"lie"))
        honest = await net.peer()
        small = WeightsStore(tmp_path / "own", layout=SMALL, size_bytes_max=600)
        told: list[PeerFault] = []
        with pytest.raises(StoreFull):
            await fetch(net.host, small, net.cid, [liar, honest], size_bytes_max=MANY, on_fault=told.append)
        assert [(fault.peer_id, fault.kind) for fault in told] == [(liar, PeerFaultKind.LIED)]


async def garbage(stream: Stream) -> None:
    await stream.send_frame(b"garbage")
    await stream.receive_frame(REQUEST_SIZE_BYTES_MAX)
    await trio.sleep_forever()


async def endless(stream: Stream) -> None:
    await stream.write(bytes([255] * 4))
    while True:
        await stream.write(bytes(1_000))


async def oversized(stream: Stream) -> None:
    await send_answer(stream, (await read_want(stream)).cids[0], bytes(BLOCK_SIZE_BYTES_MAX + 1))
    await trio.sleep_forever()


async def oversized_answer(stream: Stream) -> None:
    await stream.receive_frame(REQUEST_SIZE_BYTES_MAX)
    await stream.send_frame(bytes(ANSWER_SIZE_BYTES_MAX + 1))
    await trio.sleep_forever()


async def unasked(stream: Stream) -> None:
    await stream.receive_frame(REQUEST_SIZE_BYTES_MAX)
    block = Block.of(Codec.RAW, b"nobody asked for this")
    await send_answer(stream, block.cid, block.data)
    await trio.sleep_forever()


@pytest.mark.parametrize("bad", [garbage, endless, oversized, oversized_answer, unasked])
async def test_a_peer_that_breaks_the_protocol_is_dropped(
    tmp_path: Path, bad: Callable[[Stream], Awaitable[None]]
) -> None:
    async with open_net(tmp_path) as net:
        peers = [await net.peer(bad), await net.peer()]
        report = await fetch(net.host, net.store, net.cid, peers, size_bytes_max=MANY)
        assert [(fault.peer_id, fault.kind) for fault in report.faults] == [(peers[0], PeerFaultKind.GARBAGE)]
        assert net.store.verify(net.cid) == ()
        assert not net.store.has_block(Block.of(Codec.RAW, b"nobody asked for this").cid)


async def test_the_same_answer_twice_breaks_the_protocol(tmp_path: Path) -> None:
    async with open_net(tmp_path) as net:

        async def twice(stream: Stream) -> None:
            want = await read_want(stream)
            while True:
                await send_answer(stream, want.cids[0], net.origin.get_block(want.cids[0]).data)
                await stream.receive_frame(REQUEST_SIZE_BYTES_MAX)

        with pytest.raises(WeightsUnavailable) as caught:
            await net.fetch(await net.peer(twice))
        assert [fault.kind for fault in caught.value.faults] == [PeerFaultKind.GARBAGE]


async def silent(stream: Stream) -> None:
    await stream.receive_frame(REQUEST_SIZE_BYTES_MAX)
    await trio.sleep_forever()


async def test_a_peer_that_stalls_is_left(tmp_path: Path) -> None:
    async with open_net(tmp_path) as net:
        peer = await net.peer(silent)
        with pytest.raises(WeightsUnavailable) as caught:
            await net.fetch(peer, stall_timeout_s=1.0)
        assert [(fault.peer_id, fault.kind) for fault in caught.value.faults] == [(peer, PeerFaultKind.STALLED)]


@pytest.mark.parametrize("gives_the_root", [True, False])
async def test_a_slow_peer_does_not_hold_up_the_end(tmp_path: Path, gives_the_root: bool) -> None:
    async with open_net(tmp_path) as net:

        async def drip(stream: Stream) -> None:
            want = await read_want(stream)
            if net.cid in want.cids and gives_the_root:
                await send_answer(stream, net.cid, net.origin.get_block(net.cid).data)
            await trio.sleep_forever()

        slow, quick = await net.peer(drip), await net.peer()
        with trio.fail_after(60):
            await net.fetch(slow, quick, stall_timeout_s=10_000.0)
        assert net.store.verify(net.cid) == ()


async def test_a_peer_that_connects_during_a_fetch_takes_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.weights.fetch._JOIN_INTERVAL_S", 0.01)
    async with open_net(tmp_path) as net:
        joined: list[str] = []
        second = await net.peer()

        async def nothing(stream: Stream) -> None:
            await read_want(stream)
            joined.append(second)
            await trio.sleep_forever()

        first = await net.peer(nothing)
        with trio.fail_after(60):
            report = await fetch(
                net.host,
                net.store,
                net.cid,
                (first,),
                size_bytes_max=MANY,
                stall_timeout_s=5.0,
                joining=lambda: joined,
            )
        assert set(report.by_peer) == set(joined)


async def test_a_link_that_goes_dead_in_the_middle_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.weights.transfer.FASTER_FACTOR", 10**9)  # or the second may give what the first owes
    async with open_net(tmp_path) as net:
        answers = 0
        dead = trio.Event()

        def die_at_the_fifth(data: bytes | None) -> bytes | None:
            nonlocal answers
            answers += 1
            if answers == 5:
                net.network.link(net.host.peer_id, first).stall()
                dead.set()
            return data

        async def once_the_first_is_dead(stream: Stream) -> None:
            await dead.wait()
            await WeightsServer(net.origin).handle(stream)

        first = await net.peer(answering(net.origin, die_at_the_fifth))
        second = await net.peer(once_the_first_is_dead)
        for cid in stored(tmp_path / "origin"):
            if cid[1] == Codec.DAG_PB:  # so that only chunks are wanted, and both peers are asked for some
                net.store.put_block(net.origin.get_block(cid))
        report = await fetch(net.host, net.store, net.cid, [first, second], size_bytes_max=MANY, stall_timeout_s=5.0)
        assert [(fault.peer_id, fault.kind) for fault in report.faults] == [(first, PeerFaultKind.STALLED)]
        assert second in report.by_peer
        assert net.store.verify(net.cid) == ()


async def test_a_stream_that_breaks_is_opened_again(tmp_path: Path) -> None:
    async with open_net(tmp_path) as net:
        streams = 0

        async def three_a_stream(stream: Stream) -> None:
            nonlocal streams
            streams += 1
            left = 3 if streams <= 5 else 0
            while True:
                for cid in (await read_want(stream)).cids:
                    if not left:
                        return
                    left -= 1
                    await send_answer(stream, cid, net.origin.get_block(cid).data)

        with pytest.raises(WeightsUnavailable) as caught:
            await net.fetch(await net.peer(three_a_stream))
        assert [fault.kind for fault in caught.value.faults] == [PeerFaultKind.BROKEN]
        assert len(stored(tmp_path / "own")) == 15
        assert streams == 5 + ATTEMPTS_PER_PEER - 1


async def test_a_fetch_that_was_cut_off_goes_on_where_it_was(tmp_path: Path) -> None:
    async with open_net(tmp_path) as net:
        peer = await net.peer()
        with trio.CancelScope() as scope:

            def stop_halfway(progress: Progress) -> None:
                if progress.blocks >= 8:
                    scope.cancel()

            await fetch(net.host, net.store, net.cid, [peer], size_bytes_max=MANY, on_progress=stop_halfway)
        assert scope.cancelled_caught
        assert not net.store.complete(net.cid)
        report = await fetch(net.host, net.store, net.cid, [peer], size_bytes_max=MANY)
        assert net.store.verify(net.cid) == ()
        assert 0 < report.fetched_blocks <= report.progress.blocks - 8


async def test_a_damaged_block_is_fetched_again_and_alone(tmp_path: Path) -> None:
    async with open_net(tmp_path) as net:
        peer = await net.peer()
        await net.fetch(peer)
        damaged = Block.of(Codec.RAW, squeeze("weights", 64))
        path_of(tmp_path / "own", damaged.cid).write_bytes(bytes(64))
        assert [bad.cid for bad in net.store.verify(net.cid)] == [damaged.cid]
        report = await fetch(net.host, net.store, net.cid, [peer], size_bytes_max=MANY)
        assert report.fetched_blocks == 1
        assert net.store.verify(net.cid) == ()


async def test_when_no_peer_has_it_the_error_says_so(tmp_path: Path) -> None:
    async with open_net(tmp_path) as net:
        empty = net.other_store("empty")
        peers = [await net.peer(WeightsServer(empty).handle) for _ in range(2)]
        for asked in (peers, []):
            with pytest.raises(WeightsUnavailable, match="no peer has all of") as caught:
                await net.fetch(*asked)
            assert (caught.value.missing, caught.value.faults) == ((net.cid,), ())


async def test_when_a_part_is_nowhere_the_rest_is_fetched_all_the_same(tmp_path: Path) -> None:
    async with open_net(tmp_path) as net:
        gone = Block.of(Codec.RAW, squeeze("weights", 64)).cid
        path_of(tmp_path / "origin", gone).unlink()
        with pytest.raises(WeightsUnavailable) as caught:
            await net.fetch(await net.peer())
        assert caught.value.missing == (gone,)
        assert net.store.missing(net.cid) == (gone,)


async def test_a_peer_that_is_not_connected_or_speaks_another_protocol_is_broken(tmp_path: Path) -> None:
    async with open_net(tmp_path) as net:
        gone = await net.peer()
        await net.host.disconnect(gone)
        with pytest.raises(WeightsUnavailable) as caught:
            await net.fetch(gone)
        assert [(fault.peer_id, fault.kind) for fault in caught.value.faults] == [(gone, PeerFaultKind.BROKEN)]


async def test_too_large_weights_are_refused_after_their_root(tmp_path: Path) -> None:
    async with open_net(tmp_path) as net:
        peer = await net.peer()
        size_bytes_max = net.origin.total_size(net.cid) - 1
        with pytest.raises(WeightsTooLarge):
            await fetch(net.host, net.store, net.cid, [peer], size_bytes_max=size_bytes_max)
        assert stored(tmp_path / "own") == [net.cid]


async def test_malformed_weights_are_their_authors_fault(tmp_path: Path) -> None:
    async with open_net(tmp_path) as net:
        leaf = Block.of(Codec.RAW, b"abc")
        root = Block.of(Codec.DAG_PB, encode_node(DirectoryNode((Link(leaf.cid, "a", 4),))))
        for block in (leaf, root):
            net.origin.put_block(block)
        with pytest.raises(MalformedWeights, match="3 bytes where its parent says 4"):
            await net.fetch(await net.peer(), cid=root.cid)
        with pytest.raises(MalformedWeights):
            await net.fetch(cid=root.cid)


async def test_a_full_disk_ends_the_fetch_with_the_disks_own_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_net(tmp_path) as net:
        peer = await net.peer()

        def full(block: Block) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(net.store, "put_fetched", full)
        with pytest.raises(OSError, match="No space left"):
            await net.fetch(peer)


async def test_a_used_up_quota_ends_the_fetch_and_more_room_lets_it_go_on(tmp_path: Path) -> None:
    async with open_net(tmp_path) as net:
        peer = await net.peer()
        small = WeightsStore(tmp_path / "own", layout=SMALL, size_bytes_max=600)
        with pytest.raises(StoreFull):
            await fetch(net.host, small, net.cid, [peer], size_bytes_max=MANY)
        held = len(stored(tmp_path / "own"))
        report = await fetch(net.host, net.store, net.cid, [peer], size_bytes_max=MANY)
        assert 0 < held == report.progress.blocks - report.fetched_blocks
        assert net.store.verify(net.cid) == ()


# Serving


async def test_an_honest_server_with_a_bad_disk_says_that_it_lacks_the_block(tmp_path: Path) -> None:
    async with open_net(tmp_path) as net:
        damaged = Block.of(Codec.RAW, squeeze("weights", 64)).cid
        path_of(tmp_path / "origin", damaged).write_bytes(bytes(64))
        with pytest.raises(WeightsUnavailable) as caught:
            await net.fetch(await net.peer())
        assert (caught.value.missing, caught.value.faults) == ((damaged,), ())


async def test_a_server_counts_what_it_does(tmp_path: Path) -> None:
    async with open_net(tmp_path) as net:
        server = WeightsServer(net.origin)
        peer = await net.peer(server.handle)
        report = await fetch(net.host, net.store, net.cid, [peer], size_bytes_max=MANY)
        stream = await net.host.open_stream(peer, PROTOCOL)
        nowhere = Block.of(Codec.RAW, b"nowhere").cid
        await stream.send_frame(encode(Want((nowhere,))))
        assert await receive_answer(stream) == Answer(nowhere, here=False)
        assert (server.served.blocks, server.served.size_bytes) == (report.fetched_blocks, report.fetched_bytes)
        assert (server.served.absent, server.served.refused, server.served.streams) == (1, 0, 1)
        await stream.aclose()
        await until(lambda: server.served.streams == 0)


@pytest.mark.parametrize("request_", [b"", b"garbage", encode(Answer(Block.of(Codec.RAW, b"").cid, here=False))])
async def test_who_sends_no_request_is_reset_and_reported(tmp_path: Path, request_: bytes) -> None:
    async with open_net(tmp_path) as net:
        reported: list[str] = []
        net.host.set_fault_listener(lambda peer_id, _: reported.append(peer_id))
        WeightsServer(net.origin).attach(net.host)
        peer = await net.peer()
        other = net.network.find(peer)
        assert other is not None
        stream = await other.open_stream(net.host.peer_id, PROTOCOL)
        await stream.send_frame(request_)
        with pytest.raises(StreamClosed):
            await stream.receive_frame(ANSWER_SIZE_BYTES_MAX)
        await until(lambda: bool(reported))
        assert reported == [peer]


async def test_streams_are_bounded_for_each_peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.weights.serve.STREAMS_SERVED_PER_PEER_MAX", 2)
    async with open_net(tmp_path) as net:
        server = WeightsServer(net.origin)
        peer = await net.peer(server.handle)
        streams = [await net.host.open_stream(peer, PROTOCOL) for _ in range(3)]
        with pytest.raises(StreamClosed):
            await streams[2].receive_frame(ANSWER_SIZE_BYTES_MAX)
        assert (server.served.refused, server.served.streams) == (1, 2)


async def test_strangers_share_a_part_of_all_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.weights.serve.STREAMS_SERVED_TO_STRANGERS_MAX", 3)
    async with open_net(tmp_path) as net:
        friends: set[str] = set()
        server = WeightsServer(net.origin, known=friends.__contains__)
        net.host.set_stream_handler(PROTOCOL, server.handle)
        async with AsyncExitStack() as stack:
            hosts = [await stack.enter_async_context(net.network.open_host(bytes([90 + n]) * 32)) for n in range(5)]
            friends.add(hosts[4].peer_id)
            for host in hosts:
                await host.connect(net.host.addresses[0])
            for host in hosts[:4]:
                await host.open_stream(net.host.peer_id, PROTOCOL)
            await until(lambda: server.served.refused == 1)
            stream = await hosts[4].open_stream(net.host.peer_id, PROTOCOL)
            await stream.send_frame(encode(Want((net.cid,))))
            assert (await receive_answer(stream)).here
        await until(lambda: server.served.streams == 0)
        assert server._strangers == 0


async def test_an_idle_stream_and_one_whose_peer_reads_nothing_are_closed(tmp_path: Path) -> None:
    async with open_net(tmp_path) as net:
        large = WeightsStore(tmp_path / "large")
        block = Block.of(Codec.RAW, bytes(1_048_576))
        large.put_block(block)
        server = WeightsServer(large, idle_timeout_s=2.0)
        peer = await net.peer(server.handle)
        idle = await net.host.open_stream(peer, PROTOCOL)
        deaf = await net.host.open_stream(peer, PROTOCOL)
        await deaf.send_frame(encode(Want((block.cid,))))
        await until(lambda: server.served.streams > 0)
        await until(lambda: server.served.streams == 0)
        for stream in (idle, deaf):
            with pytest.raises(StreamClosed):
                await stream.receive_frame(ANSWER_SIZE_BYTES_MAX)
