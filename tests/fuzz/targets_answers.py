"""What hostile peers answer: to a node that catches up, that joins by a snapshot, that pulls pending transactions.

Whatever they say, what is believed of it is the chain's, or nothing is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

from node.host.interface import HostError
from node.reconciliation import Pending, Reconciliation, pending_name
from node.state_sync import _collect, _offer
from node.sync import BATCH_BLOCKS_MAX, Synchroniser, pull
from node.wire import PendingNames, PendingRequest, TransactionBatch
from pdfedchain.codec import encode
from pdfedchain.consensus.blocks import position_after, position_at_start, verify_block
from pdfedchain.consensus.checks import check_final, check_signature
from pdfedchain.errors import InputError
from pdfedchain.light import LightClient, StateAssembly
from pdfedchain.types.block import FinalBlock
from tests.fuzz.streams import AnsweringHost, StreamTarget, array_of, framed, frames_of, run_virtual
from tests.fuzz.target import Target
from tests.fuzz.targets_light import LightWorld
from tests.fuzz.targets_node import MempoolTarget, signed_payment
from tests.pdfedchain.chain_world import Words

__all__ = ["answer_targets"]


class _Follower:
    """A chain at its genesis that takes final blocks."""

    def __init__(self, world: LightWorld) -> None:
        self._world = world
        self._application = Words()
        genesis_state = self._application.genesis_state(world.genesis)
        self._position = position_at_start(world.genesis, genesis_state)

    @property
    def height(self) -> int:
        return self._position.height - 1

    def check_next(self, final: FinalBlock) -> None:
        check_final(final, self._position, check_signature)

    def syncing(self) -> AbstractContextManager[None]:
        return nullcontext()

    def apply_synced(self, final: FinalBlock) -> None:
        self.check_next(final)
        if final.block != self._world.store.final_block(self.height + 1).block:
            raise AssertionError("a block that nobody voted for is applied")
        execution = verify_block(self._application, self._position, final.block)
        self._position = position_after(self._application, self._world.genesis, final, execution)


class SyncTarget:
    """A peer's answer to a node that lacks every block: what is pulled, and what of it is applied."""

    def __init__(self, world: LightWorld) -> None:
        self._world = world
        finals = [encode(world.store.final_block(height)) for height in range(1, 7)]
        self.seeds = (
            array_of([*finals, b""]),
            array_of([finals[0], b""]),
            array_of([b""]),
            array_of(finals[1:]),
            framed(finals[0]),
        )

    def __call__(self, data: bytes) -> None:
        run_virtual(self._run, framed(*frames_of(data)))

    async def _run(self, answer: bytes) -> None:
        host = cast(Any, AnsweringHost(answer))
        try:
            batch = await pull(host, "peer", 1)
        except (HostError, InputError):
            pass
        else:
            heights = [final.block.header.height for final in batch.blocks]
            if heights != list(range(1, len(heights) + 1)) or len(heights) > BATCH_BLOCKS_MAX:
                raise AssertionError(f"blocks {heights} are taken for those asked for")
        synchroniser = Synchroniser(host, _Follower(self._world))
        synchroniser.announce("peer", 6)
        await synchroniser._catch_up()


class OfferTarget:
    """A peer's offer of a snapshot: what is believed of it is the chain's."""

    def __init__(self, world: LightWorld) -> None:
        self._world = world
        manifest, _ = world.snapshot()
        lights = [encode(world.store.light_block(height)) for height in (2, 4, 6)]
        self.seeds = (array_of([manifest, *lights, b""]), array_of([b""]), array_of([manifest, lights[2], b""]))

    def __call__(self, data: bytes) -> None:
        run_virtual(self._run, framed(*frames_of(data)))

    async def _run(self, answer: bytes) -> None:
        world = self._world
        try:
            offer = await _offer(cast(Any, AnsweringHost(answer)), world.genesis, "peer", lambda: world.now_ms)
        except (HostError, InputError):
            return
        if offer is not None and offer.client.head.hash != world.store.light_block(offer.height).hash:
            raise AssertionError("a block that nobody voted for is offered")


class ChunksTarget:
    """A peer's chunks of a true snapshot: what is put together of them is the state."""

    def __init__(self, world: LightWorld) -> None:
        self._world = world
        self._manifest, chunk = world.snapshot()
        self.seeds = (array_of([chunk, b""]), array_of([b""]), array_of([chunk, chunk, b""]))

    def __call__(self, data: bytes) -> None:
        run_virtual(self._run, framed(*frames_of(data)))

    async def _run(self, answer: bytes) -> None:
        client: LightClient = self._world.client(follow=len(self._world.blocks))
        assembly = StateAssembly(client.head, self._manifest)
        complete = await _collect(cast(Any, AnsweringHost(answer)), assembly, ["peer"], set(), set())
        if complete and assembly.state().root != self._world.store.state().root:
            raise AssertionError("another state has been put together")


class PendingTarget:
    """A peer's list of pending transactions and its batches, for a pool that checks against a ledger."""

    def __init__(self) -> None:
        self._pool = MempoolTarget()
        payments = [signed_payment(nonce) for nonce in range(3)]
        self.waiting = {pending_name(payment): payment for payment in payments}
        names = encode(PendingNames(tuple(self.waiting)))
        self.seeds = (
            array_of([names, encode(TransactionBatch(tuple(payments)))]),
            array_of([names, encode(TransactionBatch(tuple(payments[:1]))), encode(TransactionBatch((payments[2],)))]),
            array_of([names, b""]),
            array_of([encode(PendingNames(()))]),
        )

    def __call__(self, data: bytes) -> None:
        run_virtual(self._run, framed(*frames_of(data)))

    async def _run(self, answer: bytes) -> None:
        pool = self._pool.empty()
        pending = Pending(dict, pool.add, lambda: None)
        asking = Reconciliation(cast(Any, AnsweringHost(answer)), pending, lambda: ["peer"], lambda peer, reason: None)
        try:
            news = await asking.compare("peer")
        except (HostError, InputError):
            return
        if news != len(pool):
            raise AssertionError(f"{news} are new, and {len(pool)} in the pool")


def _serving(waiting: dict[bytes, bytes]) -> Target:
    def refuse(transaction: bytes) -> bool:
        raise AssertionError("a server takes nothing")

    async def handle(stream: Any) -> None:
        pending = Pending(lambda: waiting, refuse, lambda: None)
        serving = Reconciliation(cast(Any, None), pending, list, lambda peer, reason: None)
        await serving.handle(stream)

    asked = framed(encode(PendingRequest(())), encode(PendingRequest(tuple(waiting))))
    return Target("handle/pending-requests", StreamTarget(handle), (asked, framed(encode(PendingRequest(())))))


def answer_targets() -> Iterator[Target]:
    """Targets of the sides of `node` that ask."""
    world = LightWorld()
    synchronising, offer, chunks, pending = SyncTarget(world), OfferTarget(world), ChunksTarget(world), PendingTarget()
    yield Target("answer/blocks", synchronising, synchronising.seeds)
    yield Target("answer/snapshot-offer", offer, offer.seeds)
    yield Target("answer/snapshot-chunks", chunks, chunks.seeds)
    yield Target("answer/pending-transactions", pending, pending.seeds)
    yield _serving(pending.waiting)
