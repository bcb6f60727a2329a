"""What nodes say to each other besides consensus messages (`pdfedchain.consensus.messages`) and weights.

============================  =========================================================================
gossip ``/pdfed/.../tx``      a `TransactionBatch`; see `node.transaction_gossip`
gossip ``/pdfed/.../final``   an `Announcement` of a final block; those who lack it pull it
stream ``/pdfed/blocks/1``    a `BlockRequest`; answered by up to ``count`` encoded `FinalBlock` frames in
                              order of height and one empty frame
stream ``/pdfed/snapshot/1``  a `SnapshotRequest`. Without a height: answered by a `SnapshotManifest` frame, the
                              `LightBlock` frames that lead from genesis to its block, and one empty frame; by the empty
                              frame alone where there is no snapshot. With a height: by ``count`` `SnapshotChunk`
                              frames, fewer at the end or where that snapshot is gone, and one empty frame
stream ``/pdfed/pending/1``   a `PendingRequest`. Without names: answered by `PendingNames`. With names: by one frame, a
                              `TransactionBatch` or empty; see `node.reconciliation`
============================  =========================================================================

Topics carry the hash of the genesis: ``/pdfed/<chain id>/<hash>/tx``. Two networks of one name share no gossip.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from pdfedchain.codec import canonical
from pdfedchain.ids import Hash, Height, Range, Size, UInt
from pdfedchain.types.block import TransactionBytes

__all__ = [
    "BATCH_SIZE_BYTES_MAX",
    "BATCH_TRANSACTIONS_MAX",
    "BLOCKS_PER_REQUEST_MAX",
    "BLOCKS_PROTOCOL",
    "CHUNKS_PER_REQUEST_MAX",
    "PENDING_NAME_SIZE_BYTES",
    "PENDING_PROTOCOL",
    "SNAPSHOT_PROTOCOL",
    "Announcement",
    "BlockRequest",
    "PendingNames",
    "PendingRequest",
    "SnapshotRequest",
    "TransactionBatch",
    "final_topic",
    "tx_topic",
]

BLOCKS_PROTOCOL: Final = "/pdfed/blocks/1"
SNAPSHOT_PROTOCOL: Final = "/pdfed/snapshot/1"
PENDING_PROTOCOL: Final = "/pdfed/pending/1"

#: One request is answered from memory to stream within a second or two.
BLOCKS_PER_REQUEST_MAX: Final = 64
CHUNKS_PER_REQUEST_MAX: Final = 16

#: Transactions of one gossip message, and their bytes unless it is a single one: verified in some 15 ms, during which
#: nothing else happens.
BATCH_TRANSACTIONS_MAX: Final = 128
BATCH_SIZE_BYTES_MAX: Final = 131_072

ANNOUNCEMENT_SIZE_BYTES_MAX: Final = 256
BLOCK_REQUEST_SIZE_BYTES_MAX: Final = 128
SNAPSHOT_REQUEST_SIZE_BYTES_MAX: Final = 128

#: A name is half of a hash: nobody finds a second transaction of the same name.
PENDING_NAME_SIZE_BYTES: Final = 16
PENDING_NAMES_MAX: Final = 16_384
PENDING_NAMES_SIZE_BYTES_MAX: Final = PENDING_NAMES_MAX * 20 + 64
PENDING_REQUEST_SIZE_BYTES_MAX: Final = BATCH_TRANSACTIONS_MAX * 20 + 64


@canonical("pdfed/transaction-batch/v1")
@dataclass(frozen=True, slots=True)
class TransactionBatch:
    """Encoded transactions, each by itself as good as any."""

    transactions: Annotated[tuple[TransactionBytes, ...], Size(BATCH_TRANSACTIONS_MAX, low=1)]


@canonical("pdfed/announcement/v1")
@dataclass(frozen=True, slots=True)
class Announcement:
    """The sender has this block as final."""

    height: Height
    block: Hash


@canonical("pdfed/block-request/v1")
@dataclass(frozen=True, slots=True)
class BlockRequest:
    """Asks for final blocks from a height on."""

    from_height: Height
    count: Annotated[int, Range(1, BLOCKS_PER_REQUEST_MAX)]


@canonical("pdfed/snapshot-request/v1")
@dataclass(frozen=True, slots=True)
class SnapshotRequest:
    """Asks what there is (``height`` is ``None``), or for chunks of the snapshot of a height from ``first`` on."""

    height: Height | None
    first: UInt
    count: Annotated[int, Range(1, CHUNKS_PER_REQUEST_MAX)]


PendingName = Annotated[bytes, Size.exactly(PENDING_NAME_SIZE_BYTES)]


@canonical("pdfed/pending-request/v1")
@dataclass(frozen=True, slots=True)
class PendingRequest:
    """Asks which transactions wait (without names), or for these."""

    names: Annotated[tuple[PendingName, ...], Size(BATCH_TRANSACTIONS_MAX)]


@canonical("pdfed/pending-names/v1")
@dataclass(frozen=True, slots=True)
class PendingNames:
    """What waits: the first bytes of each transaction's `node.mempool.transaction_hash`."""

    names: Annotated[tuple[PendingName, ...], Size(PENDING_NAMES_MAX)]


def tx_topic(chain_id: str, genesis: Hash) -> str:
    """Gossip topic of transactions."""
    return f"/pdfed/{chain_id}/{genesis.hex()}/tx"


def final_topic(chain_id: str, genesis: Hash) -> str:
    """Gossip topic of announced final blocks."""
    return f"/pdfed/{chain_id}/{genesis.hex()}/final"
