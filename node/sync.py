"""Catching up on final blocks, and helping others to.

Final blocks are announced by gossip and by every peer's status; a node that stays behind an announcement for longer
than consensus needs to finish by itself pulls what it lacks, in order, from a peer that announced it. Every pulled
block carries a certificate and is executed, so a lying peer can waste time and nothing else.

A node syncs or votes, never both, and anybody may announce anything. So a batch of blocks is pulled while consensus
goes on; voting pauses only once the batch is here and its first certificate is right, and only while the batch is
applied, without waiting for anything. A peer that does not keep what it announced is not listened to for a while,
longer each time; so is one whose batch does not end in time. Who served promptly is asked first, whoever claims more,
and who was slow only after all the others. Announcements are gossiped: who hands on the lie of another answers at once
that it has no such block, which costs it a moment and no standing.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

import trio

from node.host.interface import Host, HostError, NotConnected, Stream
from node.wire import (
    BLOCK_REQUEST_SIZE_BYTES_MAX,
    BLOCKS_PROTOCOL,
    BlockRequest,
)
from pdfedchain.codec import decode, encode
from pdfedchain.errors import InputError
from pdfedchain.store.interface import Store
from pdfedchain.types.block import FINAL_BLOCK_SIZE_BYTES_MAX, FinalBlock

__all__ = ["Batch", "BlockServer", "SyncTarget", "Synchroniser", "pull"]

log = logging.getLogger(__name__)

#: A block that consensus is about to decide anyway arrives within this time after a peer's announcement.
_GRACE_S: Final = 0.5
_FRAME_TIMEOUT_S: Final = 15.0
_POLL_S: Final = 2.0

#: What is held in memory at once, and applied without a pause: a tenth of a second to a second or two of work.
BATCH_BLOCKS_MAX: Final = 32
BATCH_SIZE_BYTES_MAX: Final = 16_777_216
_BATCH_TIMEOUT_S: Final = 30.0

#: How long a peer is not listened to that stalled or lied; doubled with every time in a row.
_PAUSE_FIRST_S: Final = 10.0
_PAUSE_MAX_S: Final = 600.0

#: A batch cut short by time that came at this rate is of a slow link: its peer is asked after others, without a pause.
_RATE_MIN_BYTES_PER_S: Final = 65_536

#: The same for a peer that said at once that it has nothing more: it may have handed on what another announced.
_PAUSE_EMPTY_S: Final = 2.0
_AT_ONCE_S: Final = 5.0

#: Peers remembered; the one not heard of for the longest makes room.
PEERS_MAX: Final = 1_024

#: A client that takes no block, or asks for none, for this long is gone.
_CLIENT_TIMEOUT_S: Final = 60.0


class BlockServer:
    """Answers `BlockRequest` streams from the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def handle(self, stream: Stream) -> None:
        """Serve one stream: requests in turn, until the peer closes it or is silent for long."""
        while True:
            with trio.move_on_after(_CLIENT_TIMEOUT_S) as waiting:
                frame = await stream.receive_frame(BLOCK_REQUEST_SIZE_BYTES_MAX)
            if waiting.cancelled_caught:
                return
            request = decode(BlockRequest, frame, size_bytes_max=BLOCK_REQUEST_SIZE_BYTES_MAX)
            last = min(request.from_height + request.count - 1, self._store.height())
            if request.from_height < self._store.bodies_from():
                last = 0  # pruned here: others have them
            for height in range(max(request.from_height, 1), last + 1):
                if not await _sent(stream, encode(self._store.final_block(height))):
                    return
            if not await _sent(stream, b""):
                return


async def _sent(stream: Stream, frame: bytes) -> bool:
    with trio.move_on_after(_CLIENT_TIMEOUT_S) as sending:
        await stream.send_frame(frame)
    return not sending.cancelled_caught


@dataclass(frozen=True, slots=True)
class Batch:
    """What one request brought.

    Attributes:
        blocks: of consecutive heights; only their form has been checked.
        is_last: whether the peer said that it has no more.
        size_bytes: of all blocks, encoded.
        took_s: from the request to the end.
        cut_short: whether the time was over before the end.
    """

    blocks: tuple[FinalBlock, ...]
    is_last: bool
    size_bytes: int
    took_s: float
    cut_short: bool


async def pull(host: Host, peer_id: str, from_height: int) -> Batch:
    """Final blocks of one peer from a height on, at most `BATCH_BLOCKS_MAX` in `BATCH_SIZE_BYTES_MAX`.

    What arrived before the time was over counts, if it is anything.

    Raises:
        HostError: the peer is gone or does not answer in time.
        InputError: the peer sends something else than what was asked for.
    """
    blocks: list[FinalBlock] = []
    size_bytes = 0
    started_at = trio.current_time()
    cut_short = True
    async with await host.open_stream(peer_id, BLOCKS_PROTOCOL) as stream:
        with trio.move_on_after(_BATCH_TIMEOUT_S):
            await stream.send_frame(encode(BlockRequest(from_height, BATCH_BLOCKS_MAX)))
            while size_bytes + FINAL_BLOCK_SIZE_BYTES_MAX <= BATCH_SIZE_BYTES_MAX:
                with trio.move_on_after(_FRAME_TIMEOUT_S) as waiting:
                    frame = await stream.receive_frame(FINAL_BLOCK_SIZE_BYTES_MAX)
                if waiting.cancelled_caught:
                    break
                if not frame:
                    if not blocks and trio.current_time() - started_at > _AT_ONCE_S:
                        break
                    took_s = trio.current_time() - started_at
                    return Batch(tuple(blocks), len(blocks) < BATCH_BLOCKS_MAX, size_bytes, took_s, cut_short=False)
                expected = from_height + len(blocks)
                final = decode(FinalBlock, frame, size_bytes_max=FINAL_BLOCK_SIZE_BYTES_MAX)
                if final.block.header.height != expected or len(blocks) == BATCH_BLOCKS_MAX:
                    raise InputError(f"{peer_id} sent block {final.block.header.height}, which was not asked for")
                blocks.append(final)
                size_bytes += len(frame)
            else:
                cut_short = False
        await stream.reset()
    if not blocks:
        raise HostError(f"{peer_id} announced block {from_height} and sent nothing in time")
    return Batch(tuple(blocks), False, size_bytes, trio.current_time() - started_at, cut_short)


class SyncTarget(Protocol):
    """Where pulled blocks go."""

    @property
    def height(self) -> int:
        """Last final height."""

    def check_next(self, final: FinalBlock) -> None:
        """Raises `InputError` if a quorum has not finalised this as the next block. Changes nothing."""

    def syncing(self) -> AbstractContextManager[None]:
        """Entered while blocks are applied; nothing may be awaited inside."""

    def apply_synced(self, final: FinalBlock) -> None:
        """Verify and commit the next block; raises `InputError` if its certificate is wrong."""


@dataclass(slots=True)
class _Peer:
    """What is known of one peer.

    Attributes:
        announced: the height it says it has; 0 where it has said nothing that counts.
        failures: in a row, by stalling, dripping or lying.
        slow: batches in a row that came slowly: each puts others first, none makes a pause.
        is_prompt: whether the last that came of it was applied and had come at once.
        pace_s: of the last blocks that were applied, per block; 0 before.
        ignored_until: `trio.current_time` before which it is not listened to.
    """

    announced: int = 0
    failures: int = 0
    slow: int = 0
    is_prompt: bool = False
    pace_s: float = 0.0
    ignored_until: float = 0.0


class Synchroniser:
    """Pulls what this node lacks."""

    def __init__(self, host: Host, target: SyncTarget) -> None:
        self._host = host
        self._target = target
        self._peers: dict[str, _Peer] = {}
        self._news = trio.Event()

    def announce(self, peer_id: str, height: int) -> None:
        """A peer says it has this height as final."""
        peer = self._heard_of(peer_id)
        if trio.current_time() < peer.ignored_until:
            return
        peer.announced = max(height, peer.announced)
        if height > self._target.height:
            self._news.set()

    def forget(self, peer_id: str) -> None:
        """A peer is gone. That it failed is not forgotten, or it would come again."""
        if peer_id in self._peers:
            self._peers[peer_id].announced = 0

    @property
    def target(self) -> int:
        """The highest announced height."""
        return max((peer.announced for peer in self._peers.values()), default=0)

    async def run(self) -> None:
        """Keep up, for ever."""
        while True:
            with trio.move_on_after(_POLL_S):
                await self._news.wait()
            self._news = trio.Event()
            if self.target > self._target.height:
                await trio.sleep(_GRACE_S)
                await self._catch_up()

    async def _catch_up(self) -> None:
        while (peer_id := self._source()) is not None:
            try:
                batch = await pull(self._host, peer_id, self._target.height + 1)
                # From here on nothing waits, and a node that is being ended begins nothing.
                await trio.lowlevel.checkpoint_if_cancelled()
                self._apply(peer_id, batch)
            except NotConnected:
                self.forget(peer_id)
            except (HostError, InputError) as error:
                log.warning("sync with %s: %s", peer_id, error)
                self._failed(peer_id)

    def _source(self) -> str | None:
        """The best peer that announced what is missing: prompt ones first, then untried, slow, failed ones."""
        ahead = [(peer_id, peer) for peer_id, peer in self._peers.items() if peer.announced > self._target.height]
        if not ahead:
            return None
        return min(ahead, key=lambda one: (one[1].failures + one[1].slow, not one[1].is_prompt, one[1].pace_s, one[0]))[
            0
        ]

    def _apply(self, peer_id: str, batch: Batch) -> None:
        """Take over a batch without waiting for anything.

        Raises:
            InputError: a certificate is wrong; blocks before it have been applied.
            HostError: all has been applied, and came so slowly that others are to be asked.
        """
        # Consensus went on meanwhile and may have decided some of them.
        news = [final for final in batch.blocks if final.block.header.height > self._target.height]
        if news:
            self._target.check_next(news[0])
            with self._target.syncing():
                for final in news:
                    self._target.apply_synced(final)
            log.info("synced to height %d from %s", self._target.height, peer_id)
        peer = self._heard_of(peer_id)
        if batch.blocks:
            peer.pace_s = batch.took_s / len(batch.blocks)
        if batch.cut_short:
            if batch.size_bytes < _RATE_MIN_BYTES_PER_S * batch.took_s:
                raise HostError(f"{peer_id} sent {len(batch.blocks)} blocks in {batch.took_s:.0f} s")
        elif news:
            peer.failures = 0
        if news:
            peer.is_prompt = batch.took_s <= _AT_ONCE_S
            peer.slow = 0 if peer.is_prompt else peer.slow + 1
        if batch.is_last:
            # It has no more, whatever was announced in its name.
            peer.announced = 0
        if not batch.blocks:
            peer.is_prompt = False
            peer.ignored_until = trio.current_time() + _PAUSE_EMPTY_S

    def _failed(self, peer_id: str) -> None:
        peer = self._heard_of(peer_id)
        pause_s = min(_PAUSE_FIRST_S * 2.0 ** min(peer.failures, 16), _PAUSE_MAX_S)
        peer.announced, peer.is_prompt = 0, False
        peer.failures += 1
        peer.ignored_until = trio.current_time() + pause_s

    def _heard_of(self, peer_id: str) -> _Peer:
        peer = self._peers.pop(peer_id, None) or _Peer()
        self._peers[peer_id] = peer
        if len(self._peers) > PEERS_MAX:
            del self._peers[next(iter(self._peers))]
        return peer
