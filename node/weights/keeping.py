"""What of a store is needed, and deleting the rest.

Nothing counts references while blocks come and go: a count kept on disk can be wrong after a crash, and then weights
are lost or stay for ever. Counts are derived instead, by walking every folder that is to be kept (chunks are not
read), and what none of them reaches is deleted::

    counts = reference_counts(store, folders)        # how many folders need each block
    collect(store, folders)                          # delete what no folder and no pin needs

Blocks written within the last hour stay, needed or not: they may belong to a fetch or to a folder being added that
nothing names yet. Collecting may go on while a node runs: a block that is deleted although a running transfer had
found it here is missing from then on, and is fetched again when it is met.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from node.weights.store import WeightsStore
from pdfedchain.ids import Cid

__all__ = ["GRACE_S", "Collected", "Held", "collect", "held", "reference_counts"]

#: Younger blocks are never collected.
GRACE_S: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class Collected:
    """What `collect` did, or would do.

    Attributes:
        blocks, size_bytes: deleted.
        kept_blocks, kept_bytes: needed by a folder or a pin.
        young_blocks: not needed, but written within the grace period.
    """

    blocks: int
    size_bytes: int
    kept_blocks: int
    kept_bytes: int
    young_blocks: int


@dataclass(frozen=True, slots=True)
class Held:
    """How much of one folder is here.

    Attributes:
        complete: all of it.
        size_bytes: of its blocks that are here, each counted once.
        own_bytes: of these, what no other of the folders needs: the room it would leave.
    """

    complete: bool
    size_bytes: int
    own_bytes: int


def reference_counts(store: WeightsStore, folders: Iterable[Cid]) -> Counter[Cid]:
    """How many of the folders need each block, present or not."""
    counts: Counter[Cid] = Counter()
    for folder in frozenset(folders):
        counts.update(store.reachable(folder))
    return counts


def held(store: WeightsStore, folders: Iterable[Cid]) -> dict[Cid, Held]:
    """How much of each folder is here, and what it shares with the others."""
    chosen = tuple(dict.fromkeys(folders))
    counts = reference_counts(store, chosen)
    sizes_bytes = {block.cid: block.size_bytes for block in store.stored()}
    found = {}
    for folder in chosen:
        here = [cid for cid in store.reachable(folder) if cid in sizes_bytes]
        found[folder] = Held(
            store.complete(folder),
            sum(sizes_bytes[cid] for cid in here),
            sum(sizes_bytes[cid] for cid in here if counts[cid] == 1),
        )
    return found


def collect(
    store: WeightsStore, folders: Iterable[Cid], *, grace_s: float = GRACE_S, dry_run: bool = False
) -> Collected:
    """Delete every block that no pin and none of the folders needs.

    Args:
        folders: what has to stay, in addition to the pins.
        grace_s: blocks younger than this stay.
        dry_run: count, and delete nothing.
    """
    needed = reference_counts(store, (*folders, *store.pins.all()))
    youngest = time.time() - grace_s
    blocks = size_bytes = kept_blocks = kept_bytes = young_blocks = 0
    for block in store.stored():
        if block.cid in needed:
            kept_blocks += 1
            kept_bytes += block.size_bytes
        elif block.written_at > youngest:
            young_blocks += 1
        elif dry_run or store.delete_block(block.cid):
            blocks += 1
            size_bytes += block.size_bytes
    return Collected(blocks, size_bytes, kept_blocks, kept_bytes, young_blocks)
