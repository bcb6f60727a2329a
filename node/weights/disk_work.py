"""What a fetch does in threads: reading, hashing and writing blocks."""

from __future__ import annotations

from typing import Final

from node.weights.cid import Block
from node.weights.errors import BlockDamaged, BlockMissing
from node.weights.store import WeightsStore
from node.weights.tree import Expected
from pdfedchain.ids import Cid

__all__ = ["admit", "look_up"]

#: Blocks read and hashed in one visit to a thread, before it comes back.
_LOOK_UP_BLOCKS: Final = 8


def look_up(store: WeightsStore, batch: tuple[Expected, ...]) -> list[tuple[Expected, Block | None]]:
    """Read and hash some of a batch, from its start; what is damaged counts as absent. Runs in a thread."""
    results: list[tuple[Expected, Block | None]] = []
    blocks = 0
    for expected in batch:
        try:
            results.append((expected, store.get_block(expected.cid)))
            blocks += 1
        except (BlockMissing, BlockDamaged):
            results.append((expected, None))
        if blocks == _LOOK_UP_BLOCKS:
            break
    return results


def admit(store: WeightsStore, cid: Cid, data: bytes) -> Block:
    """Check and store a block, not yet durably. Runs in a thread.

    Raises:
        BlockMismatch: the block is not what it is called.
    """
    block = Block.check(cid, data)
    store.put_fetched(block)
    return block
