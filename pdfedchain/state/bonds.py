"""What is locked, and what becomes of it.

*The bond of a submission* is locked until the settlement, then

======================================================  ==================
accepted, also if it is quarantined later               returned
``disagreement``                                        returned
``malformed``, ``wrong_architecture``, ``non_finite``,
``digest_mismatch``, ``diverged``                       to the task's pool
``unavailable``                                         to the task's pool
``fid_ceiling``, ``memorisation_ceiling``               to the task's pool
======================================================  ==================

What an author can find out alone before submitting costs the bond, and it pays for the work of those who had to find it
out; what only others can bring about costs nothing. *The deposit of a sealed ballot* is returned when the ballot is
opened, or when there was no chance to open it. Otherwise it is burned: if anybody gained from a ballot that stays
sealed, somebody would keep its opening out of blocks.

A settlement may come before every elector has opened its score. Those who have not get `LedgerParameters.late_reveal`
for it; such a late score is recorded and changes nothing but the deposit.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pdfedchain.application import BlockContext
from pdfedchain.ids import Address, Cid
from pdfedchain.limits import UNOPENED_MAX
from pdfedchain.state.accounts import add_to_pool, burn, credit, debit
from pdfedchain.state.draft import Draft
from pdfedchain.state.events import BondSettled, DepositBurned
from pdfedchain.types.ballot import Ballot, BallotKind
from pdfedchain.types.checkpoint import Checkpoint, RejectionReason
from pdfedchain.types.ledger import Unopened

__all__ = [
    "advance_unopened",
    "await_openings",
    "burn_deposit",
    "lock_bond",
    "lock_deposit",
    "note_opened",
    "return_deposit",
    "settle_bond",
]

#: Outcomes that no author can foresee; ``None`` is acceptance.
_BOND_RETURNED: Final = (None, RejectionReason.DISAGREEMENT)


def lock_bond(draft: Draft, author: Address) -> int:
    """Lock a submission's bond and tell how much it is.

    Raises:
        InvalidTransaction: the author does not have it.
    """
    amount = draft.parameters.economy.submission_bond
    debit(draft, author, amount, "bond")
    return amount


def settle_bond(draft: Draft, checkpoint: Checkpoint) -> Checkpoint:
    """Return the bond of a checkpoint that is settled now, or put it into the pool of the task."""
    if checkpoint.bond:
        returned = checkpoint.reason in _BOND_RETURNED
        if returned:
            credit(draft, checkpoint.author, checkpoint.bond)
        else:
            add_to_pool(draft, checkpoint.task, checkpoint.bond)
        draft.emit(BondSettled(checkpoint.weights, checkpoint.author, checkpoint.bond, returned))
    return replace(checkpoint, bond=0)


def lock_deposit(draft: Draft, voter: Address, kind: BallotKind) -> int:
    """Lock a sealed ballot's deposit and tell how much it is.

    Raises:
        InvalidTransaction: the voter does not have it.
    """
    economy = draft.parameters.economy
    amount = economy.score_deposit if kind is BallotKind.SCORE else economy.private_deposit
    debit(draft, voter, amount, "deposit")
    return amount


def return_deposit(draft: Draft, ballot: Ballot) -> Ballot:
    """Give a deposit back; the ballot is still to be written."""
    credit(draft, ballot.voter, ballot.deposit)
    return replace(ballot, deposit=0)


def burn_deposit(draft: Draft, ballot: Ballot) -> Ballot:
    """Burn a deposit; the ballot is still to be written."""
    if ballot.deposit:
        burn(draft, ballot.deposit)
        draft.emit(DepositBurned(ballot.checkpoint, ballot.kind, ballot.voter, ballot.deposit))
    return replace(ballot, deposit=0)


def await_openings(draft: Draft, context: BlockContext, checkpoint: Checkpoint) -> None:
    """At a settlement: let those open their scores who have not yet, or give them their deposits where nobody could."""
    waiting = [ballot for ballot in draft.score_ballots(checkpoint) if ballot.deposit]
    if not waiting:
        return
    if checkpoint.reveal_height is None:
        for ballot in waiting:
            draft.set_ballot(return_deposit(draft, ballot))
        return
    if len(draft.index.unopened) >= UNOPENED_MAX:
        _end(draft, draft.index.unopened[0], too_late=False)
    voters = tuple(ballot.voter for ballot in waiting)
    draft.set_unopened(checkpoint.weights, Unopened(voters, context.height, context.time_ms))


def note_opened(draft: Draft, checkpoint: Cid, voter: Address) -> None:
    """One of those waited for has opened its score."""
    unopened = draft.unopened(checkpoint)
    assert unopened is not None, "only those listed open a score after the settlement"
    voters = tuple(other for other in unopened.voters if other != voter)
    draft.set_unopened(checkpoint, replace(unopened, voters=voters) if voters else None)


def advance_unopened(draft: Draft, context: BlockContext) -> None:
    """Burn the deposits of those who did not open their scores in time."""
    index = draft.index
    if not index.unopened:
        return
    deadline = draft.parameters.late_reveal
    for checkpoint in index.unopened:
        unopened = draft.unopened(checkpoint)
        assert unopened is not None, "the index lists what is waited for"
        if deadline.has_passed(context.height - unopened.since_height, context.time_ms - unopened.since_time_ms):
            _end(draft, checkpoint, too_late=True)


def _end(draft: Draft, checkpoint: Cid, *, too_late: bool) -> None:
    unopened = draft.unopened(checkpoint)
    assert unopened is not None, "the index lists what is waited for"
    for voter in unopened.voters:
        ballot = draft.ballot(checkpoint, BallotKind.SCORE, voter)
        assert ballot is not None, "a sealed ballot stays until the checkpoint is offered again"
        draft.set_ballot(burn_deposit(draft, ballot) if too_late else return_deposit(draft, ballot))
    draft.set_unopened(checkpoint, None)
