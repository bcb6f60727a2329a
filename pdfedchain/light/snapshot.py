"""Putting a state together from a snapshot's chunks, none of which is trusted.

The manifest is checked against the state root of the client's head, each chunk against the manifest when it arrives:
what is wrong is known at once, with the one that sent it, and chunks may come from several peers in any order.
"""

from __future__ import annotations

from pdfedchain.codec import decode
from pdfedchain.crypto import EMPTY_ROOT, StateTree
from pdfedchain.crypto.parts import check_cut, check_part
from pdfedchain.errors import InvalidProof
from pdfedchain.light.client import Head
from pdfedchain.light.errors import LightError
from pdfedchain.limits import SNAPSHOT_CHUNK_SIZE_BYTES_MAX, SNAPSHOT_MANIFEST_SIZE_BYTES_MAX
from pdfedchain.types.snapshot import SnapshotChunk, SnapshotManifest

__all__ = ["BadSnapshot", "StateAssembly"]


class BadSnapshot(LightError):
    """A manifest or a chunk that is not of the trusted header's state."""


class StateAssembly:
    """A state that is being put together.

    Attributes:
        manifest: what it consists of.
    """

    def __init__(self, head: Head, manifest: bytes) -> None:
        """
        Args:
            head: what the client trusts; the snapshot must be of this block.
            manifest: an encoded `SnapshotManifest`.

        Raises:
            DecodeError: it is no manifest.
            BadSnapshot: it is of another block, or its parts do not have the state root.
        """
        self.manifest = decode(SnapshotManifest, manifest, size_bytes_max=SNAPSHOT_MANIFEST_SIZE_BYTES_MAX)
        if (self.manifest.height, self.manifest.block) != (head.height, head.hash) or head.state_root is None:
            raise BadSnapshot(
                f"a snapshot of block {self.manifest.height} {self.manifest.block.hex()};"
                f" block {head.height} {head.hash.hex()} is trusted"
            )
        try:
            self._starts = check_cut(head.state_root, self.manifest.parts)
        except InvalidProof as error:
            raise BadSnapshot(f"the manifest for block {head.height}: {error}") from error
        self._root = head.state_root
        self._values: dict[bytes, bytes] = {}
        self._missing = dict.fromkeys(i for i, part in enumerate(self.manifest.parts) if part.root != EMPTY_ROOT)

    @property
    def missing(self) -> tuple[int, ...]:
        """Numbers of the chunks that have not come yet, in order. Parts without keys need none."""
        return tuple(self._missing)

    def add(self, index: int, chunk: bytes) -> None:
        """Take in chunk number ``index``, an encoded `SnapshotChunk`; one that has come already changes nothing.

        Raises:
            DecodeError: it is no chunk.
            BadSnapshot: it does not hold the keys and values of its part.
        """
        opened = decode(SnapshotChunk, chunk, size_bytes_max=SNAPSHOT_CHUNK_SIZE_BYTES_MAX)
        items = tuple(zip(opened.keys, opened.values, strict=True))
        try:
            check_part(self.manifest.parts[index], self._starts[index], items)
        except InvalidProof as error:
            raise BadSnapshot(f"chunk {index} for block {self.manifest.height}: {error}") from error
        self._values.update(items)
        self._missing.pop(index, None)

    def state(self) -> StateTree:
        """The whole state, once nothing is missing."""
        assert not self._missing, "all chunks are here"
        tree = StateTree().update(self._values)
        assert tree.root == self._root, "parts that were checked one by one have the root of the whole"
        return tree
