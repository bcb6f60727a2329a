"""Transactions that wait for a block.

What comes in is checked against the present state once, what stays is checked again after every block. A transaction
is either *ready*, it would succeed now, or it is *early* (`NotYet`): the nonce before it is missing, a quorum is not
final. Only a ready one is a reason for a block. Early ones cost their sender nothing and may never get ready, so they
are bounded per sender, in bytes all together, and in the number of blocks they may wait.

The pool is bounded in bytes; when it is full a newcomer is refused, so that nobody can push out what already waits.
The last part of it is for this node's own transactions: no crowd may keep an authority's ballots out. Transactions
leave in order of arrival: a fee is the same for everybody, so there is no market for places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pdfedchain.crypto import tagged_hash
from pdfedchain.errors import InputError, NotYet
from pdfedchain.ids import Hash

__all__ = [
    "EARLY_BLOCKS_MAX",
    "EARLY_PER_SENDER_MAX",
    "EARLY_PER_SENDER_SIZE_BYTES_MAX",
    "EARLY_SIZE_BYTES_MAX",
    "OWN_SIZE_BYTES",
    "POOL_SIZE_BYTES_MAX",
    "Mempool",
    "PoolFull",
    "transaction_hash",
]

#: A testnet's busiest minute needs a few hundred kilobytes.
POOL_SIZE_BYTES_MAX: Final = 16_777_216

#: The part of the pool that only this node's own transactions may use: two of the largest.
OWN_SIZE_BYTES: Final = 2_097_152

#: Early transactions: of one sender, and of all. Checking this much again after every block takes milliseconds.
EARLY_PER_SENDER_MAX: Final = 8
EARLY_PER_SENDER_SIZE_BYTES_MAX: Final = 131_072
EARLY_SIZE_BYTES_MAX: Final = 1_048_576

#: Blocks that an early transaction may wait; whoever still wants it sends it again.
EARLY_BLOCKS_MAX: Final = 64


class PoolFull(InputError):
    """No room for another transaction now; it may be sent again later."""


def transaction_hash(transaction: bytes) -> Hash:
    """Name of an encoded transaction inside this node (pool, gossip); not a consensus hash."""
    return tagged_hash("pdfed/pool/v1", transaction)


@dataclass(slots=True)
class _Waiting:
    """One transaction.

    Attributes:
        is_own: of this node; not counted among its sender's early ones.
        early_sender: ``None`` while it is ready.
        early_blocks: blocks for which it has been early without a break.
    """

    transaction: bytes
    is_own: bool
    early_sender: bytes | None = None
    early_blocks: int = 0


class Mempool:
    """Waiting transactions by hash, in order of arrival."""

    def __init__(
        self,
        check: Callable[[bytes], None],
        sender: Callable[[bytes], bytes],
        *,
        size_bytes_max: int = POOL_SIZE_BYTES_MAX,
        own_size_bytes: int = OWN_SIZE_BYTES,
    ) -> None:
        """
        Args:
            check: raises `NotYet` for a transaction that may succeed later, another `InputError` for one that cannot.
            sender: whose an early transaction is.
            size_bytes_max: of all waiting transactions.
            own_size_bytes: how much of it only this node's own transactions may use.
        """
        assert 0 <= own_size_bytes < size_bytes_max, "there is room for others"
        self._check = check
        self._sender = sender
        self._size_bytes_max = size_bytes_max
        self._others_size_bytes_max = size_bytes_max - own_size_bytes
        self._waiting: dict[Hash, _Waiting] = {}
        self._size_bytes = 0
        self._ready = 0
        self._early_size_bytes = 0
        #: Number and bytes of each sender's early transactions.
        self._early: dict[bytes, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, transaction: object) -> bool:
        return isinstance(transaction, bytes) and transaction_hash(transaction) in self._waiting

    def waits(self, name: Hash) -> bool:
        """Whether the transaction of this `transaction_hash` waits."""
        return name in self._waiting

    @property
    def size_bytes(self) -> int:
        """Bytes of all waiting transactions."""
        return self._size_bytes

    @property
    def has_ready(self) -> bool:
        """Whether a transaction would succeed now: a reason for a block."""
        return self._ready > 0

    def add(self, transaction: bytes, *, own: bool = False) -> bool:
        """Take a transaction in.

        Args:
            own: this node's, which may use all of the pool.

        Returns:
            Whether it is new; one that waits already is not checked again.

        Raises:
            InputError: it can never succeed.
            PoolFull: there is no room, or none for another early one.
        """
        name = transaction_hash(transaction)
        if name in self._waiting:
            return False
        size_bytes_max = self._size_bytes_max if own else self._others_size_bytes_max
        if self._size_bytes + len(transaction) > size_bytes_max:
            raise PoolFull(f"the pool holds {self._size_bytes} of at most {size_bytes_max} bytes")
        self._place(name, _Waiting(transaction, own))
        return True

    def candidates(self) -> Sequence[bytes]:
        """All waiting transactions for a proposer to choose from: ready ones in order of arrival, then early ones.

        An early one may well follow a ready one in the same block, for example by nonce.
        """
        by_arrival = sorted(self._waiting.values(), key=lambda waiting: waiting.early_sender is not None)
        return tuple(waiting.transaction for waiting in by_arrival)

    def settle(self, included: Iterable[bytes]) -> None:
        """After a block: forget what it included, what it made impossible, and what has been early for too long."""
        gone = {transaction_hash(transaction) for transaction in included}
        before, self._waiting = self._waiting, {}
        self._size_bytes = self._ready = self._early_size_bytes = 0
        self._early = {}
        for name, waiting in before.items():
            if name in gone:
                continue
            waiting.early_blocks += 1
            try:
                self._place(name, waiting)
            except InputError:
                continue

    def _place(self, name: Hash, waiting: _Waiting) -> None:
        """Check a transaction and put it among the ready or the early ones.

        Raises:
            InputError: it stays outside.
        """
        try:
            self._check(waiting.transaction)
        except NotYet as error:
            if waiting.early_sender is None:
                waiting.early_sender, waiting.early_blocks = self._sender(waiting.transaction), 0
            self._count_early(waiting, error)
        else:
            waiting.early_sender, waiting.early_blocks = None, 0
            self._ready += 1
        self._waiting[name] = waiting
        self._size_bytes += len(waiting.transaction)

    def _count_early(self, waiting: _Waiting, reason: NotYet) -> None:
        if waiting.early_blocks >= EARLY_BLOCKS_MAX:
            raise PoolFull(f"waited for {waiting.early_blocks} blocks ({reason})")
        if waiting.is_own:
            return
        assert waiting.early_sender is not None, "an early transaction has a sender"
        size_bytes = len(waiting.transaction)
        count, sender_size_bytes = self._early.get(waiting.early_sender, (0, 0))
        if count >= EARLY_PER_SENDER_MAX or sender_size_bytes + size_bytes > EARLY_PER_SENDER_SIZE_BYTES_MAX:
            raise PoolFull(f"{count} early transactions of its sender wait already ({reason})")
        if self._early_size_bytes + size_bytes > EARLY_SIZE_BYTES_MAX:
            raise PoolFull(f"early transactions hold {self._early_size_bytes} bytes ({reason})")
        self._early[waiting.early_sender] = (count + 1, sender_size_bytes + size_bytes)
        self._early_size_bytes += size_bytes
