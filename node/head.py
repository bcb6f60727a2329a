"""The newest final state of this node, and a way to wait for the next one.

Duties are level-triggered: they look at the whole of what the head says and do what is missing, instead of reacting
to each event once. A lost message, a crash between two steps or a block that was synced rather than voted on then
needs no case of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import trio

from pdfedchain.codec import decode
from pdfedchain.ids import Cid
from pdfedchain.limits import STATE_VALUE_SIZE_BYTES_MAX
from pdfedchain.state.view import CHECKPOINT_PREFIX, LedgerView, ballot_prefix
from pdfedchain.store.interface import Store
from pdfedchain.types.ballot import Ballot, BallotKind
from pdfedchain.types.checkpoint import Checkpoint

__all__ = ["Head"]


class Head:
    """Read access to the last committed block's state."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changed = trio.Event()
        self.refresh()

    def refresh(self) -> None:
        """Take over what the store has committed, and wake everybody who waits."""
        self.height = self._store.height()
        self.view = LedgerView(self._store.state())
        self.time_ms = self._store.light_block(self.height).header.time_ms if self.height else 0
        self._changed.set()
        self._changed = trio.Event()

    async def wait_change(self, timeout_s: float) -> None:
        """Return when a block was committed after the call, or when the time is over."""
        changed = self._changed
        with trio.move_on_after(timeout_s):
            await changed.wait()

    def checkpoints(self) -> Iterator[Checkpoint]:
        """Every checkpoint ever submitted, in order of identifier."""
        for _key, value in self._store.state_items(CHECKPOINT_PREFIX):
            yield decode(Checkpoint, value, size_bytes_max=STATE_VALUE_SIZE_BYTES_MAX)

    def ballots(self, checkpoint: Cid, kind: BallotKind) -> Iterator[Ballot]:
        """Ballots of one kind on a checkpoint, sealed and revealed, in order of voter."""
        for _key, value in self._store.state_items(ballot_prefix(checkpoint, kind)):
            yield decode(Ballot, value, size_bytes_max=STATE_VALUE_SIZE_BYTES_MAX)
