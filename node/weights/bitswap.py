"""Bitswap 1.2.0 beside our own protocol, so that IPFS programs fetch checkpoints from us, and we from them.

What a peer wants is answered with what is here at that moment, on a stream of ours (IPFS programs do not read answers
on the stream they asked on). Nothing is remembered about a peer beyond that: want-lists that live on, ledgers and
sessions are the part of Bitswap that lets strangers fill memory, and programs ask again by themselves. A peer has one
list of wishes, bounded, worked off one block at a time::

    Bitswap(store).attach(host)                              # serve
    await fetch(..., bitswap=bitswap)                        # ask peers that do not speak /pdfed/weights/2

Blocks and identifiers are the same in both protocols; whatever arrives is hashed before it is believed.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

from node.host.allowance import Allowances
from node.host.bitswap_wire import PROTOCOL, BitswapMessage, BitswapWant, NoRoom, receive_message, send_message
from node.host.interface import Host, HostError, Stream
from node.weights.errors import BlockDamaged, BlockMissing
from node.weights.limits import (
    BITSWAP_ARRIVING_SIZE_BYTES_MAX,
    BITSWAP_CID_SIZE_BYTES_MAX,
    BITSWAP_MESSAGE_SIZE_BYTES_MAX,
    BITSWAP_SAID_MAX,
    BITSWAP_SAID_PER_S,
    BITSWAP_UNASKED_SIZE_BYTES_MAX,
    BITSWAP_WISHES_MAX,
    IN_FLIGHT_PER_PEER,
    SERVE_IDLE_TIMEOUT_S,
    STREAMS_SERVED_MAX,
    STREAMS_SERVED_PER_PEER_MAX,
)
from node.weights.store import WeightsStore
from pdfedchain.errors import DecodeError, InputError
from pdfedchain.ids import Cid, check_cid

__all__ = ["PROTOCOL", "Bitswap", "BitswapExchange"]

log = logging.getLogger(__name__)

#: A CID without its digest: version, codec, sha2-256, 32 bytes.
_PREFIX_SIZE_BYTES: Final = 4

_THREADS: Final = 2


class _Outbox:
    """What one peer still has to be answered."""

    def __init__(self) -> None:
        self.wishes: dict[bytes, BitswapWant] = {}


class Bitswap:
    """Answers want-lists from a store, and carries exchanges with peers that hold something we want.

    Args:
        idle_timeout_s: longest wait for a message, and for a peer to read one.
    """

    def __init__(self, store: WeightsStore, *, idle_timeout_s: float = SERVE_IDLE_TIMEOUT_S) -> None:
        self.counters: Counter[str] = Counter()
        self._store = store
        self._idle_timeout_s = idle_timeout_s
        self._host: Host | None = None
        self._threads = trio.CapacityLimiter(_THREADS)
        self._streams: Counter[str] = Counter()
        self._outboxes: dict[str, _Outbox] = {}
        self._exchanges: dict[str, list[BitswapExchange]] = {}
        self._arriving_size_bytes = 0
        self._said = Allowances(BITSWAP_SAID_PER_S, BITSWAP_SAID_MAX)

    def attach(self, host: Host) -> None:
        """Serve on a host from now on."""
        self._host = host
        host.set_stream_handler(PROTOCOL, self.handle)

    async def exchange(self, peer_id: str) -> BitswapExchange:
        """Start asking a peer.

        Raises:
            HostError: it is not connected, or does not speak Bitswap.
        """
        assert self._host is not None, "attach comes first: answers arrive on streams of the peer's"
        exchange = BitswapExchange(self, await self._host.open_stream(peer_id, PROTOCOL, bulk=True))
        self._exchanges.setdefault(peer_id, []).append(exchange)
        return exchange

    def forget(self, exchange: BitswapExchange) -> None:
        """An exchange has ended."""
        left = [other for other in self._exchanges.pop(exchange.peer_id, []) if other is not exchange]
        if left:
            self._exchanges[exchange.peer_id] = left

    async def handle(self, stream: Stream) -> None:
        """Read one stream of a peer until it ends, and answer what is wanted.

        Raises:
            HostError: the peer has gone.
            InputError: it sent what is no message; the host reports it.
        """
        peer_id = stream.peer_id
        if self._streams.total() >= STREAMS_SERVED_MAX or self._streams[peer_id] >= STREAMS_SERVED_PER_PEER_MAX:
            self.counters["refused"] += 1
            await stream.reset()
            return
        self._streams[peer_id] += 1
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    message = None
                    with self._arriving(peer_id) as has_room:
                        with trio.move_on_after(self._idle_timeout_s):
                            message = await receive_message(stream, BITSWAP_MESSAGE_SIZE_BYTES_MAX, has_room=has_room)
                        if message is not None:
                            self._count(peer_id, message, await self.deliver(peer_id, message))
                    if message is None:
                        break  # at its end, or idle; what is wanted is still answered
                    self._take(peer_id, message, nursery)
        except* NoRoom:
            self.counters["no_room"] += 1
        finally:
            self._streams[peer_id] -= 1
            if not self._streams[peer_id]:
                del self._streams[peer_id]

    def _count(self, peer_id: str, message: BitswapMessage, unasked_size_bytes: int) -> None:
        """Take what a peer has said off its allowance.

        Raises:
            InputError: there is not so much.
        """
        entries = len(message.wants) + len(message.haves) + len(message.have_nots)
        if not self._said.spend(peer_id, 1 + entries + unasked_size_bytes / 1_024):
            self.counters["flooded"] += 1
            raise InputError("a flood of wishes, or of blocks that nobody asked for")

    @contextmanager
    def _arriving(self, peer_id: str) -> Iterator[Callable[[int], bool]]:
        """Room for one message at a time, given back at the end: all that is being received is bounded.

        Who is asked sends blocks. All others can want something and no more.
        """
        held = 0

        def has_room(size_bytes: int) -> bool:
            nonlocal held
            if peer_id not in self._exchanges and size_bytes > BITSWAP_UNASKED_SIZE_BYTES_MAX:
                return False
            if self._arriving_size_bytes + size_bytes > BITSWAP_ARRIVING_SIZE_BYTES_MAX:
                return False
            held += size_bytes
            self._arriving_size_bytes += size_bytes
            return True

        try:
            yield has_room
        finally:
            self._arriving_size_bytes -= held

    def _take(self, peer_id: str, message: BitswapMessage, nursery: trio.Nursery) -> None:
        if not message.wants:
            return
        outbox = self._outboxes.get(peer_id)
        if is_new := outbox is None:
            outbox = _Outbox()
        for want in message.wants:
            if len(want.cid) > BITSWAP_CID_SIZE_BYTES_MAX:
                self.counters["wishes_dropped"] += 1
            elif want.cancel:
                outbox.wishes.pop(want.cid, None)
            elif len(outbox.wishes) < BITSWAP_WISHES_MAX:
                outbox.wishes[want.cid] = want
            else:
                self.counters["wishes_dropped"] += 1
        if is_new and outbox.wishes:
            self._outboxes[peer_id] = outbox
            nursery.start_soon(self._send_all, peer_id, outbox)

    async def deliver(self, peer_id: str, message: BitswapMessage) -> int:
        """Hand blocks, and the news that there are none, to whoever asked this peer; the rest is dropped unread.

        Returns:
            Bytes of blocks that nobody had asked for.
        """
        exchanges = self._exchanges.get(peer_id, ())
        unasked_size_bytes = 0
        for prefix, data in message.blocks:
            is_asked = False
            if exchanges:
                cid = await trio.to_thread.run_sync(_identify, prefix, data, limiter=self._threads)
                for exchange in tuple(exchanges):
                    is_asked |= await exchange.take(cid, data)
            unasked_size_bytes += 0 if is_asked else len(data)
        for cid in message.have_nots:
            for exchange in tuple(exchanges):
                await exchange.take(cid, None)
        return unasked_size_bytes

    async def _send_all(self, peer_id: str, outbox: _Outbox) -> None:
        assert self._host is not None, "who was asked is attached"
        try:
            async with await self._host.open_stream(peer_id, PROTOCOL) as stream:
                while outbox.wishes:
                    want = outbox.wishes.pop(next(iter(outbox.wishes)))
                    answer = await trio.to_thread.run_sync(self._answer, want, limiter=self._threads)
                    if answer is not None:
                        with trio.fail_after(self._idle_timeout_s):
                            await send_message(stream, answer)
                        self._said.give_back(peer_id, len(answer.blocks))
                # Before the stream closes, which takes a moment: a wish of that moment gets a stream of its own.
                del self._outboxes[peer_id]
        except HostError as error:
            log.debug("answers for %s are not wanted: %s", peer_id, error)
        except trio.TooSlowError:
            self.counters["slow"] += 1
        finally:
            if self._outboxes.get(peer_id) is outbox:
                del self._outboxes[peer_id]

    def _answer(self, want: BitswapWant) -> BitswapMessage | None:
        """What to say to one wish. Runs in a thread."""
        try:
            cid = check_cid(want.cid)
            if not want.block and self._store.has_block(cid):
                return BitswapMessage(haves=(cid,))
            block = self._store.get_block(cid) if want.block else None
        except (DecodeError, BlockMissing, BlockDamaged):
            block = None
        except OSError as error:
            log.warning("a block cannot be read: %s", error)
            block = None
        if block is not None:
            self.counters["blocks"] += 1
            return BitswapMessage(blocks=((block.cid[:_PREFIX_SIZE_BYTES], block.data),))
        return BitswapMessage(have_nots=(want.cid,)) if want.say_no else None


class BitswapExchange:
    """Wants sent to one peer on a stream of ours; its answers come on streams of its own."""

    def __init__(self, bitswap: Bitswap, stream: Stream) -> None:
        self.peer_id = stream.peer_id
        self._bitswap = bitswap
        self._stream = stream
        self._asked: set[bytes] = set()
        self._arrived, self._answers = trio.open_memory_channel[tuple[Cid, bytes | None]](IN_FLIGHT_PER_PEER)

    async def ask(self, cids: tuple[Cid, ...]) -> None:
        """Send a want-list."""
        self._asked |= set(cids)
        await send_message(self._stream, BitswapMessage(wants=tuple(BitswapWant(cid) for cid in cids)))

    async def take(self, cid: bytes, data: bytes | None) -> bool:
        """Take an answer, if it is one to us."""
        if cid not in self._asked:
            return False
        self._asked.discard(cid)
        # Room for as many as are ever asked at once, so this does not wait for a slow reader.
        await self._arrived.send((Cid(cid), data))
        return True

    async def answer(self) -> tuple[Cid, bytes | None]:
        """The next answer."""
        return await self._answers.receive()

    async def aclose(self) -> None:
        """End it."""
        self._bitswap.forget(self)
        await self._stream.aclose()

    async def reset(self) -> None:
        """End it while answers are owed."""
        self._bitswap.forget(self)
        await self._stream.reset()


def _identify(prefix: bytes, data: bytes) -> bytes:
    return prefix[:_PREFIX_SIZE_BYTES] + hashlib.sha256(data).digest()
