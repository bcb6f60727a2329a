"""Transactions travel together, and a bad one among them costs its forwarder, not its neighbours."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock

from node.transaction_gossip import GATHER_S, WAITING_MAX, TransactionGossip
from node.wire import BATCH_SIZE_BYTES_MAX, BATCH_TRANSACTIONS_MAX, TransactionBatch
from pdfedchain.codec import decode, encode
from pdfedchain.errors import DecodeError, InvalidTransaction, SignatureError
from pdfedchain.limits import TRANSACTION_SIZE_BYTES_MAX


@dataclass
class World:
    """A pool that refuses what its name says, and a network that remembers when it was told what."""

    pool: list[bytes] = field(default_factory=list)
    sent: list[tuple[float, tuple[bytes, ...]]] = field(default_factory=list)
    arrivals: int = 0
    dropped: int = 0

    def __post_init__(self) -> None:
        self.gossip = TransactionGossip(self.take, self.publish, arrived=self.arrived, dropped=self.drop)

    def take(self, transaction: bytes) -> bool:
        for word, error in ((b"rubbish", DecodeError("")), (b"forged", SignatureError("")), (b"late", None)):
            if transaction.startswith(word):
                raise error or InvalidTransaction("nonce", "")
        if transaction in self.pool:
            return False
        self.pool.append(transaction)
        return True

    async def publish(self, message: bytes) -> None:
        batch = decode(TransactionBatch, message, size_bytes_max=2 * TRANSACTION_SIZE_BYTES_MAX)
        self.sent.append((trio.current_time(), batch.transactions))

    def arrived(self) -> None:
        self.arrivals += 1

    def drop(self) -> None:
        self.dropped += 1

    def receive(self, *transactions: bytes) -> bool:
        return self.gossip.receive("peer", encode(TransactionBatch(transactions)))

    async def run_for(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self.gossip.run()


async def test_the_first_leaves_at_once_and_what_follows_shortly_leaves_together(autojump_clock: MockClock) -> None:
    world = World()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.run_for, 1.0)
        started = trio.current_time()
        world.gossip.send(b"first")
        await trio.sleep(GATHER_S / 4)
        world.gossip.send(b"second")
        await trio.sleep(GATHER_S / 4)
        world.gossip.send(b"third")
    assert world.sent == [(started, (b"first",)), (started + GATHER_S, (b"second", b"third"))]


async def test_a_message_is_bounded_in_number_and_in_bytes(autojump_clock: MockClock) -> None:
    world = World()
    many = [b"%d" % index for index in range(2 * BATCH_TRANSACTIONS_MAX + 1)]
    large = [bytes([index]) * (BATCH_SIZE_BYTES_MAX // 2) for index in range(3)]
    largest = b"x" * TRANSACTION_SIZE_BYTES_MAX
    for transaction in (*many, *large, largest, b"last"):
        world.gossip.send(transaction)
    await world.run_for(1.0)
    sizes = [(len(batch), sum(map(len, batch))) for _, batch in world.sent]
    assert [count for count, _ in sizes] == [BATCH_TRANSACTIONS_MAX, BATCH_TRANSACTIONS_MAX, 2, 2, 1, 1]
    assert all(size_bytes <= BATCH_SIZE_BYTES_MAX or count == 1 for count, size_bytes in sizes)
    assert [each for _, batch in world.sent for each in batch] == [*many, *large, largest, b"last"]
    receiver = World()
    assert receiver.receive(largest)


async def test_too_many_are_not_gossiped() -> None:
    world = World()
    for index in range(WAITING_MAX + 2):
        world.gossip.send(b"%d" % index)
    assert world.dropped == 2


def test_a_message_with_news_is_passed_on() -> None:
    world = World()
    assert world.receive(b"one", b"late", b"two")
    assert (world.pool, world.arrivals) == ([b"one", b"two"], 1)
    assert world.receive(b"two", b"three")
    assert not world.receive(b"two", b"late")
    assert (world.pool, world.arrivals) == ([b"one", b"two", b"three"], 2)


@pytest.mark.parametrize(("bad", "error"), [(b"rubbish", DecodeError), (b"forged", SignatureError)])
async def test_a_bad_one_is_the_forwarder_s_fault_and_the_good_ones_live(
    bad: bytes, error: type[Exception], autojump_clock: MockClock
) -> None:
    world = World(pool=[b"known"])
    with pytest.raises(error):
        world.receive(b"one", bad, b"known", b"late", b"two")
    await world.run_for(1.0)
    assert (world.pool, world.arrivals) == ([b"known", b"one", b"two"], 1)
    assert [batch for _, batch in world.sent] == [(b"one", b"two")]


@pytest.mark.parametrize("message", [b"", b"\xc1", encode(TransactionBatch((b"x",)))[:-1]])
def test_what_is_no_batch_is_a_fault(message: bytes) -> None:
    with pytest.raises(DecodeError):
        World().gossip.receive("peer", message)
