"""The pool of waiting transactions: bounded, checked, in order of arrival; early ones bounded more."""

import pytest

from node.mempool import (
    EARLY_BLOCKS_MAX,
    EARLY_PER_SENDER_MAX,
    EARLY_PER_SENDER_SIZE_BYTES_MAX,
    EARLY_SIZE_BYTES_MAX,
    OWN_COUNT,
    POOL_COUNT_MAX,
    SENDER_COUNT_MAX,
    SENDER_SIZE_BYTES_MAX,
    Mempool,
    Origin,
    PoolFull,
)
from pdfedchain.errors import InvalidTransaction, NotYet
from pdfedchain.limits import TRANSACTIONS_PER_BLOCK_MAX
from pdfedchain.state.verified import VERIFIED_MAX


def refuse_odd(transaction: bytes) -> None:
    if transaction[-1] % 2:
        raise InvalidTransaction("odd", "odd transactions are refused")


def origin(transaction: bytes) -> Origin:
    """The sender is the first byte; what follows an ``n`` is a nonce."""
    sender, _, nonce = transaction[:3].partition(b"n")
    return Origin(sender[:1], nonce[0] if nonce else None)


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
    return Mempool(rules or Rules(), origin, size_bytes_max=size_bytes_max, own_size_bytes=own_size_bytes)


def test_transactions_leave_in_order_of_arrival() -> None:
    pool = pool_of()
    for transaction in (b"c", b"a", b"b"):
        pool.add(transaction)
    assert pool.candidates() == (b"c", b"a", b"b")


def test_a_waiting_transaction_is_neither_new_nor_checked_again() -> None:
    checked: list[bytes] = []
    pool = Mempool(checked.append, origin)
    assert pool.add(b"a") is True
    assert pool.add(b"a") is False
    assert checked == [b"a"]


def test_a_refused_transaction_leaves_no_trace() -> None:
    pool = Mempool(refuse_odd, origin)
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


def test_what_a_block_has_not_touched_is_not_checked_again() -> None:
    checked: list[bytes] = []
    rules = Rules()
    touched: dict[bytes, int] = {}

    def check(transaction: bytes) -> None:
        checked.append(transaction)
        rules(transaction)

    pool = Mempool(check, origin, lambda transaction: None if transaction == b"any" else touched.get(transaction, 0))
    rules.early = {b"early"}
    for transaction in (b"a", b"b", b"any", b"early"):
        pool.add(transaction)
    checked.clear()
    touched[b"b"] = 1
    pool.settle(())
    assert checked == [b"b", b"any", b"early"]
    assert pool.candidates() == (b"a", b"b", b"any", b"early")
    assert (pool.size_bytes, pool.has_ready) == (10, True)
    rules.impossible, touched[b"b"] = {b"a", b"b"}, 2
    rules.early = {b"any"}
    checked.clear()
    pool.settle((b"a",))
    assert checked == [b"b", b"any", b"early"]
    assert pool.candidates() == (b"early", b"any")
    checked.clear()
    pool.settle(())
    assert checked == [b"any"], "what was early has become ready and rests on the same"


# One sender


def test_one_transaction_waits_for_each_nonce_of_a_sender_and_the_others_are_not_even_checked() -> None:
    checked: list[bytes] = []
    pool = Mempool(checked.append, origin)
    pool.add(b"an\x07first")
    for count in range(1_000):
        with pytest.raises(PoolFull, match="with nonce 7 waits already"):
            pool.add(b"an\x07%d" % count)
    pool.add(b"an\x08")
    pool.add(b"bn\x07")
    assert pool.candidates() == (b"an\x07first", b"an\x08", b"bn\x07")
    assert checked == [b"an\x07first", b"an\x08", b"bn\x07"]


def test_a_nonce_is_free_again_when_who_had_it_is_gone() -> None:
    rules = Rules()
    pool = pool_of(rules)
    pool.add(b"an\x07first")
    rules.impossible.add(b"an\x07first")
    pool.settle(())
    assert pool.add(b"an\x07second")


def test_an_own_transaction_takes_the_nonce_of_anothers_but_not_of_an_own_one() -> None:
    rules = Rules()
    pool = pool_of(rules)
    pool.add(b"an\x07gossiped")
    rules.impossible.add(b"an\x07bad")
    with pytest.raises(InvalidTransaction):
        pool.add(b"an\x07bad", own=True)
    assert pool.candidates() == (b"an\x07gossiped",)
    pool.add(b"an\x07own", own=True)
    with pytest.raises(PoolFull, match="with nonce 7"):
        pool.add(b"an\x07own too", own=True)
    assert (pool.candidates(), pool.size_bytes) == ((b"an\x07own",), len(b"an\x07own"))
    pool.settle([b"an\x07own"])
    assert (len(pool), pool.size_bytes, pool.has_ready) == (0, 0, False)


def test_a_sender_without_nonces_is_bounded_in_number_and_bytes() -> None:
    pool = pool_of()
    for count in range(SENDER_COUNT_MAX):
        pool.add(b"a-%d" % count)
    with pytest.raises(PoolFull, match="512 transactions of its sender"):
        pool.add(b"a-more")
    pool.add(b"a-own", own=True)
    pool.add(b"b" * SENDER_SIZE_BYTES_MAX)
    with pytest.raises(PoolFull, match="1 transactions of its sender"):
        pool.add(b"b")
    pool.settle([b"a-0"])
    assert pool.add(b"a-more")


def test_the_pool_is_bounded_in_number_with_a_part_for_own_transactions() -> None:
    pool = Mempool(Rules(), origin, count_max=3, own_count=1)
    pool.add(b"a")
    pool.add(b"b")
    with pytest.raises(PoolFull, match="2 of at most 2 transactions"):
        pool.add(b"c")
    pool.add(b"c", own=True)
    with pytest.raises(PoolFull, match="3 of at most 3 transactions"):
        pool.add(b"d", own=True)


def test_a_full_pool_and_a_full_block_are_fewer_than_the_signatures_that_are_remembered() -> None:
    assert OWN_COUNT < POOL_COUNT_MAX
    assert POOL_COUNT_MAX + TRANSACTIONS_PER_BLOCK_MAX < VERIFIED_MAX


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


def test_a_sender_has_few_early_transactions_and_many_ready_ones() -> None:
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
    fair_size_bytes = EARLY_SIZE_BYTES_MAX // (senders + 1)
    with pytest.raises(PoolFull, match=f"early transactions hold {EARLY_SIZE_BYTES_MAX} bytes"):
        pool.add(bytes([senders]) * (fair_size_bytes + 1))
    assert pool.size_bytes == EARLY_SIZE_BYTES_MAX


def test_who_stays_within_a_fair_share_pushes_out_the_latest_early_one_of_who_holds_the_most() -> None:
    pool = pool_of(Rules(early=True))
    half = EARLY_PER_SENDER_SIZE_BYTES_MAX // 2
    senders = EARLY_SIZE_BYTES_MAX // EARLY_PER_SENDER_SIZE_BYTES_MAX
    for first in range(senders):
        pool.add(bytes([first]) + b"1".ljust(half - 1))
        pool.add(bytes([first]) + b"2".ljust(half - 1))
    before = pool.candidates()
    assert pool.add(b"z")
    assert pool.candidates() == (before[0], *before[2:], b"z")
    assert pool.size_bytes == EARLY_SIZE_BYTES_MAX - half + 1
    pool.settle(())
    assert pool.candidates() == (before[0], *before[2:], b"z")


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
