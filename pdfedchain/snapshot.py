"""Snapshots of a store's state, and stores that begin with one.

::

    snapshot = take_snapshot(store)                      # O(1): the state is an immutable tree
    snapshot.blocks(), snapshot.manifest(), snapshot.chunk(i)   # bytes to hand to anybody

    client = LightClient.from_genesis(genesis, trusted)  # follow the blocks,
    assembly = StateAssembly(client.head, manifest)      # check and collect the chunks,
    restore(store, genesis, blocks, client, assembly)    # and begin the chain there, wholly or not at all

A snapshot is no copy and no file: it holds on to the tree, which later blocks do not change. Whoever keeps one keeps
in memory what later blocks replace.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from pdfedchain.codec import encode
from pdfedchain.crypto import StateTree
from pdfedchain.crypto.parts import CutTree
from pdfedchain.errors import NotFound
from pdfedchain.light import LightClient
from pdfedchain.light.snapshot import StateAssembly
from pdfedchain.limits import SNAPSHOT_CHUNK_TARGET_SIZE_BYTES
from pdfedchain.store.interface import Store
from pdfedchain.types.genesis import Genesis
from pdfedchain.types.light import LightBlock
from pdfedchain.types.snapshot import SnapshotChunk, SnapshotManifest

__all__ = ["Snapshot", "restore", "take_snapshot"]


class Snapshot:
    """The state after one block, in chunks. Make one with `take_snapshot`.

    Attributes:
        block: the block after which the state is like this.
    """

    def __init__(self, block: LightBlock, handovers: Sequence[LightBlock], state: StateTree) -> None:
        self.block = block
        self._handovers = tuple(handovers)
        self._state = state

    @property
    def height(self) -> int:
        """Of the block."""
        return self.block.header.height

    def blocks(self) -> tuple[bytes, ...]:
        """Encoded `LightBlock` for a light client to follow from genesis: those that hand over, then the block."""
        return tuple(encode(block) for block in (*self._handovers, self.block))

    def manifest(self) -> bytes:
        """An encoded `SnapshotManifest`. The first call walks the whole state; later ones do not."""
        return encode(SnapshotManifest(self.height, self.block.hash, self._cut.parts))

    def chunks(self) -> int:
        """How many chunks there are, those without keys included."""
        return len(self._cut.parts)

    def chunk(self, index: int) -> bytes:
        """An encoded `SnapshotChunk`.

        Raises:
            NotFound: there is none of that number.
        """
        if not 0 <= index < self.chunks():
            raise NotFound(f"no chunk {index}; the snapshot of block {self.height} has {self.chunks()}")
        items = tuple(self._cut.items(index))
        return encode(SnapshotChunk(tuple(key for key, _ in items), tuple(value for _, value in items)))

    @cached_property
    def _cut(self) -> CutTree:
        return CutTree(self._state, size_bytes_max=SNAPSHOT_CHUNK_TARGET_SIZE_BYTES)


def take_snapshot(store: Store) -> Snapshot:
    """A snapshot of the state after the last block.

    Raises:
        NotFound: there is no block yet.
    """
    height = store.height()
    if height == 0:
        raise NotFound("there is no block yet, hence no certified state")
    block, state = store.light_block(height), store.state()
    if block.header.state_root != state.root:
        raise NotFound("a block was committed meanwhile", hint="try again")
    return Snapshot(block, tuple(store.handovers(to_height=height - 1)), state)


def restore(
    store: Store, genesis: Genesis, followed: Sequence[LightBlock], client: LightClient, assembly: StateAssembly
) -> None:
    """Begin a chain in an empty store after the client's head. Wholly, durable on return, or not at all.

    Args:
        followed: the blocks that the client has followed from genesis on, in order.
        assembly: of the head's state, complete.

    Raises:
        StateError: the store is not empty, or cannot be written; it is as before.
    """
    last = client.head.block
    assert last is not None, "a snapshot is of a block that was followed"
    handovers = [block for block in followed if block.is_handover and block.header.height < client.head.height]
    store.restore(genesis, handovers, last, assembly.state(), client.head.next_authorities)
