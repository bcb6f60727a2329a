"""The window of private ballots on an accepted checkpoint: seal, then open, then closed.

Each part lasts until its deadline has passed in blocks *and* in chain time, counted from the block in which the part
began. So the start of a part is state, written by the block that begins it.

When a window closes its ballots are counted: voters who opened one are paid, deposits of ballots that stayed sealed are
burned, and the checkpoint is quarantined or confirmed.
"""

from __future__ import annotations

from dataclasses import replace

from pdfedchain.application import BlockContext
from pdfedchain.ids import Cid
from pdfedchain.limits import PRIVATE_WINDOWS_MAX
from pdfedchain.state import quarantine
from pdfedchain.state.bonds import burn_deposit, return_deposit
from pdfedchain.state.draft import Draft
from pdfedchain.state.events import PrivateWindowChanged
from pdfedchain.state.rewards import confirm, pay_voters
from pdfedchain.types.ballot import Ballot, BallotKind
from pdfedchain.types.ledger import PrivateBallots, PrivateWindow

__all__ = ["advance_private_ballots", "open_private_ballots"]


def open_private_ballots(draft: Draft, context: BlockContext, checkpoint: Cid) -> None:
    """Open the window; when too many are open already, the oldest one closes early."""
    index = draft.index
    if len(index.private) >= PRIVATE_WINDOWS_MAX:
        _close(draft, context, index.private[0], too_late=False)
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
            _close(draft, context, checkpoint, too_late=True)


def _turn(draft: Draft, context: BlockContext, checkpoint: Cid, window: PrivateWindow) -> None:
    open_already = draft.private_ballots(checkpoint)
    voters = () if open_already is None else open_already.voters
    draft.set_private_ballots(checkpoint, PrivateBallots(window, context.height, context.time_ms, voters))
    draft.emit(PrivateWindowChanged(checkpoint, window))


def _close(draft: Draft, context: BlockContext, cid: Cid, *, too_late: bool) -> None:
    """Count the ballots of a window and close it.

    Args:
        too_late: whether voters had all the time they were promised; if not, nobody loses a deposit.
    """
    window = draft.private_ballots(cid)
    checkpoint = draft.checkpoint(cid)
    assert window is not None, "the index lists open windows"
    assert checkpoint is not None, "a checkpoint is never deleted"
    task = draft.task(checkpoint.task)
    assert task is not None, "a checkpoint's task is never deleted"
    revealed: list[Ballot] = []
    for voter in window.voters:
        ballot = draft.ballot(cid, BallotKind.PRIVATE, voter)
        assert ballot is not None, "a listed voter has sealed a ballot"
        if ballot.report is not None:
            revealed.append(ballot)
        elif ballot.deposit:
            draft.set_ballot(burn_deposit(draft, ballot) if too_late else return_deposit(draft, ballot))
    draft.close_private_ballots(cid)
    draft.emit(PrivateWindowChanged(cid, PrivateWindow.CLOSED))
    pay_voters(draft, checkpoint, [ballot.voter for ballot in revealed])
    if quarantine.is_due(revealed, task, draft.parameters.quarantine_voters_min):
        quarantine.put_under(draft, context, checkpoint, revealed)
    else:
        confirm(draft, checkpoint)
