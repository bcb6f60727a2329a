"""The same transfer over real connections: TCP, noise, yamux."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from node.host.interface import Stream
from node.host.libp2p_host import open_host
from node.weights.dag import Link
from node.weights.errors import PeerFaultKind, WeightsUnavailable
from node.weights.fetch import fetch
from node.weights.messages import PROTOCOL, Answer, Want
from node.weights.serve import WeightsServer
from node.weights.store import WeightsStore
from pdfedchain.codec import decode, encode
from pdfedchain.ids import Cid


def make(tmp_path: Path, name: str) -> tuple[WeightsStore, Cid]:
    (tmp_path / name).mkdir()
    (tmp_path / name / "weights").write_bytes(hashlib.shake_128(name.encode()).digest(2 * 1_048_576 + 1))
    store = WeightsStore(tmp_path / f"{name} store")
    return store, store.add_folder(tmp_path / name)


async def test_two_nodes_fetch_from_each_other_at_once(tmp_path: Path) -> None:
    (one, first), (other, second) = make(tmp_path, "first"), make(tmp_path, "second")
    async with (
        open_host(bytes([1]) * 32, "/ip4/127.0.0.1/tcp/0") as here,
        open_host(bytes([2]) * 32, "/ip4/127.0.0.1/tcp/0") as there,
    ):
        WeightsServer(one).attach(here)
        WeightsServer(other).attach(there)
        await here.connect(there.addresses[0])
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: fetch(here, one, second, [there.peer_id], size_bytes_max=10**9))
                nursery.start_soon(lambda: fetch(there, other, first, [here.peer_id], size_bytes_max=10**9))
    assert one.verify(second) == ()
    assert other.verify(first) == ()


def directory(links: list[Link]) -> bytes:
    """A directory as IPFS writes it, without the checks that our own writing makes."""
    out = bytearray()
    for link in links:
        name = link.name.encode()
        body = b"\x0a\x24" + link.cid + b"\x12" + bytes([len(name)]) + name + b"\x18\x01"
        out += b"\x12" + bytes([len(body)]) + body
    return bytes(out) + b"\x0a\x02\x08\x01"


def refers_to_itself(cid: Cid) -> bytes:
    return directory([Link(cid, "again", 1)])


def a_hundred_thousand_links(cid: Cid) -> bytes:
    return directory([Link(cid, f"{number:06}", 1) for number in range(100_000)])


@pytest.mark.parametrize(
    ("lie", "kind"),
    [(refers_to_itself, PeerFaultKind.LIED), (a_hundred_thousand_links, PeerFaultKind.GARBAGE)],
)
async def test_a_hostile_directory_costs_its_sender_the_transfer_and_nobody_else(
    tmp_path: Path, lie: Callable[[Cid], bytes], kind: PeerFaultKind
) -> None:
    origin, cid = make(tmp_path, "folder")

    async def hostile(stream: Stream) -> None:
        while True:
            want = decode(Want, await stream.receive_frame(4_096), size_bytes_max=4_096)
            for asked in want.cids:
                await stream.send_frame(encode(Answer(asked, here=True)))
                await stream.send_frame(lie(asked))

    async with (
        open_host(bytes([1]) * 32) as here,
        open_host(bytes([2]) * 32) as liar,
        open_host(bytes([3]) * 32) as honest,
    ):
        liar.set_stream_handler(PROTOCOL, hostile)
        WeightsServer(origin).attach(honest)
        for other in (liar, honest):
            await here.connect(other.addresses[0])
        store = WeightsStore(tmp_path / "here")
        with trio.fail_after(60):
            with pytest.raises(WeightsUnavailable) as alone:
                await fetch(here, store, cid, [liar.peer_id], size_bytes_max=10**9)
            assert [fault.kind for fault in alone.value.faults] == [kind]
            report = await fetch(here, store, cid, [liar.peer_id, honest.peer_id], size_bytes_max=10**9)
        assert {fault.peer_id for fault in report.faults} <= {liar.peer_id}
        assert set(report.by_peer) == {honest.peer_id}
    assert store.verify(cid) == ()
