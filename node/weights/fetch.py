"""Fetching a folder from several peers at once.

One task per peer opens a stream when there is something to ask of that peer and keeps a few blocks in flight. While
one block is hashed and written in a thread, the next ones arrive. `Transfer` decides everything. Blocks already in
the store are hashed and not asked for again, so that a fetch that was cut off goes on where it was.

What happens to a peer::

    block does not hash to its identifier     dropped, fault LIED
    frame undecodable, or answers what nobody asked    dropped, fault GARBAGE
    no answer for ``stall_timeout_s``         dropped, fault STALLED; others get its blocks
    slow                                      others that have nothing to do are asked for what it owes
    stream breaks or cannot be opened         tried again, up to three times in a row; then dropped, fault BROKEN

The caller judges its peers by these faults: LIED and GARBAGE never happen to an honest one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio

from node.host.interface import Host, HostError, ProtocolRefused
from node.weights.disk_work import admit, look_up
from node.weights.errors import (
    BlockMismatch,
    MalformedWeights,
    PeerFault,
    PeerFaultKind,
    StoreFull,
    WeightsUnavailable,
)
from node.weights.exchange import Exchange, OwnExchange
from node.weights.limits import (
    ATTEMPTS_PER_PEER,
    PEERS_PER_TRANSFER_MAX,
    STALL_TIMEOUT_S,
    SYNC_COUNT,
    WAITING_PER_PEER_MAX,
)
from node.weights.messages import PROTOCOL
from node.weights.patience import PeerFailed, patience
from node.weights.store import WeightsStore
from node.weights.transfer import Done, Progress, Transfer
from pdfedchain.errors import DecodeError, InputError, PdfedError
from pdfedchain.ids import Cid, cid_text

if TYPE_CHECKING:
    from node.weights.bitswap import Bitswap  # imports libp2p, which the rest of this package does not

__all__ = ["FetchReport", "fetch"]

_RETRY_DELAY_S: Final = 0.25
#: Identifiers taken at once to be looked up.
_LOOK_UP_COUNT: Final = 1_024
_THREADS: Final = 4
_JOIN_INTERVAL_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class FetchReport:
    """What a finished fetch did.

    Attributes:
        progress: blocks and bytes of the whole folder.
        fetched_blocks: blocks that came from peers.
        fetched_bytes: their bytes.
        by_peer: blocks each peer gave.
        faults: peers that were dropped on the way.
    """

    progress: Progress
    fetched_blocks: int
    fetched_bytes: int
    by_peer: dict[str, int]
    faults: tuple[PeerFault, ...]


async def fetch(
    host: Host,
    store: WeightsStore,
    cid: Cid,
    peers: Sequence[str],
    *,
    size_bytes_max: int,
    on_progress: Callable[[Progress], None] | None = None,
    stall_timeout_s: float = STALL_TIMEOUT_S,
    bitswap: Bitswap | None = None,
    joining: Callable[[], Sequence[str]] = tuple,
    on_fault: Callable[[PeerFault], None] | None = None,
) -> FetchReport:
    """Bring a folder into the store, whole.

    Cancel it at any time: what has arrived stays and is not fetched again.

    Args:
        host: opens the streams.
        store: gets the blocks.
        cid: the folder.
        peers: who may have it, in order of preference; the first 64 are asked.
        size_bytes_max: most bytes of all its blocks, repetitions counted; checked as soon as the root is here.
        on_progress: called after every block, on the event loop; must not block.
        stall_timeout_s: longest wait for the next answer of a peer that owes one.
        bitswap: asks peers that do not speak our own protocol; without it they are given up.
        joining: peers that may be asked now, looked at every second: who connects during a fetch takes part in it.
        on_fault: told of every peer that was dropped, when the fetch ends, however it ends.

    Raises:
        WeightsUnavailable: no peer had all that was missing.
        MalformedWeights: the folder itself is wrong, whoever serves it.
        WeightsTooLarge: it is larger than ``size_bytes_max``, too deep, or has too many blocks.
        StoreFull: it does not fit into the store's quota.
        OSError: the disk is full or refuses.
    """
    chosen = tuple(dict.fromkeys(peers))[:PEERS_PER_TRANSFER_MAX]
    fetching = _Fetch(host, store, cid, chosen, joining, size_bytes_max, on_progress, stall_timeout_s, bitswap)
    try:
        return await fetching.run()
    finally:
        if on_fault is not None:
            for fault in fetching.faults:
                on_fault(fault)


class _Fetch:
    """One `fetch` under way."""

    def __init__(
        self,
        host: Host,
        store: WeightsStore,
        cid: Cid,
        peers: tuple[str, ...],
        joining: Callable[[], Sequence[str]],
        size_bytes_max: int,
        on_progress: Callable[[Progress], None] | None,
        stall_timeout_s: float,
        bitswap: Bitswap | None,
    ) -> None:
        self._host = host
        self._store = store
        self._cid = cid
        self._peers = peers
        self._joining = joining
        self._on_progress = on_progress
        self._stall_timeout_s = stall_timeout_s
        self._bitswap = bitswap
        self._foreign: set[str] = set()
        self._transfer = Transfer(cid, size_bytes_max=size_bytes_max, peers=peers, layout=store.layout)
        self._change = trio.Event()
        self._discovery = trio.Event()
        self._unsynced_many = trio.Event()
        self._end = trio.CancelScope()
        self._failure: PdfedError | OSError | None = None
        self._threads = trio.CapacityLimiter(_THREADS)
        self._by_peer: dict[str, int] = {}
        self._fetched_bytes = 0
        self._unsynced: list[Cid] = []

    @property
    def faults(self) -> tuple[PeerFault, ...]:
        return self._transfer.faults

    async def run(self) -> FetchReport:
        with self._end:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._look_up)
                nursery.start_soon(self._keep)
                for peer_id in self._peers:
                    nursery.start_soon(self._ask, peer_id)
                nursery.start_soon(self._let_join, nursery)
        if self._failure is not None:
            raise self._failure
        await self._sync()
        stage = self._transfer.stage
        assert isinstance(stage, Done), "a fetch ends with success, a failure or cancellation"
        given = dict(self._by_peer)
        return FetchReport(stage.progress, sum(given.values()), self._fetched_bytes, given, self.faults)

    # Waking each other

    def _changed(self) -> None:
        """Wake every task, and end when there is nothing left to do."""
        stage = self._transfer.stage
        if self._on_progress is not None:
            self._on_progress(stage.progress)
        if isinstance(stage, Done):
            self._end.cancel()
        elif self._transfer.stuck:
            self._fail(WeightsUnavailable(self._cid, self._transfer.wanted[:64], self._transfer.faults))
        self._wake()

    def _wake(self) -> None:
        """Wake who asks peers, and who else has something to do; to wake everybody costs as much as a block's hash."""
        self._change.set()
        self._change = trio.Event()
        if self._transfer.has_discovered:
            self._discovery.set()
        if len(self._unsynced) >= SYNC_COUNT:
            self._unsynced_many.set()

    def _fail(self, error: PdfedError | OSError) -> None:
        self._failure = self._failure or error
        self._end.cancel()

    async def _let_join(self, nursery: trio.Nursery) -> None:
        while True:
            for peer_id in self._joining():
                if self._transfer.add_peer(peer_id):
                    nursery.start_soon(self._ask, peer_id)
            await trio.sleep(_JOIN_INTERVAL_S)

    # The store

    async def _look_up(self) -> None:
        """Look for discovered blocks in the store, before any peer is asked for them."""
        while True:
            batch = self._transfer.take_discovered(_LOOK_UP_COUNT)
            if not batch:
                self._discovery = trio.Event()
                await self._discovery.wait()
                continue
            while batch:
                results = await trio.to_thread.run_sync(look_up, self._store, batch, limiter=self._threads)
                batch = batch[len(results) :]
                try:
                    for expected, block in results:
                        if block is None:
                            self._transfer.absent(expected)
                        else:
                            self._transfer.found(expected, block)
                except MalformedWeights as error:
                    self._fail(error)
                    return
                self._changed()

    async def _keep(self) -> None:
        """Make blocks durable while others are on their way."""
        while True:
            while len(self._unsynced) < SYNC_COUNT:
                self._unsynced_many = trio.Event()
                await self._unsynced_many.wait()
            try:
                await self._sync()
            except OSError as error:
                return self._fail(error)

    async def _sync(self) -> None:
        batch, self._unsynced = self._unsynced, []
        await trio.to_thread.run_sync(self._store.sync_blocks, batch)

    # One peer

    async def _ask(self, peer_id: str) -> None:
        """Ask one peer until all is done, or the peer has failed for good."""
        attempts, reason = 0, ""
        while attempts < ATTEMPTS_PER_PEER:
            before = self._by_peer.get(peer_id, 0)
            request = await self._next_request(peer_id)
            try:
                with patience(self._stall_timeout_s):
                    exchange = await self._open(peer_id)
                await self._converse(peer_id, exchange, request)
            except PeerFailed as error:
                return self._drop(peer_id, error.kind, str(error))
            except HostError as error:
                attempts = 1 if self._by_peer.get(peer_id, 0) > before else attempts + 1
                reason = str(error)
                self._transfer.release(peer_id)
                self._changed()
                await trio.sleep(_RETRY_DELAY_S * attempts)
        return self._drop(peer_id, PeerFaultKind.BROKEN, reason)

    async def _open(self, peer_id: str) -> Exchange:
        """Our own protocol, or Bitswap with who does not speak it."""
        if peer_id not in self._foreign:
            try:
                return OwnExchange(await self._host.open_stream(peer_id, PROTOCOL, bulk=True))
            except ProtocolRefused:
                if self._bitswap is None:
                    raise
        assert self._bitswap is not None
        exchange = await self._bitswap.exchange(peer_id)
        self._foreign.add(peer_id)
        return exchange

    def _drop(self, peer_id: str, kind: PeerFaultKind, detail: str) -> None:
        self._transfer.drop(PeerFault(peer_id, kind, detail))
        self._changed()

    async def _next_request(self, peer_id: str) -> tuple[Cid, ...]:
        while not (request := self._transfer.next_request(peer_id)):
            await self._change.wait()
        return request

    async def _converse(self, peer_id: str, exchange: Exchange, request: tuple[Cid, ...]) -> None:
        """Ask and take answers, both at once, so that neither side can block the other.

        Ends by cancellation when the transfer does.

        Raises:
            PeerFailed: the peer is to be dropped.
            HostError: the stream broke.
        """
        failures: list[PeerFailed | HostError] = []

        async def run(part: Callable[[], Awaitable[None]]) -> None:
            try:
                await part()
            except (PeerFailed, HostError) as error:
                failures.append(error)
                parts.cancel_scope.cancel()

        arrived, to_store = trio.open_memory_channel[tuple[Cid, bytes]](WAITING_PER_PEER_MAX)
        stored = trio.Event()
        try:
            async with trio.open_nursery() as parts:
                parts.start_soon(run, lambda: self._send_wants(peer_id, exchange, request))
                parts.start_soon(run, lambda: self._take_answers(peer_id, exchange, arrived, stored))
                parts.start_soon(run, lambda: self._store_blocks(peer_id, to_store, stored))
        finally:
            # With answers still owed, only a reset keeps the peer from sending them to nobody.
            if failures or self._transfer.owed(peer_id):
                await exchange.reset()
            else:
                await exchange.aclose()
        if failures:
            # Who reads what is no answer resets the stream, and who asks may notice that first.
            raise next((failure for failure in failures if isinstance(failure, PeerFailed)), failures[0])

    async def _send_wants(self, peer_id: str, exchange: Exchange, request: tuple[Cid, ...]) -> None:
        while True:
            with patience(self._stall_timeout_s):
                await exchange.ask(request)
            request = await self._next_request(peer_id)
            self._wake()

    async def _take_answers(
        self, peer_id: str, exchange: Exchange, arrived: trio.MemorySendChannel[tuple[Cid, bytes]], stored: trio.Event
    ) -> None:
        """Receive answers while earlier blocks are hashed and written; those are kept even if the stream breaks."""
        received: set[Cid] = set()
        try:
            async with arrived:
                with patience(self._stall_timeout_s) as waits:
                    while True:
                        received = {cid for cid in received if self._transfer.owes(peer_id, cid)}
                        if len(received) == self._transfer.owed(peer_id):
                            waits.rest()
                            await self._change.wait()
                            continue
                        waits.begin()
                        cid, data = await exchange.answer()
                        waits.rest()
                        if cid in received or not self._transfer.owes(peer_id, cid):
                            raise DecodeError(f"an answer about {cid_text(cid)}, which was not asked for")
                        if data is None:
                            self._transfer.lacks(peer_id, cid)
                            self._changed()
                        else:
                            received.add(cid)
                            await arrived.send((cid, data))
        except InputError as error:  # a `FrameTooLarge` among them
            raise PeerFailed(PeerFaultKind.GARBAGE, str(error)) from error
        except HostError:
            await stored.wait()
            raise

    async def _store_blocks(
        self, peer_id: str, to_store: trio.MemoryReceiveChannel[tuple[Cid, bytes]], stored: trio.Event
    ) -> None:
        async for cid, data in to_store:
            if not self._transfer.is_missing(cid):
                self._transfer.received_late(peer_id, cid)
                self._changed()
                continue
            try:
                block = await trio.to_thread.run_sync(admit, self._store, cid, data, limiter=self._threads)
            except BlockMismatch as error:
                raise PeerFailed(PeerFaultKind.LIED, str(error)) from error
            except (OSError, StoreFull) as error:
                return self._fail(error)
            del data
            self._by_peer[peer_id] = self._by_peer.get(peer_id, 0) + 1
            self._fetched_bytes += len(block.data)
            self._unsynced.append(cid)
            try:
                self._transfer.received(peer_id, block)
            except MalformedWeights as error:
                return self._fail(error)
            del block
            self._changed()
        return stored.set()
