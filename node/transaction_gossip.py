"""Gossip of transactions, many in one message.

A message costs every node some milliseconds, whatever is in it: an envelope to verify, a copy for each neighbour. So
transactions travel in batches. The first of a quiet time leaves at once; those that come up within `GATHER_S` after it
leave together. While messages of many transactions follow each other, the time is doubled after each up to
`GATHER_BUSY_S`: under load a block takes longer than that anyway. A single transaction thus waits for nothing, and a
thousand a second are one or two dozen messages.

Who receives a batch judges every transaction in it by itself. It passes the message on as it is if something in it was
news and nothing in it was bad. A transaction that no honest node passes on (undecodable, wrongly signed) is the
forwarder's fault; the good ones beside it are kept and passed on in a new message, so that nobody can kill a
transaction by packing it together with a bad one. What is merely refused here and now (too late, no room) is nobody's
fault: it may have been fine where it came from.

What this is not: reliable. A message may be lost; who wants a transaction in a block sends it again.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from node.wire import BATCH_SIZE_BYTES_MAX, BATCH_TRANSACTIONS_MAX, TransactionBatch
from pdfedchain.codec import decode, encode
from pdfedchain.errors import DecodeError, InputError, SignatureError
from pdfedchain.limits import TRANSACTION_SIZE_BYTES_MAX

__all__ = ["BUSY_TRANSACTIONS", "GATHER_BUSY_S", "GATHER_S", "WAITING_MAX", "TransactionGossip"]

log = logging.getLogger(__name__)

#: How long transactions are gathered after a message: little beside a round of votes, much beside a message's cost.
GATHER_S: Final = 0.01

#: The same at most, after messages of at least `BUSY_TRANSACTIONS`.
GATHER_BUSY_S: Final = 0.05
BUSY_TRANSACTIONS: Final = 8

#: Transactions that wait to be sent. Beyond them new ones are not gossiped, only proposed by this node itself.
WAITING_MAX: Final = 10_000

#: A message of one transaction may exceed `BATCH_SIZE_BYTES_MAX`, but not the largest transaction and its framing.
_MESSAGE_SIZE_BYTES_MAX: Final = TRANSACTION_SIZE_BYTES_MAX + 64


class TransactionGossip:
    """One node's part in the gossip of transactions."""

    def __init__(
        self,
        take: Callable[[bytes], bool],
        publish: Callable[[bytes], Awaitable[None]],
        *,
        arrived: Callable[[], None],
        dropped: Callable[[], None],
    ) -> None:
        """
        Args:
            take: puts a transaction into the pool; says whether it is new, raises `InputError` if it is refused.
            publish: sends one message to everybody.
            arrived: called after a message that brought something new.
            dropped: called when a transaction is not gossiped because too many wait.
        """
        self._take = take
        self._publish = publish
        self._arrived = arrived
        self._dropped = dropped
        self._waiting: deque[bytes] = deque()
        self._news = trio.Event()

    def send(self, transaction: bytes) -> None:
        """Spread a transaction with the next message."""
        if len(self._waiting) >= WAITING_MAX:
            self._dropped()
            return
        self._waiting.append(transaction)
        self._news.set()

    async def run(self) -> None:
        """Send what waits, for ever."""
        while True:
            await self._news.wait()
            self._news = trio.Event()
            gather_s = GATHER_S
            while self._waiting:
                batch = self._next()
                await self._publish(encode(TransactionBatch(batch)))
                gather_s = min(2 * gather_s, GATHER_BUSY_S) if len(batch) >= BUSY_TRANSACTIONS else GATHER_S
                await trio.sleep(gather_s)

    def _next(self) -> tuple[bytes, ...]:
        """The transactions of the next message: as many as it may hold, at least one."""
        batch = [self._waiting.popleft()]
        size_bytes = len(batch[0])
        while self._waiting and len(batch) < BATCH_TRANSACTIONS_MAX:
            size_bytes += len(self._waiting[0])
            if size_bytes > BATCH_SIZE_BYTES_MAX:
                break
            batch.append(self._waiting.popleft())
        return tuple(batch)

    def receive(self, peer_id: str, message: bytes) -> bool:
        """One message of a neighbour; answers whether to pass it on as it is.

        Raises:
            DecodeError, SignatureError: no honest node sends this; what was good in it is taken.
        """
        batch = decode(TransactionBatch, message, size_bytes_max=_MESSAGE_SIZE_BYTES_MAX)
        news: list[bytes] = []
        fault: DecodeError | SignatureError | None = None
        for transaction in batch.transactions:
            try:
                if self._take(transaction):
                    news.append(transaction)
            except (DecodeError, SignatureError) as error:
                fault = fault or error
            except InputError as error:
                log.debug("transaction from %s refused: %s", peer_id, error)
        if news:
            self._arrived()
        if fault is not None:
            for transaction in news:
                self.send(transaction)
            raise fault
        return bool(news)
