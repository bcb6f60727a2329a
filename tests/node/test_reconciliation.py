"""Transactions that gossip has lost are found by comparing pools; on hosts of both kinds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise

import pytest
import trio

from node.host.interface import Host, HostError, Stream
from node.reconciliation import Pending, Reconciliation, pending_name
from node.wire import (
    BATCH_SIZE_BYTES_MAX,
    BATCH_TRANSACTIONS_MAX,
    PENDING_NAMES_SIZE_BYTES_MAX,
    PENDING_PROTOCOL,
    PendingNames,
    PendingRequest,
    TransactionBatch,
)
from pdfedchain.codec import decode, encode
from pdfedchain.errors import InputError, InvalidTransaction, SignatureError
from tests.node.host.hosts import KINDS, Opener, opener, until, until_connected


class Member:
    """A node that has transactions and nothing else."""

    def __init__(self, host: Host, *, interval_s: float = 0.02) -> None:
        self.host = host
        self.pool: dict[bytes, bytes] = {}
        self.taken: list[bytes] = []
        self.faults: list[str] = []
        self.peers: list[str] = []
        self.reconciliation = Reconciliation(
            host,
            Pending(lambda: dict(self.pool), self.take, lambda: None),
            lambda: self.peers,
            lambda peer_id, reason: self.faults.append(reason),
            interval_s=interval_s,
        )
        host.set_stream_handler(PENDING_PROTOCOL, self.reconciliation.handle)

    def hold(self, *transactions: bytes) -> None:
        self.pool.update({pending_name(transaction): transaction for transaction in transactions})

    def take(self, transaction: bytes) -> bool:
        self.taken.append(transaction)
        if transaction.startswith(b"late"):
            raise InvalidTransaction("nonce", "")
        if transaction.startswith(b"forged"):
            raise SignatureError("")
        if pending_name(transaction) in self.pool:
            return False
        self.hold(transaction)
        return True


@asynccontextmanager
async def chain(kind: str, count: int, *, interval_s: float = 0.02) -> AsyncIterator[list[Member]]:
    """Members each of which is connected to the one before it."""
    open_one: Opener = opener(kind)
    async with AsyncExitStack() as stack:
        members = [
            Member(await stack.enter_async_context(open_one(number + 1)), interval_s=interval_s)
            for number in range(count)
        ]
        for one, two in pairwise(members):
            await two.host.connect(one.host.addresses[0])
            await until_connected(one.host, two.host.peer_id)
            one.peers.append(two.host.peer_id)
            two.peers.append(one.host.peer_id)
        yield members


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.reconciliation.LIST_INTERVAL_S", 0.0)


@pytest.mark.usefixtures("no_pause")
async def test_what_one_holds_is_with_all_in_the_end(kind: str) -> None:
    async with chain(kind, 3) as members, trio.open_nursery() as nursery:
        members[0].hold(*(b"first %d" % number for number in range(700)))
        members[2].hold(*(b"last %d" % number for number in range(300)), b"x" * (2 * BATCH_SIZE_BYTES_MAX))
        for member in members:
            nursery.start_soon(member.reconciliation.run)
        await until(lambda: all(len(member.pool) == 1_001 for member in members), 60)
        assert [member.faults for member in members] == [[], [], []]
        nursery.cancel_scope.cancel()


async def test_an_answer_holds_what_fits_and_the_rest_is_asked_for_again(kind: str) -> None:
    async with chain(kind, 2) as (one, two):
        one.hold(*(bytes([number]) * 50_000 for number in range(10)))
        assert await two.reconciliation.compare(one.host.peer_id) == 10
        assert two.pool == one.pool
        assert two.reconciliation.counters["pulled"] == 10


async def test_what_is_refused_or_in_a_block_is_not_fetched_again(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.reconciliation.LIST_INTERVAL_S", 0.0)
    async with chain(kind, 2) as (one, two):
        one.hold(b"late", b"in a block", b"good")
        two.reconciliation.settled([b"in a block"])
        for expected in (1, 0, 0):
            assert await two.reconciliation.compare(one.host.peer_id) == expected
        assert sorted(two.taken) == [b"good", b"late"]


async def test_a_wrong_signature_is_a_fault(kind: str) -> None:
    async with chain(kind, 2) as (one, two):
        one.hold(b"forged")
        with pytest.raises(SignatureError):
            await two.reconciliation.compare(one.host.peer_id)


Serve = Callable[[Stream], Awaitable[None]]


def answering(*frames: bytes) -> Serve:
    """A peer that answers one request after the other with these."""

    async def serve(stream: Stream) -> None:
        for frame in frames:
            await stream.receive_frame(10_000)
            await stream.send_frame(frame)
        await trio.sleep_forever()

    return serve


NAMES = encode(PendingNames((pending_name(b"one"), pending_name(b"two"))))


@pytest.mark.parametrize(
    "frames",
    [
        (b"rubbish",),
        (NAMES, b"rubbish"),
        (NAMES, encode(TransactionBatch((b"three",)))),
        (NAMES, encode(TransactionBatch((b"two", b"one")))),
        (NAMES, encode(TransactionBatch((b"one", b"one")))),
        (bytes(PENDING_NAMES_SIZE_BYTES_MAX + 1),),
    ],
)
async def test_an_answer_that_no_honest_node_gives_is_a_fault(kind: str, frames: tuple[bytes, ...]) -> None:
    async with chain(kind, 2) as (one, two), trio.open_nursery() as nursery:
        one.host.set_stream_handler(PENDING_PROTOCOL, answering(*frames))
        nursery.start_soon(two.reconciliation.run)
        await until(lambda: bool(two.faults), 30)
        nursery.cancel_scope.cancel()


async def test_names_of_nothing_end_the_comparison(kind: str) -> None:
    async with chain(kind, 2) as (one, two):
        one.host.set_stream_handler(PENDING_PROTOCOL, answering(NAMES, b""))
        with trio.fail_after(30):
            assert await two.reconciliation.compare(one.host.peer_id) == 0


async def test_who_asks_for_lists_all_the_time_is_refused(kind: str) -> None:
    async with chain(kind, 2) as (one, two):
        stream = await two.host.open_stream(one.host.peer_id, PENDING_PROTOCOL)

        async def ask_on_and_on() -> None:
            while True:
                await stream.send_frame(encode(PendingRequest(())))
                await stream.receive_frame(PENDING_NAMES_SIZE_BYTES_MAX)

        with trio.fail_after(30), pytest.raises(HostError):
            await ask_on_and_on()
        assert one.reconciliation.counters["refused"] == 1
        await until(lambda: not one.reconciliation._serving)


async def test_a_second_stream_of_a_peer_is_refused(kind: str) -> None:
    async with chain(kind, 2) as (one, two):
        first = await two.host.open_stream(one.host.peer_id, PENDING_PROTOCOL)
        await first.send_frame(encode(PendingRequest(())))
        assert decode(PendingNames, await first.receive_frame(100), size_bytes_max=100).names == ()

        async def open_second() -> None:
            second = await two.host.open_stream(one.host.peer_id, PENDING_PROTOCOL)
            await second.receive_frame(100)

        with pytest.raises(HostError):
            await open_second()
        await first.send_frame(encode(PendingRequest((pending_name(b"one"),))))
        assert await first.receive_frame(100) == b""


async def test_what_is_no_request_is_a_fault(kind: str) -> None:
    async with chain(kind, 2) as (one, two):
        faults: list[str] = []
        one.host.set_fault_listener(lambda peer_id, reason: faults.append(reason))
        stream = await two.host.open_stream(one.host.peer_id, PENDING_PROTOCOL)
        await stream.send_frame(b"rubbish")
        await until(lambda: bool(faults), 30)


def test_a_request_is_bounded() -> None:
    with pytest.raises((InputError, ValueError, AssertionError)):
        encode(PendingRequest((bytes(16),) * (BATCH_TRANSACTIONS_MAX + 1)))
