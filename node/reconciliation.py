"""Transactions that gossip has lost are pulled: ``/pdfed/pending/1``.

Gossip drops what overflows, and a node that was cut off misses what was said meanwhile. So every few seconds a node
asks one of its peers, in turn, which transactions wait there, and fetches those that it lacks::

    asker                                   server
    PendingRequest()                  ──►
                                      ◄──   PendingNames: of all that waits, 16 bytes of each `transaction_hash`
    PendingRequest(names, up to 128)  ──►
                                      ◄──   TransactionBatch: those that still wait, in the order asked for, as many as
                                            a batch holds; an empty frame where none does
    ...

Every pair of peers compares in turn, so what one live node holds is with all others after as many rounds as it has
peers at most, whoever of them passes nothing on.

Bounded on both sides: one stream of each peer, one list in `LIST_INTERVAL_S`, `ROUND_TRANSACTIONS_MAX` and
`ROUND_SIZE_BYTES_MAX` in a round. What was refused here is not fetched again for `REFUSED_S`, and what is in a recent
block is not fetched at all. A transaction that was not asked for, and whatever no honest node gossips, is a fault.

What this is not: gossip. What is found here is not passed on, since others find it in the same way.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from node.host.interface import Host, HostError, Stream, StreamClosed
from node.mempool import transaction_hash
from node.wire import (
    BATCH_SIZE_BYTES_MAX,
    BATCH_TRANSACTIONS_MAX,
    PENDING_NAME_SIZE_BYTES,
    PENDING_NAMES_MAX,
    PENDING_NAMES_SIZE_BYTES_MAX,
    PENDING_PROTOCOL,
    PENDING_REQUEST_SIZE_BYTES_MAX,
    PendingNames,
    PendingRequest,
    TransactionBatch,
)
from pdfedchain.codec import decode, encode
from pdfedchain.errors import DecodeError, InputError, SignatureError
from pdfedchain.limits import TRANSACTION_SIZE_BYTES_MAX

__all__ = ["INTERVAL_S", "Pending", "Reconciliation", "pending_name"]

log = logging.getLogger(__name__)

#: Between two rounds.
INTERVAL_S: Final = 5.0

#: A peer that wants a list more often than this is refused.
LIST_INTERVAL_S: Final = 1.0

ROUND_TRANSACTIONS_MAX: Final = 4_096
ROUND_SIZE_BYTES_MAX: Final = 8_388_608

#: Refused here and now; it may be fine in a while.
REFUSED_S: Final = 30.0

#: Names remembered of what was refused, and of what is in recent blocks: three blocks full.
_REMEMBERED_MAX: Final = 32_768

#: Either side waits so long for the other.
_TIMEOUT_S: Final = 15.0

_BATCH_FRAME_SIZE_BYTES_MAX: Final = TRANSACTION_SIZE_BYTES_MAX + BATCH_SIZE_BYTES_MAX


def pending_name(transaction: bytes) -> bytes:
    """The name of a waiting transaction on the wire."""
    return transaction_hash(transaction)[:PENDING_NAME_SIZE_BYTES]


@dataclass(frozen=True, slots=True)
class Pending:
    """The pool, as far as it matters here.

    Attributes:
        waiting: all transactions that wait, by `pending_name`.
        take: puts a transaction into the pool; says whether it is new, raises `InputError` if it is refused.
        arrived: called after a round that brought something new.
    """

    waiting: Callable[[], dict[bytes, bytes]]
    take: Callable[[bytes], bool]
    arrived: Callable[[], None]


class Reconciliation:
    """One node's part: it serves, and it asks."""

    def __init__(
        self,
        host: Host,
        pending: Pending,
        peer_ids: Callable[[], Sequence[str]],
        fault: Callable[[str, str], None],
        *,
        interval_s: float = INTERVAL_S,
    ) -> None:
        """
        Args:
            peer_ids: whom to ask, sorted.
            fault: told what a peer did that no honest one does.
        """
        self.counters: Counter[str] = Counter()
        self._host = host
        self._pending = pending
        self._peer_ids = peer_ids
        self._fault = fault
        self._interval_s = interval_s
        self._last_asked = ""
        self._serving: set[str] = set()
        self._listed_at: dict[str, float] = {}
        #: Names not to be fetched, and until when.
        self._unwanted: dict[bytes, float] = {}

    def settled(self, transactions: Iterable[bytes]) -> None:
        """These are in a block now: a peer that lags behind need not offer them."""
        for transaction in transactions:
            self._reject(pending_name(transaction))

    def _reject(self, name: bytes) -> None:
        self._unwanted.pop(name, None)
        self._unwanted[name] = trio.current_time() + REFUSED_S
        if len(self._unwanted) > _REMEMBERED_MAX:
            del self._unwanted[next(iter(self._unwanted))]

    # Serving

    async def handle(self, stream: Stream) -> None:
        """Answer one peer's requests until it closes the stream.

        Raises:
            HostError: the peer has gone.
            InputError: it sent what is no request.
        """
        if stream.peer_id in self._serving:
            self.counters["refused"] += 1
            await stream.reset()
            return
        self._serving.add(stream.peer_id)
        try:
            with trio.move_on_after(_TIMEOUT_S) as waiting:
                while True:
                    request = await _next_request(stream)
                    if request is None:
                        return
                    answer = self._answer(stream.peer_id, request)
                    if answer is None:
                        break
                    await stream.send_frame(answer)
                    waiting.deadline = trio.current_time() + _TIMEOUT_S
            self.counters["refused"] += 1
            await stream.reset()
        finally:
            self._serving.discard(stream.peer_id)

    def _answer(self, peer_id: str, request: PendingRequest) -> bytes | None:
        """The frame to send; ``None`` for a peer that asks too often."""
        waiting = self._pending.waiting()
        if request.names:
            batch = _batch(waiting[name] for name in request.names if name in waiting)
            return encode(TransactionBatch(batch)) if batch else b""
        now = trio.current_time()
        self._listed_at = {peer: at for peer, at in self._listed_at.items() if now - at < LIST_INTERVAL_S}
        if peer_id in self._listed_at:
            return None
        self._listed_at[peer_id] = now
        return encode(PendingNames(tuple(waiting)[:PENDING_NAMES_MAX]))

    # Asking

    async def run(self) -> None:
        """Compare with one peer after the other, for ever."""
        while True:
            await trio.sleep(self._interval_s)
            peer_id = self._next_peer()
            if peer_id is None:
                continue
            try:
                with trio.move_on_after(4 * _TIMEOUT_S):
                    await self.compare(peer_id)
            except InputError as error:
                self._fault(peer_id, str(error))
            except HostError as error:
                log.debug("pending transactions of %s: %s", peer_id, error)

    def _next_peer(self) -> str | None:
        peers = self._peer_ids()
        later = [peer_id for peer_id in peers if peer_id > self._last_asked]
        for peer_id in (*later, *peers):
            self._last_asked = peer_id
            return peer_id
        return None

    async def compare(self, peer_id: str) -> int:
        """Fetch what waits at a peer and not here; how many were new.

        Raises:
            HostError: it has gone, or does not answer.
            InputError: it sent what no honest node sends.
        """
        news = size_bytes = 0
        async with await self._host.open_stream(peer_id, PENDING_PROTOCOL) as stream:
            wanted = self._lacking(await _names(stream))
            while wanted and size_bytes < ROUND_SIZE_BYTES_MAX:
                asked = wanted[:BATCH_TRANSACTIONS_MAX]
                batch = await _fetch(stream, asked)
                last, new = self._take(peer_id, asked, batch)
                # In the order asked for: what is missing before the last one is there no more, the rest may be.
                wanted = wanted[last + 1 :] if batch else wanted[len(asked) :]
                news += new
                size_bytes += sum(map(len, batch))
        self.counters["pulled"] += news
        if news:
            self._pending.arrived()
        return news

    def _lacking(self, names: Sequence[bytes]) -> list[bytes]:
        now = trio.current_time()
        self._unwanted = {name: until for name, until in self._unwanted.items() if until > now}
        here = self._pending.waiting()
        lacking = [name for name in dict.fromkeys(names) if name not in here and name not in self._unwanted]
        return lacking[:ROUND_TRANSACTIONS_MAX]

    def _take(self, peer_id: str, asked: Sequence[bytes], batch: Sequence[bytes]) -> tuple[int, int]:
        """Put a batch into the pool; the position of its last one in what was asked for, and how many are new."""
        positions = {name: position for position, name in enumerate(asked)}
        last, news = -1, 0
        for transaction in batch:
            name = pending_name(transaction)
            position = positions.get(name, -1)
            if position <= last:
                raise InputError(f"{peer_id} sent a transaction that was not asked for, or not in order")
            last = position
            try:
                news += self._pending.take(transaction)
            except (DecodeError, SignatureError):
                self._reject(name)
                raise
            except InputError as error:
                log.debug("transaction pulled from %s refused: %s", peer_id, error)
                self._reject(name)
        return last, news


def _batch(transactions: Iterable[bytes]) -> tuple[bytes, ...]:
    """As many of them as one frame may hold, at least one."""
    batch: list[bytes] = []
    size_bytes = 0
    for transaction in transactions:
        size_bytes += len(transaction)
        if batch and size_bytes > BATCH_SIZE_BYTES_MAX:
            break
        batch.append(transaction)
    return tuple(batch)


async def _next_request(stream: Stream) -> PendingRequest | None:
    try:
        frame = await stream.receive_frame(PENDING_REQUEST_SIZE_BYTES_MAX)
    except StreamClosed as error:
        if error.clean:
            return None
        raise
    return decode(PendingRequest, frame, size_bytes_max=PENDING_REQUEST_SIZE_BYTES_MAX)


async def _names(stream: Stream) -> tuple[bytes, ...]:
    frame = await _ask(stream, PendingRequest(()), PENDING_NAMES_SIZE_BYTES_MAX)
    return decode(PendingNames, frame, size_bytes_max=PENDING_NAMES_SIZE_BYTES_MAX).names


async def _fetch(stream: Stream, names: Sequence[bytes]) -> tuple[bytes, ...]:
    frame = await _ask(stream, PendingRequest(tuple(names)), _BATCH_FRAME_SIZE_BYTES_MAX)
    if not frame:
        return ()
    return decode(TransactionBatch, frame, size_bytes_max=_BATCH_FRAME_SIZE_BYTES_MAX).transactions


async def _ask(stream: Stream, request: PendingRequest, size_bytes_max: int) -> bytes:
    with trio.move_on_after(_TIMEOUT_S):
        await stream.send_frame(encode(request))
        return await stream.receive_frame(size_bytes_max)
    raise StreamClosed(stream.peer_id, reason="no answer in time")
