"""Peers that answer for weights with what they should not, on real sockets: each is banned, and weights come anyway.

The node under test is made of what a node is made of: a library that fetches, and a peer manager that bans.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio

from node.channel import Hello
from node.host.interface import HostError, Stream
from node.host.libp2p_host import Libp2pHost, open_host
from node.library import Library
from node.peers import Peers
from node.weights.dag import Link
from node.weights.errors import PeerFaultKind, WeightsUnavailable
from node.weights.fetch import fetch
from node.weights.limits import BLOCK_SIZE_BYTES_MAX
from node.weights.messages import PROTOCOL, Answer, Want, send_answer
from node.weights.serve import WeightsServer
from node.weights.store import WeightsStore
from pdfedchain.codec import decode, encode
from pdfedchain.ids import Address, Cid, Hash
from tests.node.host.hosts import echo, until, until_connected

ECHO = "/test/1"
HELLO = Hello(1, "test", Hash(bytes(32)), Address(bytes(32)), 0, bytes(8))

Server = Callable[[Stream], Awaitable[None]]


async def next_want(stream: Stream) -> Want:
    return decode(Want, await stream.receive_frame(4_096), size_bytes_max=4_096)


def answering(lie: Callable[[Cid], bytes]) -> Server:
    """Whatever is asked for is said to be here, and is something else."""

    async def handle(stream: Stream) -> None:
        while True:
            for asked in (await next_want(stream)).cids:
                await send_answer(stream, asked, lie(asked))

    return handle


def directory(links: list[Link]) -> bytes:
    """A directory as IPFS writes it, without the checks that our own writing makes."""
    out = bytearray()
    for link in links:
        name = link.name.encode()
        body = b"\x0a\x24" + link.cid + b"\x12" + bytes([len(name)]) + name + b"\x18\x01"
        out += b"\x12" + bytes([len(body)]) + body
    return bytes(out) + b"\x0a\x02\x08\x01"


def something_else(cid: Cid) -> bytes:
    return b"something else"


def too_much(cid: Cid) -> bytes:
    return bytes(BLOCK_SIZE_BYTES_MAX + 1)


def refers_to_itself(cid: Cid) -> bytes:
    return directory([Link(cid, "again", 1)])


def a_hundred_thousand_links(cid: Cid) -> bytes:
    return directory([Link(cid, f"{number:06}", 1) for number in range(100_000)])


def answers_without_end(origin: WeightsStore) -> Server:
    """The first question is answered rightly, for ever."""

    async def handle(stream: Stream) -> None:
        (asked, *_) = (await next_want(stream)).cids
        while True:
            await send_answer(stream, asked, origin.get_block(asked).data)

    return handle


async def a_block_without_end(stream: Stream) -> None:
    """A block as large as a length can say."""
    (asked, *_) = (await next_want(stream)).cids
    await stream.send_frame(encode(Answer(asked, here=True)))
    await stream.write(b"\xff\xff\xff\xff")
    while True:
        await stream.write(bytes(65_536))


async def bytes_without_end(stream: Stream) -> None:
    """No answer at all, and no waiting for a question."""
    while True:
        await stream.write(b"\xff" * 65_536)


def make(tmp_path: Path) -> tuple[WeightsStore, Cid]:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "weights").write_bytes(hashlib.shake_128(b"weights").digest(2 * 1_048_576 + 1))
    store = WeightsStore(tmp_path / "origin")
    return store, store.add_folder(tmp_path / "folder")


@asynccontextmanager
async def node(tmp_path: Path) -> AsyncIterator[tuple[Libp2pHost, Library, Peers]]:
    async with open_host(bytes([1]) * 32) as host, trio.open_nursery() as nursery:
        host.set_stream_handler(ECHO, echo)
        peers = Peers(host, lambda: HELLO, [], receive=lambda peer_id, message: None)
        nursery.start_soon(peers.run)
        library = Library(
            WeightsStore(tmp_path / "own"),
            host,
            tmp_path / "laid-out",
            lambda: tuple(host.connected_peers()),
            peers.fault,
        )
        yield host, library, peers
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "server_of",
    [
        lambda origin: answering(something_else),
        lambda origin: answering(too_much),
        lambda origin: answering(refers_to_itself),
        lambda origin: answering(a_hundred_thousand_links),
        answers_without_end,
        lambda origin: a_block_without_end,
        lambda origin: bytes_without_end,
    ],
    ids=[
        "something else",
        "too much",
        "refers to itself",
        "a hundred thousand links",
        "answers without end",
        "a block without end",
        "bytes without end",
    ],
)
async def test_who_lies_about_weights_is_banned_and_the_weights_come_from_others(
    tmp_path: Path, server_of: Callable[[WeightsStore], Server]
) -> None:
    origin, cid = make(tmp_path)
    async with (
        node(tmp_path) as (host, library, peers),
        open_host(bytes([2]) * 32) as liar,
        open_host(bytes([3]) * 32) as honest,
    ):
        liar.set_stream_handler(PROTOCOL, server_of(origin))
        await liar.connect(host.addresses[0])
        await until(lambda: liar.peer_id in host.connected_peers())
        # A stream that breaks before what is wrong was read says nothing about its peer: then once more.
        with trio.fail_after(60):
            while liar.peer_id in host.connected_peers():
                with pytest.raises(WeightsUnavailable):
                    await library.obtain(cid, size_bytes_max=10**9)
                await trio.sleep(0.05)
        await until(lambda: not liar.connected_peers())
        assert peers.counters["faults"] == 1
        with suppress(HostError):
            await liar.connect(host.addresses[0])
        await until(lambda: host.counters["connections_banned"] == 1)
        WeightsServer(origin).attach(honest)
        await honest.connect(host.addresses[0])
        await until(lambda: honest.peer_id in host.connected_peers())
        with trio.fail_after(60):
            await library.obtain(cid, size_bytes_max=10**9)
        assert library.store.verify(cid) == ()


async def test_others_are_served_while_a_peer_sends_without_end(tmp_path: Path) -> None:
    origin, cid = make(tmp_path)
    async with (
        node(tmp_path) as (host, library, _),
        open_host(bytes([2]) * 32) as liar,
        open_host(bytes([3]) * 32) as honest,
    ):
        liar.set_stream_handler(PROTOCOL, bytes_without_end)
        WeightsServer(origin).attach(honest)
        for other in (liar, honest):
            await other.connect(host.addresses[0])
            await until_connected(host, other.peer_id)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: library.obtain(cid, size_bytes_max=10**9))
            with trio.fail_after(60):
                async with await honest.open_stream(host.peer_id, ECHO) as stream:
                    for _ in range(20):
                        await stream.send_frame(b"honest")
                        assert await stream.receive_frame(6) == b"honest"
        assert library.store.verify(cid) == ()


async def test_a_block_that_comes_byte_by_byte_costs_its_sender_the_transfer_and_nobody_else(tmp_path: Path) -> None:
    origin, cid = make(tmp_path)

    async def drip(stream: Stream) -> None:
        (asked, *_) = (await next_want(stream)).cids
        await stream.send_frame(encode(Answer(asked, here=True)))
        await stream.write(b"\x00\x0f\xff\xff")
        while True:
            await stream.write(b"x")
            await trio.sleep(0.1)

    async with (
        open_host(bytes([1]) * 32) as here,
        open_host(bytes([2]) * 32) as slow,
        open_host(bytes([3]) * 32) as honest,
    ):
        slow.set_stream_handler(PROTOCOL, drip)
        WeightsServer(origin).attach(honest)
        for other in (slow, honest):
            await here.connect(other.addresses[0])
        store = WeightsStore(tmp_path / "own")
        with trio.fail_after(120):
            with pytest.raises(WeightsUnavailable) as alone:
                await fetch(here, store, cid, [slow.peer_id], size_bytes_max=10**9, stall_timeout_s=1.0)
            assert {fault.kind for fault in alone.value.faults} == {PeerFaultKind.STALLED}
            report = await fetch(here, store, cid, [slow.peer_id, honest.peer_id], size_bytes_max=10**9)
        assert set(report.by_peer) == {honest.peer_id}
    assert store.verify(cid) == ()
