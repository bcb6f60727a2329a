"""Targets of the light client and of joining by a snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from node.state_sync import SnapshotServer
from node.wire import SnapshotRequest
from pdfedchain.codec import encode
from pdfedchain.errors import DecodeError
from pdfedchain.light import LightClient, LightError, StateAssembly, verify_bundle
from pdfedchain.proving import light_bundle
from pdfedchain.snapshot import take_snapshot
from pdfedchain.store.memory import MemoryStore
from tests.fuzz.target import Target
from tests.fuzz.targets_node import StreamTarget, framed
from tests.pdfedchain.chain_world import Maker, words_genesis

__all__ = ["light_targets"]

_NOW_MS = 10**15


def light_targets() -> Iterator[Target]:
    """Every reader of what strangers prove."""
    maker, store = Maker.start(words_genesis(4)), MemoryStore()
    genesis = maker.genesis
    store.initialise(genesis, maker.position.state)
    for word in (b"a=1", b"@authority1 authority5", b"b=2"):
        store.commit(*maker.advance(word))
    snapshot = take_snapshot(store)
    server = SnapshotServer(store, interval=1)
    server.committed()

    def follower(blocks: tuple[bytes, ...]) -> LightClient:
        client = LightClient.from_genesis(encode(genesis), genesis.hash)
        for block in blocks:
            client.follow(block, now_ms=_NOW_MS)
        return client

    trusted = follower(snapshot.blocks())

    def bundle(data: bytes) -> None:
        _refused(lambda: verify_bundle(data, genesis.hash, now_ms=_NOW_MS))

    def block(data: bytes) -> None:
        _refused(lambda: follower((data,)))

    def manifest(data: bytes) -> None:
        _refused(lambda: StateAssembly(trusted.head, data))

    def chunk(data: bytes) -> None:
        _refused(lambda: StateAssembly(trusted.head, snapshot.manifest()).add(0, data))

    asked = (SnapshotRequest(None, 0, 1), SnapshotRequest(3, 0, 16), SnapshotRequest(2, 2**40, 1))
    yield Target("parse/light-bundle", bundle, (encode(light_bundle(store, [b"a", b"no"])),))
    yield Target("parse/light-block", block, snapshot.blocks())
    yield Target("parse/snapshot-manifest", manifest, (snapshot.manifest(),))
    yield Target("parse/snapshot-chunk", chunk, (snapshot.chunk(0),))
    yield Target("handle/snapshot-requests", StreamTarget(server.handle), (framed(*map(encode, asked)), b""))


def _refused(use: Callable[[], object]) -> None:
    try:
        use()
    except (DecodeError, LightError):
        return
