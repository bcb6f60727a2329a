"""A snapshot: the state after one block in chunks, each of which is checked on arrival against the block's header."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pdfedchain.codec import canonical
from pdfedchain.crypto.parts import TreePart
from pdfedchain.ids import Hash, Height, Size
from pdfedchain.limits import SNAPSHOT_CHUNK_KEYS_MAX, SNAPSHOT_CHUNKS_MAX, STATE_VALUE_SIZE_BYTES_MAX
from pdfedchain.types.light import StateKey

__all__ = ["SnapshotChunk", "SnapshotManifest"]


@canonical("pdfed/snapshot-manifest/v1")
@dataclass(frozen=True, slots=True)
class SnapshotManifest:
    """What a snapshot consists of.

    Attributes:
        height, block: the block after which the state is like this.
        parts: one chunk holds one of them; together they have the header's state root, so a manifest needs no trust.
    """

    height: Height
    block: Hash
    parts: Annotated[tuple[TreePart, ...], Size(SNAPSHOT_CHUNKS_MAX, low=1)]


@canonical("pdfed/snapshot-chunk/v1")
@dataclass(frozen=True, slots=True)
class SnapshotChunk:
    """Keys and values of one part, in order of the keys' paths; both of equal length."""

    keys: Annotated[tuple[StateKey, ...], Size(SNAPSHOT_CHUNK_KEYS_MAX)]
    values: Annotated[
        tuple[Annotated[bytes, Size(STATE_VALUE_SIZE_BYTES_MAX)], ...],
        Size(SNAPSHOT_CHUNK_KEYS_MAX),
    ]

    def __post_init__(self) -> None:
        if len(self.keys) != len(self.values):
            raise ValueError(f"{len(self.keys)} keys and {len(self.values)} values")
