"""The window of private ballots on an accepted checkpoint: seal, then open, then closed.

Each part lasts until its deadline has passed in blocks *and* in chain time, counted from the block in which the part
began. So the start of a part is state, written by the block that begins it.
"""

from __future__ import annotations

from dataclasses import replace

from pdfedchain.application import BlockContext
from pdfedchain.ids import Cid
from pdfedchain.limits import PRIVATE_WINDOWS_MAX
from pdfedchain.state.draft import Draft
from pdfedchain.state.events import PrivateWindowChanged
from pdfedchain.types.ledger import PrivateBallots, PrivateWindow

__all__ = ["advance_private_ballots", "open_private_ballots"]


def open_private_ballots(draft: Draft, context: BlockContext, checkpoint: Cid) -> None:
    """Open the window; when too many are open already, the oldest one closes early."""
    index = draft.index
    if len(index.private) >= PRIVATE_WINDOWS_MAX:
        _close(draft, index.private[0])
    index = draft.index
    draft.set_index(replace(index, private=(*index.private, checkpoint)))
    _turn(draft, context, checkpoint, PrivateWindow.COMMIT)


def advance_private_ballots(draft: Draft, context: BlockContext) -> None:
    """Turn or close every window whose deadline has passed."""
    parameters = draft.parameters
    for checkpoint in draft.index.private:
        ballots = draft.private_ballots(checkpoint)
        assert ballots is not None, "the index lists open windows"
        commit = ballots.window is PrivateWindow.COMMIT
        deadline = parameters.private_commit if commit else parameters.private_reveal
        blocks, time_ms = context.height - ballots.since_height, context.time_ms - ballots.since_time_ms
        if not deadline.has_passed(blocks, time_ms):
            continue
        if commit:
            _turn(draft, context, checkpoint, PrivateWindow.REVEAL)
        else:
            _close(draft, checkpoint)


def _turn(draft: Draft, context: BlockContext, checkpoint: Cid, window: PrivateWindow) -> None:
    draft.set_private_ballots(checkpoint, PrivateBallots(window, context.height, context.time_ms))
    draft.emit(PrivateWindowChanged(checkpoint, window))


def _close(draft: Draft, checkpoint: Cid) -> None:
    draft.close_private_ballots(checkpoint)
    draft.emit(PrivateWindowChanged(checkpoint, PrivateWindow.CLOSED))
