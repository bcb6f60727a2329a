"""Transactions that wait for a block.

What comes in is checked against the present state once, what stays is checked again after every block, unless all that
the verdict rests on is as it was: a block touches few of the accounts whose transfers wait. A transaction is either
*ready*, it would succeed now, or it is *early* (`NotYet`): the nonce before it is missing, a quorum is not final. Only
a ready one is a reason for a block. Early ones cost their sender nothing and may never get ready, so they are bounded
per sender, in bytes all together, and in the number of blocks they may wait.

Of transactions with the same sender and nonce only one can ever pay, so only one waits: the first that came. This and
the bounds per sender are looked at before the signature is, so a flood from one key costs decoding and no more.

The pool is bounded in number and bytes; when it is full a newcomer is refused, so that nobody can push out what already
waits. The one exception are early transactions: where they are too many, a sender within an equal share pushes out the
latest of whoever holds the most. The last part of the pool is for this node's own transactions, which count for no
bound per sender: no crowd may keep an authority's ballots out. Transactions leave in order of arrival: a fee is the
same for everybody, so there is no market for places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from pdfedchain.crypto import tagged_hash
from pdfedchain.errors import InputError, NotYet
from pdfedchain.ids import Hash
from pdfedchain.limits import TRANSACTION_SIZE_BYTES_MAX

__all__ = [
    "EARLY_BLOCKS_MAX",
    "EARLY_PER_SENDER_MAX",
    "EARLY_PER_SENDER_SIZE_BYTES_MAX",
    "EARLY_SIZE_BYTES_MAX",
    "OWN_COUNT",
    "OWN_SIZE_BYTES",
    "POOL_COUNT_MAX",
    "POOL_SIZE_BYTES_MAX",
    "SENDER_COUNT_MAX",
    "SENDER_SIZE_BYTES_MAX",
    "Mempool",
    "Origin",
    "PoolFull",
    "transaction_hash",
]

#: A testnet's busiest minute needs a few hundred kilobytes.
POOL_SIZE_BYTES_MAX: Final = 16_777_216

#: With a full block beside it this is less than `pdfedchain.state.verified.VERIFIED_MAX`: what waits is checked again
#: after every block, but its signatures are not.
POOL_COUNT_MAX: Final = 16_384

#: The part of the pool that only this node's own transactions may use: two of the largest.
OWN_SIZE_BYTES: Final = 2_097_152
OWN_COUNT: Final = 2_048

#: Early transactions: of one sender, and of all. Checking this much again after every block takes milliseconds.
EARLY_PER_SENDER_MAX: Final = 8
EARLY_PER_SENDER_SIZE_BYTES_MAX: Final = 131_072
EARLY_SIZE_BYTES_MAX: Final = 1_048_576

#: All of one sender: the largest transaction and its early ones; an authority's ballots on a few hundred checkpoints.
SENDER_SIZE_BYTES_MAX: Final = TRANSACTION_SIZE_BYTES_MAX + EARLY_PER_SENDER_SIZE_BYTES_MAX
SENDER_COUNT_MAX: Final = 512

#: Blocks that an early transaction may wait; whoever still wants it sends it again.
EARLY_BLOCKS_MAX: Final = 64


class PoolFull(InputError):
    """No room for another transaction now; it may be sent again later."""


def transaction_hash(transaction: bytes) -> Hash:
    """Name of an encoded transaction inside this node (pool, gossip); not a consensus hash."""
    return tagged_hash("pdfed/pool/v1", transaction)


class Origin(NamedTuple):
    """Whose a transaction is, and its nonce; ``None`` for kinds that are not ordered by one."""

    sender: bytes
    nonce: int | None = None


@dataclass(slots=True)
class _Waiting:
    """One transaction.

    Attributes:
        is_own: of this node; not counted among its sender's.
        early_blocks: blocks for which it has been early without a break.
        basis: of the verdict that it is ready; ``None`` where it must be checked again.
    """

    transaction: bytes
    origin: Origin
    is_own: bool
    is_early: bool = False
    early_blocks: int = 0
    basis: object = None


@dataclass(slots=True)
class _Share:
    """What one sender holds of the pool, or of its early part."""

    count: int = 0
    size_bytes: int = 0


class Mempool:
    """Waiting transactions by hash, in order of arrival."""

    def __init__(
        self,
        check: Callable[[bytes], None],
        origin: Callable[[bytes], Origin],
        basis: Callable[[bytes], object] = lambda transaction: None,
        *,
        size_bytes_max: int = POOL_SIZE_BYTES_MAX,
        own_size_bytes: int = OWN_SIZE_BYTES,
        count_max: int = POOL_COUNT_MAX,
        own_count: int = OWN_COUNT,
    ) -> None:
        """
        Args:
            check: raises `NotYet` for a transaction that may succeed later, another `InputError` for one that cannot.
            origin: what a transaction says of itself, its signature unseen; raises `InputError` if it says nothing.
            basis: what the verdict on a ready transaction rests on: while that is equal, the transaction stays ready
                and is not checked again. ``None`` for one that must be.
            size_bytes_max, count_max: of all waiting transactions.
            own_size_bytes, own_count: how much of it only this node's own transactions may use.
        """
        assert 0 <= own_size_bytes < size_bytes_max, "there is room for others"
        assert 0 <= own_count < count_max, "there is room for others"
        self._check = check
        self._origin = origin
        self._basis = basis
        self._size_bytes_max = size_bytes_max
        self._others_size_bytes_max = size_bytes_max - own_size_bytes
        self._count_max = count_max
        self._others_count_max = count_max - own_count
        self._forget()

    def _forget(self) -> None:
        self._waiting: dict[Hash, _Waiting] = {}
        #: Who waits for each sender's nonce.
        self._by_nonce: dict[Origin, Hash] = {}
        self._size_bytes = 0
        self._ready = 0
        self._early_size_bytes = 0
        #: What senders hold, of all and of the early part.
        self._shares: dict[bytes, _Share] = {}
        self._early: dict[bytes, _Share] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, transaction: object) -> bool:
        return isinstance(transaction, bytes) and transaction_hash(transaction) in self._waiting

    def waits(self, name: Hash) -> bool:
        """Whether the transaction of this `transaction_hash` waits."""
        return name in self._waiting

    def by_name(self) -> dict[Hash, bytes]:
        """All that waits, by `transaction_hash`, in order of arrival."""
        return {name: waiting.transaction for name, waiting in self._waiting.items()}

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
            own: this node's, which may use all of the pool and the place of another's with the same nonce.

        Returns:
            Whether it is new; one that waits already is not checked again.

        Raises:
            InputError: it can never succeed.
            PoolFull: there is no room, none for another of its sender, or its nonce is taken.
        """
        name = transaction_hash(transaction)
        if name in self._waiting:
            return False
        waiting = _Waiting(transaction, self._origin(transaction), own)
        self._check_room(waiting)
        self._place(name, waiting)
        return True

    def candidates(self) -> Sequence[bytes]:
        """All waiting transactions for a proposer to choose from: ready ones in order of arrival, then early ones.

        An early one may well follow a ready one in the same block, for example by nonce.
        """
        by_arrival = sorted(self._waiting.values(), key=lambda waiting: waiting.is_early)
        return tuple(waiting.transaction for waiting in by_arrival)

    def settle(self, included: Iterable[bytes]) -> None:
        """After a block: forget what it included, what it made impossible, and what has been early for too long."""
        gone = {transaction_hash(transaction) for transaction in included}
        before = self._waiting
        self._forget()
        for name, waiting in before.items():
            if name in gone:
                continue
            if waiting.basis is not None and waiting.basis == self._basis(waiting.transaction):
                self._put(name, waiting)
                continue
            waiting.early_blocks += 1
            try:
                self._place(name, waiting)
            except InputError:
                continue

    def _check_room(self, newcomer: _Waiting) -> None:
        """What can be said before the signature is looked at.

        Raises:
            PoolFull: there is no room.
        """
        count_max = self._count_max if newcomer.is_own else self._others_count_max
        size_bytes_max = self._size_bytes_max if newcomer.is_own else self._others_size_bytes_max
        if len(self._waiting) >= count_max:
            raise PoolFull(f"the pool holds {len(self._waiting)} of at most {count_max} transactions")
        if self._size_bytes + len(newcomer.transaction) > size_bytes_max:
            raise PoolFull(f"the pool holds {self._size_bytes} of at most {size_bytes_max} bytes")
        rival = self._by_nonce.get(newcomer.origin)
        if rival is not None and (self._waiting[rival].is_own or not newcomer.is_own):
            raise PoolFull(f"another transaction of its sender with nonce {newcomer.origin.nonce} waits already")
        if newcomer.is_own:
            return
        share = self._shares.get(newcomer.origin.sender, _Share())
        size_bytes = share.size_bytes + len(newcomer.transaction)
        if share.count >= SENDER_COUNT_MAX or size_bytes > SENDER_SIZE_BYTES_MAX:
            raise PoolFull(f"{share.count} transactions of its sender, {share.size_bytes} bytes, wait already")

    def _place(self, name: Hash, waiting: _Waiting) -> None:
        """Check a transaction and put it among the ready or the early ones.

        Raises:
            InputError: it stays outside.
        """
        try:
            self._check(waiting.transaction)
        except NotYet as error:
            if not waiting.is_early:
                waiting.is_early, waiting.early_blocks, waiting.basis = True, 0, None
            self._make_room_for_early(waiting, error)
        else:
            waiting.is_early, waiting.early_blocks = False, 0
            waiting.basis = self._basis(waiting.transaction)
        self._put(name, waiting)

    def _put(self, name: Hash, waiting: _Waiting) -> None:
        """Put a checked transaction in, in place of another of its nonce."""
        rival = self._by_nonce.get(waiting.origin)
        if rival is not None:
            self._remove(rival)
        self._waiting[name] = waiting
        if waiting.origin.nonce is not None:
            self._by_nonce[waiting.origin] = name
        self._count(waiting, 1)

    def _remove(self, name: Hash) -> None:
        waiting = self._waiting.pop(name)
        if waiting.origin.nonce is not None:
            del self._by_nonce[waiting.origin]
        self._count(waiting, -1)

    def _count(self, waiting: _Waiting, sign: int) -> None:
        size_bytes = sign * len(waiting.transaction)
        self._size_bytes += size_bytes
        self._ready += 0 if waiting.is_early else sign
        if waiting.is_own:
            return
        self._early_size_bytes += size_bytes if waiting.is_early else 0
        for shares in (self._shares, self._early) if waiting.is_early else (self._shares,):
            share = shares.setdefault(waiting.origin.sender, _Share())
            share.count += sign
            share.size_bytes += size_bytes
            if share.count == 0:
                del shares[waiting.origin.sender]

    def _make_room_for_early(self, waiting: _Waiting, reason: NotYet) -> None:
        """
        Raises:
            PoolFull: it has waited for too long, or its sender or all of them have too many.
        """
        if waiting.early_blocks >= EARLY_BLOCKS_MAX:
            raise PoolFull(f"waited for {waiting.early_blocks} blocks ({reason})")
        if waiting.is_own:
            return
        sender, size_bytes = waiting.origin.sender, len(waiting.transaction)
        share = self._early.get(sender, _Share())
        if share.count >= EARLY_PER_SENDER_MAX or share.size_bytes + size_bytes > EARLY_PER_SENDER_SIZE_BYTES_MAX:
            raise PoolFull(f"{share.count} early transactions of its sender wait already ({reason})")
        if self._early_size_bytes + size_bytes <= EARLY_SIZE_BYTES_MAX:
            return
        fair_size_bytes = EARLY_SIZE_BYTES_MAX // len(self._early.keys() | {sender})
        if share.size_bytes + size_bytes > fair_size_bytes:
            raise PoolFull(f"early transactions hold {self._early_size_bytes} bytes ({reason})")
        while self._early_size_bytes + size_bytes > EARLY_SIZE_BYTES_MAX:
            # Somebody else has more than a fair share, or there would be room.
            greedy = max(self._early, key=lambda other: self._early[other].size_bytes)
            self._remove(self._latest_early(greedy))

    def _latest_early(self, sender: bytes) -> Hash:
        return next(
            name
            for name, waiting in reversed(self._waiting.items())
            if waiting.is_early and not waiting.is_own and waiting.origin.sender == sender
        )
