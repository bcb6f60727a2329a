"""The same transfer over real connections: TCP, noise, yamux."""

from __future__ import annotations

import hashlib
from pathlib import Path

import trio

from node.host.libp2p_host import open_host
from node.weights.fetch import fetch
from node.weights.serve import WeightsServer
from node.weights.store import WeightsStore
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
