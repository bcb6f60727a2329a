"""What convinces those who were not there: light blocks, proofs of values, bundles of both, snapshots of a state.

A changed input may still convince, but of nothing that is not so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pdfedchain.codec import encode
from pdfedchain.errors import InputError
from pdfedchain.light import LightClient, StateAssembly, ValueProof, verify_bundle
from pdfedchain.proving import light_bundle
from pdfedchain.snapshot import take_snapshot
from pdfedchain.store.memory import MemoryStore
from tests.fuzz.target import Target
from tests.pdfedchain.chain_world import Maker, words_genesis

__all__ = ["light_targets"]

_WORDS = (b"a=1", b"@authority1 authority2 authority4 authority5", b"b=2", b"@authority6", b"-b", b"c=3")
_KEYS = (b"a", b"b", b"c", b"none")


class LightWorld:
    """A chain whose authorities changed twice, and a client that knows its genesis."""

    def __init__(self) -> None:
        maker, self.store = Maker.start(words_genesis(4)), MemoryStore()
        self.store.initialise(maker.genesis, maker.position.state)
        for word in _WORDS:
            self.store.commit(*maker.advance(word))
        self.genesis = maker.genesis
        self.now_ms = self.store.light_block(len(_WORDS)).header.time_ms + 1_000
        self.blocks = tuple(encode(self.store.light_block(height)) for height in (2, 4, len(_WORDS)))

    def client(self, *, follow: int) -> LightClient:
        """A client that has followed so many of ``blocks``."""
        client = LightClient.from_genesis(encode(self.genesis), self.genesis.hash)
        for block in self.blocks[:follow]:
            client.follow(block, now_ms=self.now_ms)
        return client

    def follow(self, data: bytes) -> None:
        """A block that a client believes is the chain's."""
        for follow in range(len(self.blocks)):
            try:
                head = self.client(follow=follow).follow(data, now_ms=self.now_ms)
            except InputError:
                continue
            if head.hash != self.store.light_block(head.height).hash:
                raise AssertionError("a block that nobody voted for is believed")

    def values(self, data: bytes) -> None:
        """A value that a client believes is the state's."""
        try:
            shown = self._head_client.values([data], now_ms=self.now_ms)
        except InputError:
            return
        if any(shown.get(key) != self.store.state().get(key) for key in shown.keys):
            raise AssertionError("a false value is believed")

    def bundle(self, data: bytes) -> None:
        """The same for a bundle, from genesis."""
        try:
            shown = verify_bundle(data, self.genesis.hash, now_ms=self.now_ms)
        except InputError:
            return
        block = self.store.light_block(shown.head.height)
        if shown.head.height == len(_WORDS) and any(
            shown.get(key) != self.store.state().get(key) for key in shown.keys
        ):
            raise AssertionError("a false value is believed")
        if shown.head.hash != block.hash:
            raise AssertionError("a block that nobody voted for is believed")

    def snapshot(self) -> tuple[bytes, bytes]:
        """A manifest and its first chunk."""
        snapshot = take_snapshot(self.store)
        return snapshot.manifest(), snapshot.chunk(0)

    def manifest(self, data: bytes) -> None:
        """A manifest that is believed cuts the state as it is."""
        try:
            assembly = StateAssembly(self._head_client.head, data)
        except InputError:
            return
        self._assemble(assembly, self._true_chunk)

    def chunk(self, data: bytes) -> None:
        """Chunks that are believed are the state."""
        assembly = StateAssembly(self._head_client.head, self._true_manifest)
        self._assemble(assembly, data)

    def _assemble(self, assembly: StateAssembly, chunk: bytes) -> None:
        for index in assembly.missing:
            try:
                assembly.add(index, chunk)
            except InputError:
                continue
        if not assembly.missing and assembly.state().root != self.store.state().root:
            raise AssertionError("another state has been put together")

    def prepare(self) -> None:
        """Make what several inputs share."""
        self._head_client = self.client(follow=len(self.blocks))
        self._true_manifest, self._true_chunk = self.snapshot()


def light_targets() -> Iterator[Target]:
    """Targets of `pdfedchain.light`."""
    world = LightWorld()
    world.prepare()
    state = world.store.state()
    proofs = tuple(encode(ValueProof(key, state.get(key), state.prove(key))) for key in _KEYS)
    manifest, chunk = world.snapshot()
    cases: tuple[tuple[str, Callable[[bytes], None], tuple[bytes, ...]], ...] = (
        ("light-block", world.follow, world.blocks),
        ("value-proof", world.values, proofs),
        ("light-bundle", world.bundle, (encode(light_bundle(world.store, _KEYS)),)),
        ("snapshot-manifest", world.manifest, (manifest,)),
        ("snapshot-chunk", world.chunk, (chunk,)),
    )
    for name, one, seeds in cases:
        yield Target(f"verify/{name}", one, seeds)
