"""Joining by a snapshot: the state after a recent block instead of every block since genesis.

A node serves a snapshot of its state (`pdfedchain.snapshot`): it holds on to the tree of a recent block, which costs
nothing until somebody asks. A node with an empty home and ``[sync] from_snapshot`` asks all its peers what they
offer, takes the highest block that a light client can follow from its own genesis, fetches the state's chunks from
whoever offers that block, and begins its chain there. Nothing is believed on the way: headers need certificates,
chunks must fit the header's root, and only a state that is whole is written, in one transaction.

What such a node does not have are the blocks before; its audit says so. Where nobody offers anything in time, the node
begins with genesis and pulls blocks (`node.sync`).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import trio

from node.host.interface import Host, HostError, InvalidAddress, Stream
from node.wire import (
    CHUNKS_PER_REQUEST_MAX,
    SNAPSHOT_PROTOCOL,
    SNAPSHOT_REQUEST_SIZE_BYTES_MAX,
    SnapshotRequest,
)
from pdfedchain.codec import decode, encode
from pdfedchain.errors import InputError, NotFound, StateError
from pdfedchain.light import LightClient, StateAssembly
from pdfedchain.limits import (
    LIGHT_BLOCK_SIZE_BYTES_MAX,
    SNAPSHOT_CHUNK_SIZE_BYTES_MAX,
    SNAPSHOT_MANIFEST_SIZE_BYTES_MAX,
)
from pdfedchain.snapshot import Snapshot, restore, take_snapshot
from pdfedchain.store.interface import Store
from pdfedchain.types.genesis import Genesis
from pdfedchain.types.light import LightBlock

__all__ = ["SnapshotServer", "sync_state"]

log = logging.getLogger(__name__)

#: The newest and the one before, so that a transfer under way can end.
_SNAPSHOTS_MAX: Final = 2

#: A client is served from memory, half a mebibyte at a time; the others are told to ask somebody else.
_CLIENTS_MAX: Final = 8
_STREAMS_PER_PEER_MAX: Final = 2
_CLIENT_TIMEOUT_S: Final = 60.0

_FRAME_TIMEOUT_S: Final = 15.0

#: An offer is followed block by block; whoever has not finished his by then is too slow to be of use.
_OFFER_TIMEOUT_S: Final = 60.0

#: A peer may take this long for what it sends of a snapshot, and longer by what it has sent: chunks may be tiny.
_COLLECT_S: Final = 60.0
_COLLECT_PER_CHUNK_S: Final = 0.02
_COLLECT_PER_BYTE_S: Final = 1 / 65_536

#: Peers may be starting at the same time as this node, and may have no block yet.
_ROUNDS_MAX: Final = 5
_ROUND_PAUSE_S: Final = 2.0


class SnapshotServer:
    """Answers `SnapshotRequest` streams.

    Args:
        interval: blocks between one snapshot and the next.
        in_thread: runs what may take long, away from the event loop; tests on a virtual clock have no threads.
    """

    def __init__(
        self,
        store: Store,
        *,
        interval: int,
        in_thread: Callable[[Callable[[], Any]], Awaitable[Any]] = trio.to_thread.run_sync,
    ) -> None:
        self._store = store
        self._in_thread = in_thread
        self._interval = interval
        self._snapshots: list[Snapshot] = []
        self._clients: Counter[str] = Counter()

    def committed(self) -> None:
        """A block was committed, or the node starts: remember its state if it is time."""
        height = self._store.height()
        if height and (not self._snapshots or height >= self._snapshots[-1].height + self._interval):
            self._snapshots = [*self._snapshots, take_snapshot(self._store)][-_SNAPSHOTS_MAX:]

    async def handle(self, stream: Stream) -> None:
        """Serve one stream: requests in turn, until the peer closes it or is silent for long."""
        peer_id = stream.peer_id
        if self._clients.total() >= _CLIENTS_MAX or self._clients[peer_id] >= _STREAMS_PER_PEER_MAX:
            return
        self._clients[peer_id] += 1
        try:
            while True:
                with trio.move_on_after(_CLIENT_TIMEOUT_S) as waiting:
                    frame = await stream.receive_frame(SNAPSHOT_REQUEST_SIZE_BYTES_MAX)
                if waiting.cancelled_caught:
                    return
                request = decode(SnapshotRequest, frame, size_bytes_max=SNAPSHOT_REQUEST_SIZE_BYTES_MAX)
                for answer in await self._answers(request):
                    with trio.move_on_after(_CLIENT_TIMEOUT_S) as sending:
                        await stream.send_frame(await self._in_thread(answer))
                    if sending.cancelled_caught:
                        return
        finally:
            self._clients[peer_id] -= 1
            self._clients += Counter()  # forgets those with none

    async def _answers(self, request: SnapshotRequest) -> list[Callable[[], bytes]]:
        """What to send, each made when it is sent; the last one is empty."""
        answers: list[Callable[[], bytes]] = []
        snapshot = self._snapshots[-1] if self._snapshots else None
        if request.height is not None:
            snapshot = next((each for each in self._snapshots if each.height == request.height), None)
            if snapshot is not None:
                answers += [
                    _chunk(snapshot, index)
                    for index in range(request.first, request.first + request.count)
                    if index < await self._in_thread(snapshot.chunks)
                ]
        elif snapshot is not None:
            answers += [snapshot.manifest, *(_fixed(block) for block in snapshot.blocks())]
        return [*answers, bytes]


def _chunk(snapshot: Snapshot, index: int) -> Callable[[], bytes]:
    return lambda: snapshot.chunk(index)


def _fixed(data: bytes) -> Callable[[], bytes]:
    return lambda: data


@dataclass(frozen=True, slots=True)
class _Offer:
    """What one peer offers; the blocks are followed, the manifest is checked."""

    peer_id: str
    client: LightClient
    followed: tuple[LightBlock, ...]
    assembly: StateAssembly

    @property
    def height(self) -> int:
        return self.client.head.height


async def sync_state(
    host: Host, genesis: Genesis, addresses: Sequence[str], store: Store, *, clock: Callable[[], int]
) -> int | None:
    """Begin the chain in an empty store with the newest snapshot that peers offer.

    Args:
        addresses: multiaddresses of peers, with their peer ids.
        clock: milliseconds since the Unix epoch.

    Returns:
        The height, ``None`` where nobody offers a snapshot that proves right; the store is then still empty.

    Raises:
        StateError: peers prove two different histories, or the store cannot be written.
    """
    useless: set[str] = set()
    for attempt in range(_ROUNDS_MAX):
        if attempt:
            await trio.sleep(_ROUND_PAUSE_S)
        offers = await _offers(host, genesis, addresses, useless, clock)
        failed: set[str] = set()
        while offers:
            best = max(offers, key=lambda offer: offer.height)
            same = [offer for offer in offers if offer.height == best.height]
            if any(offer.client.head.hash != best.client.head.hash for offer in same):
                raise StateError(
                    f"peers prove two different blocks at height {best.height}: the authorities have signed both",
                    hint="find out which chain is meant before joining; the certificates prove who signed twice",
                )
            if await _collect(host, best.assembly, [offer.peer_id for offer in same], failed, useless):
                await trio.to_thread.run_sync(restore, store, genesis, best.followed, best.client, best.assembly)
                log.info("joined at height %d by a snapshot", best.height)
                return best.height
            offers = [offer for offer in offers if offer.peer_id not in failed]
    return None


async def _offers(
    host: Host, genesis: Genesis, addresses: Sequence[str], useless: set[str], clock: Callable[[], int]
) -> list[_Offer]:
    """What all peers offer now."""
    found: list[_Offer] = []

    async def ask(address: str) -> None:
        try:
            peer_id = await host.connect(address)
            if peer_id not in useless:
                with trio.move_on_after(_OFFER_TIMEOUT_S):
                    offer = await _offer(host, genesis, peer_id, clock)
                    found.extend([] if offer is None else [offer])
        except (HostError, InvalidAddress) as error:
            log.info("no snapshot from %s: %s", address, error)
        except InputError as error:
            log.warning("a wrong snapshot from %s: %s", address, error)
            useless.add(address.rpartition("/p2p/")[2])

    async with trio.open_nursery() as nursery:
        for address in addresses:
            nursery.start_soon(ask, address)
    return found


async def _offer(host: Host, genesis: Genesis, peer_id: str, clock: Callable[[], int]) -> _Offer | None:
    """What one peer offers.

    Raises:
        HostError: it is gone or silent.
        InputError: what it offers proves wrong.
    """
    async with await host.open_stream(peer_id, SNAPSHOT_PROTOCOL) as stream:
        await stream.send_frame(encode(SnapshotRequest(None, 0, 1)))
        manifest = await _frame(stream, SNAPSHOT_MANIFEST_SIZE_BYTES_MAX)
        if not manifest:
            return None
        client = LightClient.from_genesis(encode(genesis), genesis.hash)
        followed: list[LightBlock] = []
        while frame := await _frame(stream, LIGHT_BLOCK_SIZE_BYTES_MAX):
            client.follow(frame, now_ms=clock())
            assert client.head.block is not None, "a block was followed"
            followed.append(client.head.block)
    return _Offer(peer_id, client, tuple(followed), StateAssembly(client.head, manifest))


async def _collect(
    host: Host, assembly: StateAssembly, peer_ids: Sequence[str], failed: set[str], useless: set[str]
) -> bool:
    """Fetch all chunks from these peers, each its share, one taking over what another fails to send.

    Args:
        failed: whoever stops sending is added; next time it may do better.
        useless: whoever sends something wrong, or too slowly, is added here too.
    """
    claimed: set[int] = set()

    async def fetch_from(peer_id: str) -> None:
        own: list[int] = []
        until = trio.current_time() + _COLLECT_S
        try:
            async with await host.open_stream(peer_id, SNAPSHOT_PROTOCOL, bulk=True) as stream:
                while own := _run_of([index for index in assembly.missing if index not in claimed]):
                    claimed.update(own)
                    await stream.send_frame(encode(SnapshotRequest(assembly.manifest.height, own[0], len(own))))
                    for index in own:
                        chunk = await _frame(stream, SNAPSHOT_CHUNK_SIZE_BYTES_MAX)
                        if not chunk:
                            raise NotFound(f"the snapshot of block {assembly.manifest.height} is gone")
                        assembly.add(index, chunk)
                        until += _COLLECT_PER_CHUNK_S + _COLLECT_PER_BYTE_S * len(chunk)
                        if trio.current_time() > until:
                            useless.add(peer_id)
                            raise HostError(f"{peer_id} sends too slowly")
                    await _frame(stream, 0)
        except (HostError, InputError, NotFound) as error:
            log.warning("snapshot from %s: %s", peer_id, error)
            failed.add(peer_id)
            if isinstance(error, InputError):
                useless.add(peer_id)
        finally:
            claimed.difference_update(own)

    while assembly.missing and (left := [peer_id for peer_id in peer_ids if peer_id not in failed]):
        async with trio.open_nursery() as nursery:
            for peer_id in left:
                nursery.start_soon(fetch_from, peer_id)
    return not assembly.missing


def _run_of(missing: Sequence[int]) -> list[int]:
    """The first of these that follow each other without a gap, as many as one request may ask for."""
    run = list(missing[:1])
    for index in missing[1:CHUNKS_PER_REQUEST_MAX]:
        if index != run[-1] + 1:
            break
        run.append(index)
    return run


async def _frame(stream: Stream, size_bytes_max: int) -> bytes:
    with trio.move_on_after(_FRAME_TIMEOUT_S):
        return await stream.receive_frame(size_bytes_max)
    raise HostError(f"{stream.peer_id} sent nothing in time")
