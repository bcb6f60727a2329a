"""What nodes say to each other besides consensus messages (`pdfedchain.consensus.messages`) and weights.

============================  =========================================================================
gossip ``/pdfed/<chain>/tx``  one encoded transaction, at most `limits.TRANSACTION_SIZE_BYTES_MAX`
gossip ``.../final``          an `Announcement` of a final block; those who lack it pull it
stream ``/pdfed/blocks/1``    a `BlockRequest`; answered by up to ``count`` encoded `FinalBlock` frames in
                              order of height and one empty frame
============================  =========================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from pdfedchain.codec import canonical
from pdfedchain.ids import Hash, Height, Range

__all__ = ["BLOCKS_PER_REQUEST_MAX", "BLOCKS_PROTOCOL", "Announcement", "BlockRequest", "final_topic", "tx_topic"]

BLOCKS_PROTOCOL: Final = "/pdfed/blocks/1"

#: One request is answered from memory to stream within a second or two.
BLOCKS_PER_REQUEST_MAX: Final = 64

ANNOUNCEMENT_SIZE_BYTES_MAX: Final = 256
BLOCK_REQUEST_SIZE_BYTES_MAX: Final = 128


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


def tx_topic(chain_id: str) -> str:
    """Gossip topic of transactions."""
    return f"/pdfed/{chain_id}/tx"


def final_topic(chain_id: str) -> str:
    """Gossip topic of announced final blocks."""
    return f"/pdfed/{chain_id}/final"
