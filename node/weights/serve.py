"""Serving stored blocks to whoever asks over ``/pdfed/weights/2``.

One request is worked off after the other. While a block is on its way the next one is read and hashed, so a stream
costs us at most two blocks whatever its peer does; the number of streams is bounded, in all, for each peer and for all
peers together that have shaken no hands. A peer
that neither asks nor reads is let go after a minute. Every block is hashed before it is sent: an honest node with a
bad disk must not look like a liar, it says that it does not have the block.

Everything in the store is served: weights are for everybody, and an identifier gives nothing away.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from node.host.interface import Host, Stream, StreamClosed
from node.weights.errors import BlockDamaged, BlockMissing
from node.weights.limits import (
    HASH_TRUSTED_S,
    REQUEST_SIZE_BYTES_MAX,
    SERVE_IDLE_TIMEOUT_S,
    STREAMS_SERVED_MAX,
    STREAMS_SERVED_PER_PEER_MAX,
    STREAMS_SERVED_TO_STRANGERS_MAX,
)
from node.weights.messages import PROTOCOL, Want, send_answer
from node.weights.store import WeightsStore
from pdfedchain.codec import decode
from pdfedchain.ids import Cid, cid_text

__all__ = ["Served", "WeightsServer"]

log = logging.getLogger(__name__)

_THREADS: Final = 2


@dataclass(frozen=True, slots=True)
class Served:
    """What a server has done since it was made.

    Attributes:
        blocks: blocks sent.
        size_bytes: their bytes.
        absent: answers that a block is not here.
        refused: streams refused because there were too many.
        streams: streams open now.
    """

    blocks: int
    size_bytes: int
    absent: int
    refused: int
    streams: int


class WeightsServer:
    """Answers requests for blocks. ``WeightsServer(store).attach(host)`` is all it takes.

    Args:
        store: what is served.
        idle_timeout_s: longest wait for a request, and for a peer to read an answer.
        known: whether a peer has shaken hands. The others share `STREAMS_SERVED_TO_STRANGERS_MAX` streams.
    """

    def __init__(
        self,
        store: WeightsStore,
        *,
        idle_timeout_s: float = SERVE_IDLE_TIMEOUT_S,
        known: Callable[[str], bool] = lambda peer_id: True,
    ) -> None:
        self._store = store
        self._known = known
        self._strangers = 0
        self._idle_timeout_s = idle_timeout_s
        self._threads = trio.CapacityLimiter(_THREADS)
        self._streams: Counter[str] = Counter()
        self._blocks = self._size_bytes = self._absent = self._refused = 0

    @property
    def served(self) -> Served:
        """Figures for telemetry."""
        return Served(self._blocks, self._size_bytes, self._absent, self._refused, self._streams.total())

    def attach(self, host: Host) -> None:
        """Serve on a host from now on."""
        host.set_stream_handler(PROTOCOL, self.handle)

    async def handle(self, stream: Stream) -> None:
        """Serve one stream until its peer closes it, asks nothing or reads nothing for too long.

        Raises:
            HostError: the peer has gone.
            InputError: the peer sent what is no request; the host resets the stream and reports the peer.
        """
        peer_id = stream.peer_id
        is_stranger = not self._known(peer_id)
        if (
            self._streams.total() >= STREAMS_SERVED_MAX
            or self._streams[peer_id] >= STREAMS_SERVED_PER_PEER_MAX
            or (is_stranger and self._strangers >= STREAMS_SERVED_TO_STRANGERS_MAX)
        ):
            self._refused += 1
            await stream.reset()
            return
        self._streams[peer_id] += 1
        self._strangers += is_stranger
        try:
            await self._serve(stream)
        except* trio.TooSlowError:
            log.debug("weights stream of %s has stood still for %g s", peer_id, self._idle_timeout_s)
            await stream.reset()
        finally:
            self._strangers -= is_stranger
            self._streams[peer_id] -= 1
            if not self._streams[peer_id]:
                del self._streams[peer_id]

    async def _serve(self, stream: Stream) -> None:
        found, to_send = trio.open_memory_channel[tuple[Cid, bytes | None]](0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_found, stream, to_send)
            async with found:
                while (want := await self._next_want(stream)) is not None:
                    for cid in want.cids:
                        await found.send((cid, await trio.to_thread.run_sync(self._find, cid, limiter=self._threads)))

    async def _next_want(self, stream: Stream) -> Want | None:
        """The next request; None at the end."""
        try:
            with trio.fail_after(self._idle_timeout_s):
                frame = await stream.receive_frame(REQUEST_SIZE_BYTES_MAX)
        except StreamClosed as error:
            if error.clean:
                return None
            raise
        return decode(Want, frame, size_bytes_max=REQUEST_SIZE_BYTES_MAX)

    async def _send_found(self, stream: Stream, to_send: trio.MemoryReceiveChannel[tuple[Cid, bytes | None]]) -> None:
        async for cid, data in to_send:
            with trio.fail_after(self._idle_timeout_s):
                await send_answer(stream, cid, data)
            if data is None:
                self._absent += 1
            else:
                self._blocks += 1
                self._size_bytes += len(data)

    def _find(self, cid: Cid) -> bytes | None:
        try:
            return self._store.get_block(cid, trust_s=HASH_TRUSTED_S).data
        except BlockMissing:
            return None
        except BlockDamaged as error:
            log.warning("%s; it is served no more", error)
            return None
        except OSError as error:
            log.warning("block %s cannot be read: %s", cid_text(cid), error)
            return None
