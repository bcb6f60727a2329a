"""What waits for peers is bounded for each and for all, and a frame for several counts once."""

from __future__ import annotations

import pytest

from node.send_queue import SHARE_SIZE_BYTES, FrameBudget, Priority, SendQueue


def test_a_frame_for_many_peers_counts_once() -> None:
    budget = FrameBudget(1_000_000)
    queues = [SendQueue(10_000_000, budget) for _ in range(256)]
    frame = bytes(900_000)
    assert all(queue.put(frame, Priority.NORMAL) for queue in queues)
    assert budget.size_bytes == 900_000
    for queue in queues:
        queue.clear()
    assert (budget.size_bytes, budget._queues) == (0, {})


def test_peers_that_do_not_read_are_bounded_together_and_leave_each_its_share() -> None:
    budget = FrameBudget(1_000_000)
    deaf = [SendQueue(10_000_000, budget) for _ in range(50)]
    for queue in deaf:
        while queue.put(bytes(50_000), Priority.NORMAL):
            pass
    share = SHARE_SIZE_BYTES // 50_000 * 50_000
    assert budget.size_bytes <= 1_000_000 + len(deaf) * share
    honest = SendQueue(10_000_000, budget)
    assert honest.put(bytes(SHARE_SIZE_BYTES), Priority.NORMAL)
    assert not honest.put(b"more", Priority.NORMAL)
    assert honest.dropped == {Priority.NORMAL: 1}


def test_what_is_important_takes_the_room_of_what_is_not() -> None:
    budget = FrameBudget(1_000_000)
    queue = SendQueue(10_000_000, budget)
    for _ in range(10):
        assert queue.put(bytes(100_000), Priority.LOW)
    assert queue.put(bytes(250_000), Priority.HIGH)
    assert (queue.dropped, budget.size_bytes) == ({Priority.LOW: 3}, 950_000)


@pytest.mark.parametrize("size_bytes_max", [0, 100, 10**9])
async def test_order_holds_within_a_priority_and_nothing_stays_behind(size_bytes_max: int) -> None:
    budget = FrameBudget(size_bytes_max)
    queue = SendQueue(1_000, budget)
    for priority in (Priority.LOW, Priority.HIGH):
        for number in range(5):
            assert queue.put(bytes([priority, number]), priority)
    taken = [await queue.get() for _ in range(10)]
    assert taken == [bytes([priority, number]) for priority in (Priority.HIGH, Priority.LOW) for number in range(5)]
    assert (queue.size_bytes, budget.size_bytes) == (0, 0)
