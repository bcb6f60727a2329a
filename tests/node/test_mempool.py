"""The pool of waiting transactions: bounded, checked, in order of arrival; early ones bounded more."""

import pytest

from node.mempool import (
    EARLY_BLOCKS_MAX,
    EARLY_PER_SENDER_MAX,
    EARLY_PER_SENDER_SIZE_BYTES_MAX,
    EARLY_SIZE_BYTES_MAX,
    Mempool,
    PoolFull,
)
from pdfedchain.errors import InvalidTransaction, NotYet


def refuse_odd(transaction: bytes) -> None:
    if transaction[-1] % 2:
        raise InvalidTransaction("odd", "odd transactions are refused")


def sender(transaction: bytes) -> bytes:
    """The first byte."""
    return transaction[:1]


class Rules:
    """A check whose verdicts the test changes: what is neither early nor impossible is ready."""

    def __init__(self, *, early: bool = False) -> None:
        self.all_early = early
        self.early: set[bytes] = set()
        self.impossible: set[bytes] = set()

    def __call__(self, transaction: bytes) -> None:
        if transaction in self.impossible:
            raise InvalidTransaction("nonce", "too late")
        if self.all_early or transaction in self.early:
            raise NotYet("nonce", "too early")


def pool_of(rules: Rules | None = None, *, size_bytes_max: int = 16_777_216, own_size_bytes: int = 0) -> Mempool:
    return Mempool(rules or Rules(), sender, size_bytes_max=size_bytes_max, own_size_bytes=own_size_bytes)


def test_transactions_leave_in_order_of_arrival() -> None:
    pool = pool_of()
    for transaction in (b"c", b"a", b"b"):
        pool.add(transaction)
    assert pool.candidates() == (b"c", b"a", b"b")


def test_a_waiting_transaction_is_neither_new_nor_checked_again() -> None:
    checked: list[bytes] = []
    pool = Mempool(checked.append, sender)
    assert pool.add(b"a") is True
    assert pool.add(b"a") is False
    assert checked == [b"a"]


def test_a_refused_transaction_leaves_no_trace() -> None:
    pool = Mempool(refuse_odd, sender)
    with pytest.raises(InvalidTransaction, match="odd"):
        pool.add(b"\x01")
    assert len(pool) == 0
    assert pool.size_bytes == 0
    assert not pool.has_ready


def test_a_full_pool_refuses_newcomers_and_keeps_what_waits() -> None:
    pool = pool_of(size_bytes_max=10)
    pool.add(b"x" * 6)
    with pytest.raises(PoolFull, match="6 of at most 10 bytes"):
        pool.add(b"y" * 5)
    pool.add(b"y" * 4)
    assert pool.candidates() == (b"x" * 6, b"y" * 4)


def test_own_transactions_find_room_in_a_pool_that_others_have_filled() -> None:
    pool = pool_of(size_bytes_max=10, own_size_bytes=4)
    pool.add(b"x" * 6)
    with pytest.raises(PoolFull, match="6 of at most 6 bytes"):
        pool.add(b"y")
    pool.add(b"me12", own=True)
    with pytest.raises(PoolFull, match="10 of at most 10 bytes"):
        pool.add(b"m", own=True)
    assert pool.candidates() == (b"x" * 6, b"me12")


def test_a_block_takes_out_what_it_included_and_what_it_made_impossible() -> None:
    rules = Rules()
    pool = pool_of(rules)
    for transaction in (b"a", b"b", b"c"):
        pool.add(transaction)
    rules.impossible.add(b"b")
    pool.settle([b"a"])
    assert pool.candidates() == (b"c",)
    assert pool.size_bytes == 1
    assert b"c" in pool
    assert b"a" not in pool


# Early ones


def test_early_transactions_are_no_reason_for_a_block() -> None:
    rules = Rules(early=True)
    pool = pool_of(rules)
    for first in range(40):
        pool.add(bytes([first, 1]))
    for _ in range(3):
        assert (len(pool), pool.has_ready) == (40, False)
        pool.settle(())
    rules.all_early = False
    pool.settle(())
    assert pool.has_ready
    pool.settle(pool.candidates())
    assert (len(pool), pool.has_ready) == (0, False)


def test_early_transactions_are_offered_after_ready_ones() -> None:
    rules = Rules()
    rules.early = {b"a2", b"b2"}
    pool = pool_of(rules)
    for transaction in (b"a2", b"a1", b"b2", b"b1"):
        pool.add(transaction)
    assert pool.candidates() == (b"a1", b"b1", b"a2", b"b2")


def test_a_sender_has_few_early_transactions_and_any_number_of_ready_ones() -> None:
    rules = Rules(early=True)
    pool = pool_of(rules)
    for second in range(EARLY_PER_SENDER_MAX):
        pool.add(bytes([7, second]))
    with pytest.raises(PoolFull, match="8 early transactions of its sender"):
        pool.add(bytes([7, 100]))
    pool.add(bytes([8, 0]))
    rules.all_early = False
    pool.settle(())
    for second in range(100, 200):
        pool.add(bytes([7, second]))
    assert len(pool) == EARLY_PER_SENDER_MAX + 1 + 100


def test_early_transactions_are_bounded_in_bytes_per_sender_and_together() -> None:
    pool = pool_of(Rules(early=True))
    with pytest.raises(PoolFull, match="of its sender"):
        pool.add(b"x" * (EARLY_PER_SENDER_SIZE_BYTES_MAX + 1))
    senders = EARLY_SIZE_BYTES_MAX // EARLY_PER_SENDER_SIZE_BYTES_MAX
    for first in range(senders):
        pool.add(bytes([first]) * EARLY_PER_SENDER_SIZE_BYTES_MAX)
    with pytest.raises(PoolFull, match=f"early transactions hold {EARLY_SIZE_BYTES_MAX} bytes"):
        pool.add(bytes([senders]))
    assert pool.size_bytes == EARLY_SIZE_BYTES_MAX


def test_own_early_transactions_are_not_counted_among_those_of_others() -> None:
    pool = pool_of(Rules(early=True))
    for second in range(EARLY_PER_SENDER_MAX):
        pool.add(bytes([7, second]))
    assert pool.add(b"\x07own", own=True)
    pool.settle(())
    assert b"\x07own" in pool


def test_early_transactions_grow_too_old() -> None:
    rules = Rules()
    rules.early = {b"a2", b"own"}
    pool = pool_of(rules)
    pool.add(b"a2")
    pool.add(b"own", own=True)
    pool.add(b"ready")
    for _ in range(EARLY_BLOCKS_MAX - 1):
        pool.settle(())
    assert len(pool) == 3
    pool.settle(())
    assert pool.candidates() == (b"ready",)
    assert pool.add(b"a2")


def test_a_transaction_that_was_ready_meanwhile_is_young_again() -> None:
    rules = Rules()
    rules.early = {b"a"}
    pool = pool_of(rules)
    pool.add(b"a")
    for _ in range(EARLY_BLOCKS_MAX - 1):
        pool.settle(())
    rules.early.clear()
    pool.settle(())
    rules.early = {b"a"}
    for _ in range(EARLY_BLOCKS_MAX):
        pool.settle(())
    assert b"a" in pool
    pool.settle(())
    assert b"a" not in pool
