"""Catching up: who is believed, when voting pauses, and what is asked of whom."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import trio
import trio.testing

from node.driver import Driver
from node.head import Head
from node.host.interface import Host, HostError, HostLimits, Stream, StreamClosed, StreamHandler
from node.memory_host import MemoryHost, MemoryNetwork
from node.mempool import Mempool, Origin
from node.sync import BATCH_BLOCKS_MAX, PEERS_MAX, BlockServer, Synchroniser, pull
from node.telemetry import Activity
from node.wire import BLOCKS_PER_REQUEST_MAX, BLOCKS_PROTOCOL, BlockRequest
from pdfedchain.chain import Chain, single_genesis
from pdfedchain.codec import decode, encode
from pdfedchain.consensus.replica import Replica
from pdfedchain.crypto import SigningKey
from pdfedchain.errors import InputError, StateError
from pdfedchain.store.memory import MemoryStore
from pdfedchain.store.wal import MemoryLog
from pdfedchain.testing.counter import CounterApplication
from pdfedchain.types.block import FinalBlock

LENGTH = 40
LIE = 10**6


def _long_chain() -> Chain:
    key = SigningKey(bytes([1]) * 32)
    chain = Chain.create(
        single_genesis(CounterApplication(), key, time_ms=1), key, application=CounterApplication(), clock=lambda: 1
    )
    for _ in range(LENGTH):
        chain.produce()
    return chain


CHAIN = _long_chain()
BLOCKS = tuple(CHAIN.store.final_block(height) for height in range(1, LENGTH + 1))
#: Its signatures are of another round.
UNPROVEN = replace(BLOCKS[0], certificate=replace(BLOCKS[0].certificate, round=5))


class Target:
    """A `SyncTarget` that knows the right blocks."""

    def __init__(self) -> None:
        self.height = 0
        self.syncs = 0
        self.is_syncing = False

    def check_next(self, final: FinalBlock) -> None:
        if final != BLOCKS[self.height]:
            raise InputError("not the next final block")

    @contextmanager
    def syncing(self) -> Iterator[None]:
        self.syncs += 1
        self.is_syncing = True
        try:
            with trio.testing.assert_no_checkpoints():
                yield
        finally:
            self.is_syncing = False

    def apply_synced(self, final: FinalBlock) -> None:
        assert self.is_syncing
        self.check_next(final)
        self.height += 1


class Peer:
    """One who serves, and how often it was asked."""

    def __init__(self, host: MemoryHost, serve: StreamHandler) -> None:
        self.id = host.peer_id
        self.requests = 0
        self._serve = serve

    async def handle(self, stream: Stream) -> None:
        self.requests += 1
        await self._serve(stream)


async def silent(stream: Stream) -> None:
    await stream.receive_frame(1_000)
    await trio.sleep_forever()


async def empty(stream: Stream) -> None:
    while True:
        await stream.receive_frame(1_000)
        await stream.send_frame(b"")


async def reluctantly_empty(stream: Stream) -> None:
    await stream.receive_frame(1_000)
    await trio.sleep(10)
    await stream.send_frame(b"")


def always(final: FinalBlock) -> StreamHandler:
    async def serve(stream: Stream) -> None:
        await stream.receive_frame(1_000)
        await stream.send_frame(encode(final))
        await stream.send_frame(b"")

    return serve


honest = BlockServer(CHAIN.store).handle


class Scene:
    def __init__(self, host: Host, peers: Mapping[str, Peer], target: Target, synchroniser: Synchroniser) -> None:
        self.host = host
        self.peers = peers
        self.target = target
        self.synchroniser = synchroniser


@asynccontextmanager
async def scene(**serving: StreamHandler) -> AsyncIterator[Scene]:
    """A node that syncs, connected with peers that serve like this."""
    network = MemoryNetwork()
    async with network.open_host(bytes([99]) * 32) as host, trio.open_nursery() as nursery:
        peers = {}
        for index, (name, serve) in enumerate(serving.items()):
            other: MemoryHost = await _opened(nursery, network, index)
            peers[name] = Peer(other, serve)
            other.set_stream_handler(BLOCKS_PROTOCOL, peers[name].handle)
            await host.connect(other.addresses[0])
        target = Target()
        synchroniser = Synchroniser(host, target)
        nursery.start_soon(synchroniser.run)
        yield Scene(host, peers, target, synchroniser)
        nursery.cancel_scope.cancel()


async def _opened(nursery: trio.Nursery, network: MemoryNetwork, index: int) -> MemoryHost:
    async def keep(task_status: trio.TaskStatus[MemoryHost]) -> None:
        async with network.open_host(bytes([index + 1]) * 32) as other:
            task_status.started(other)
            await trio.sleep_forever()

    opened: MemoryHost = await nursery.start(keep)
    return opened


Clock = trio.testing.MockClock


async def test_batch_after_batch_is_applied_up_to_the_head(autojump_clock: Clock) -> None:
    async with scene(honest=honest) as on:
        on.synchroniser.announce(on.peers["honest"].id, LENGTH)
        await trio.sleep(5)
        assert on.target.height == LENGTH
        assert on.target.syncs == -(-LENGTH // BATCH_BLOCKS_MAX)


@pytest.mark.parametrize("serve", [silent, reluctantly_empty, always(UNPROVEN), always(BLOCKS[1])], ids=str)
async def test_a_liar_never_pauses_voting_and_is_ignored_for_longer_each_time(
    serve: StreamHandler, autojump_clock: Clock
) -> None:
    async with scene(liar=serve) as on:
        liar = on.peers["liar"]
        asked_at = []
        for _ in range(600):
            before = liar.requests
            on.synchroniser.announce(liar.id, LIE)
            await trio.sleep(1)
            if liar.requests > before:
                asked_at.append(trio.current_time())
        waits = [later - earlier for earlier, later in pairwise(asked_at)]
        assert on.target.syncs == 0
        assert len(waits) >= 3
        assert waits[0] >= 10
        assert all(later >= earlier + 9 for earlier, later in pairwise(waits))


async def test_an_honest_peer_is_used_though_a_liar_announces_more(autojump_clock: Clock) -> None:
    async with scene(liar=silent, honest=honest) as on:
        for _ in range(30):
            on.synchroniser.announce(on.peers["liar"].id, LIE)
            on.synchroniser.announce(on.peers["honest"].id, LENGTH)
            await trio.sleep(1)
        assert on.target.height == LENGTH


async def test_a_peer_that_has_served_comes_before_one_that_announces_more(autojump_clock: Clock) -> None:
    async with scene(honest=honest, liar=silent) as on:
        on.synchroniser.announce(on.peers["honest"].id, LENGTH)
        await trio.sleep(5)
        on.target.height = 0
        on.synchroniser.announce(on.peers["liar"].id, LIE)
        on.synchroniser.announce(on.peers["honest"].id, LENGTH)
        await trio.sleep(2)
        assert on.target.height == LENGTH


def dripping(every_s: float) -> StreamHandler:
    async def serve(stream: Stream) -> None:
        request = decode(BlockRequest, await stream.receive_frame(1_000), size_bytes_max=1_000)
        for final in BLOCKS[request.from_height - 1 :][: request.count]:
            await trio.sleep(every_s)
            await stream.send_frame(encode(final))
        await stream.send_frame(b"")

    return serve


@pytest.mark.parametrize("every_s", [14.5, 1.8])
@pytest.mark.parametrize("order", ["drip honest", "honest drip"])
async def test_a_dripping_peer_costs_one_batch_and_then_others_are_asked(
    every_s: float, order: str, autojump_clock: Clock
) -> None:
    serving = {"drip": dripping(every_s), "honest": honest}
    async with scene(**{name: serving[name] for name in order.split()}) as on:
        on.synchroniser.announce(on.peers["drip"].id, LIE)
        on.synchroniser.announce(on.peers["honest"].id, LENGTH)
        await trio.sleep(35)
        assert on.target.height == LENGTH


async def test_a_peer_that_always_drips_is_paused_for_longer_each_time(autojump_clock: Clock) -> None:
    async with scene(drip=dripping(14.5)) as on:
        for _ in range(200):
            on.synchroniser.announce(on.peers["drip"].id, LIE)
            await trio.sleep(1)
        assert 1 <= on.target.height <= 8
        assert on.peers["drip"].requests == 4


async def test_who_hands_on_the_lie_of_another_is_listened_to_again_soon(autojump_clock: Clock) -> None:
    async with scene(honest=honest) as on:
        on.target.height = LENGTH
        on.synchroniser.announce(on.peers["honest"].id, LIE)
        await trio.sleep(1)
        assert on.peers["honest"].requests == 1
        on.target.height = 0
        await trio.sleep(2)
        on.synchroniser.announce(on.peers["honest"].id, LENGTH)
        await trio.sleep(2)
        assert on.target.height == LENGTH


async def test_a_peer_with_nothing_is_not_asked_in_a_loop(autojump_clock: Clock) -> None:
    async with scene(liar=empty) as on:
        for _ in range(100):
            on.synchroniser.announce(on.peers["liar"].id, LIE)
            await trio.sleep(0.1)
        assert 1 <= on.peers["liar"].requests <= 5
        assert on.target.syncs == 0


async def test_blocks_that_consensus_decided_meanwhile_are_skipped(autojump_clock: Clock) -> None:
    decided = trio.Event()

    async def slowly(stream: Stream) -> None:
        await stream.receive_frame(1_000)
        await decided.wait()
        for final in BLOCKS[:5]:
            await stream.send_frame(encode(final))
        await stream.send_frame(b"")

    async with scene(slow=slowly) as on:
        on.synchroniser.announce(on.peers["slow"].id, 5)
        await trio.sleep(2)
        assert on.peers["slow"].requests == 1
        on.target.height = 3
        decided.set()
        await trio.sleep(2)
        assert (on.target.height, on.target.syncs) == (5, 1)


async def test_a_wrong_block_in_the_middle_ends_the_batch_and_the_trust(autojump_clock: Clock) -> None:
    async def serve(stream: Stream) -> None:
        await stream.receive_frame(1_000)
        wrong = replace(BLOCKS[1], certificate=BLOCKS[0].certificate)
        for final in (BLOCKS[0], wrong, BLOCKS[2]):
            await stream.send_frame(encode(final))
        await stream.send_frame(b"")

    async with scene(liar=serve) as on:
        on.synchroniser.announce(on.peers["liar"].id, LIE)
        await trio.sleep(2)
        on.synchroniser.announce(on.peers["liar"].id, LIE)
        await trio.sleep(2)
        assert (on.target.height, on.target.is_syncing, on.peers["liar"].requests) == (1, False, 1)


async def test_a_liar_that_reconnects_is_still_ignored(autojump_clock: Clock) -> None:
    async with scene(liar=empty) as on:
        liar = on.peers["liar"].id
        on.synchroniser.announce(liar, LIE)
        await trio.sleep(1)
        on.synchroniser.forget(liar)
        on.synchroniser.announce(liar, LIE)
        assert on.synchroniser.target == 0


async def test_the_number_of_remembered_peers_is_bounded() -> None:
    synchroniser = Synchroniser(MemoryHost(MemoryNetwork(), "me", "/memory/me", HostLimits()), Target())
    synchroniser.announce("first", LIE)
    for index in range(PEERS_MAX):
        synchroniser.announce(f"peer{index}", 1)
    assert synchroniser.target == 1


async def test_a_pull_is_bounded_whatever_the_peer_sends(autojump_clock: Clock) -> None:
    async def endless(stream: Stream) -> None:
        await stream.receive_frame(1_000)
        for final in BLOCKS:
            await stream.send_frame(encode(final))

    async with scene(liar=endless) as on:
        with pytest.raises(InputError, match="not asked for"):
            await pull(on.host, on.peers["liar"].id, 1)


async def test_what_arrived_before_a_stall_counts(autojump_clock: Clock) -> None:
    async def stalling(stream: Stream) -> None:
        await stream.receive_frame(1_000)
        await stream.send_frame(encode(BLOCKS[0]))
        await trio.sleep_forever()

    async with scene(slow=stalling) as on:
        batch = await pull(on.host, on.peers["slow"].id, 1)
        assert (batch.blocks, batch.is_last) == (BLOCKS[:1], False)


async def test_a_stall_before_anything_is_a_failure(autojump_clock: Clock) -> None:
    async with scene(liar=silent) as on:
        with pytest.raises(HostError, match="sent nothing in time"):
            await pull(on.host, on.peers["liar"].id, 1)


@pytest.mark.parametrize(
    ("from_height", "count", "expected"),
    [(1, 2, 2), (LENGTH, 5, 1), (LENGTH + 1, 5, 0), (1, BLOCKS_PER_REQUEST_MAX, LENGTH)],
)
async def test_the_server_sends_what_it_has_and_an_empty_frame(from_height: int, count: int, expected: int) -> None:
    async with scene(honest=honest) as on, await on.host.open_stream(on.peers["honest"].id, BLOCKS_PROTOCOL) as stream:
        await stream.send_frame(encode(BlockRequest(from_height, count)))
        frames = [await stream.receive_frame(1_000_000) for _ in range(expected + 1)]
        assert frames == [encode(final) for final in BLOCKS[from_height - 1 : from_height - 1 + expected]] + [b""]


@pytest.mark.parametrize("count", [0, BLOCKS_PER_REQUEST_MAX + 1])
async def test_the_server_refuses_a_count_out_of_bounds(count: int) -> None:
    async with scene(honest=honest) as on, await on.host.open_stream(on.peers["honest"].id, BLOCKS_PROTOCOL) as stream:
        request = encode(BlockRequest(1, 7))
        await stream.send_frame(request.replace(b"\x07", bytes([count])))
        with pytest.raises(StreamClosed):
            await stream.receive_frame(1_000)


async def test_the_server_says_at_once_that_pruned_blocks_are_not_here(autojump_clock: Clock) -> None:
    pruned = MemoryStore()
    pruned.become(CHAIN.store)  # type: ignore[arg-type]
    pruned.prune(below_height=20)
    async with scene(pruned=BlockServer(pruned).handle) as on:
        assert (await pull(on.host, on.peers["pruned"].id, 19)).blocks == ()
        assert (await pull(on.host, on.peers["pruned"].id, 20)).blocks[0] == BLOCKS[19]


async def test_the_server_lets_a_silent_client_go(autojump_clock: Clock) -> None:
    async with scene(honest=honest) as on, await on.host.open_stream(on.peers["honest"].id, BLOCKS_PROTOCOL) as stream:
        with pytest.raises(StreamClosed):
            await stream.receive_frame(1_000)


class Mute:
    def broadcast(self, frame: bytes, *, exclude: str | None = None) -> None: ...

    def send(self, peer_id: str, frame: bytes) -> None: ...

    def fault(self, peer_id: str, reason: str) -> None: ...


@asynccontextmanager
async def follower(tmp_path: Path) -> AsyncIterator[tuple[Driver, Replica]]:
    store = MemoryStore()
    store.initialise(CHAIN.genesis, CounterApplication().genesis_state(CHAIN.genesis))
    replica = Replica(
        application=CounterApplication(), store=store, log=MemoryLog(), signer=None, key=None, clock=lambda: 1
    )
    driver = Driver(
        replica,
        Mute(),
        Head(store),
        Mempool(lambda transaction: None, lambda transaction: Origin(CHAIN.genesis.authorities.members[0])),
        Activity(tmp_path / "activity.json"),
        on_commit=lambda final: None,
        on_behind=lambda peer_id, height: None,
        on_evidence=lambda evidence: None,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        await driver.started.wait()
        yield driver, replica
        nursery.cancel_scope.cancel()


async def test_the_driver_checks_the_next_block_without_taking_it(tmp_path: Path) -> None:
    async with follower(tmp_path) as (driver, _):
        driver.check_next(BLOCKS[0])
        for wrong in (UNPROVEN, BLOCKS[1]):
            with pytest.raises(InputError):
                driver.check_next(wrong)
        assert driver.height == 0


@pytest.mark.parametrize(("error", "goes_on"), [(InputError("wrong"), True), (StateError("broken"), False)])
async def test_only_after_a_wrong_block_does_the_driver_vote_again(
    tmp_path: Path, error: Exception, goes_on: bool
) -> None:
    async with follower(tmp_path) as (driver, replica):

        def interrupted_sync() -> None:
            with driver.syncing():
                driver.apply_synced(BLOCKS[0])
                assert replica.syncing
                raise error

        with pytest.raises(type(error), match=str(error)):
            interrupted_sync()
        assert (driver.height, replica.syncing) == (1, not goes_on)
