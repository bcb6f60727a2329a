"""Sealing and opening ballots, of both kinds.

A score ballot is the electorate's, while the checkpoint is in scoring: sealed until the deadline, opened from
`Checkpoint.reveal_height` on, which is the first height at which a quorum of commitments is final. A private ballot is
a participant's, on an accepted checkpoint, in the two parts of its window. One ballot per voter, checkpoint and kind:
that, and not a nonce, keeps a ballot transaction from being executed twice.

Once a checkpoint is settled, those electors who have not opened their scores may still do so for a while: it returns
their deposits and changes nothing else (`pdfedchain.state.bonds`).

A submission offered again after a disagreement begins with no ballots, and a commitment names the submission that it is
for: those of an earlier attempt are refused, so a replayed one keeps no elector from sealing another report.
"""

from __future__ import annotations

from dataclasses import replace

from pdfedchain.application import BlockContext
from pdfedchain.errors import InvalidTransaction
from pdfedchain.ids import Address, Cid, cid_text
from pdfedchain.limits import PRIVATE_VOTERS_MAX
from pdfedchain.state.bonds import lock_deposit, note_opened, return_deposit
from pdfedchain.state.checkpoints import check_attempt
from pdfedchain.state.draft import Draft
from pdfedchain.state.errors import NotYet
from pdfedchain.state.events import BallotCommitted, BallotRevealed, RevealOpened
from pdfedchain.state.settlements import scoring_closed
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.ballot import Ballot, BallotKind, commitment_of
from pdfedchain.types.checkpoint import NO_DATA_COMMITMENT, Checkpoint, CheckpointStatus
from pdfedchain.types.ledger import PrivateWindow
from pdfedchain.types.score import ScoreReport
from pdfedchain.types.transaction import CommitBallot, RevealBallot

__all__ = ["commit", "reveal"]


def commit(draft: Draft, context: BlockContext, voter: Address, payload: CommitBallot) -> None:
    """Keep a sealed ballot.

    Raises:
        InvalidTransaction: a rule refuses it.
    """
    checkpoint = _checkpoint(draft, payload.checkpoint)
    check_attempt(checkpoint, payload.submitted_height)
    if payload.kind is BallotKind.SCORE:
        _check_scoring(draft, context, voter, checkpoint)
    else:
        _check_private(draft, voter, checkpoint, PrivateWindow.COMMIT)
    if draft.ballot(checkpoint.weights, payload.kind, voter) is not None:
        raise InvalidTransaction("committed", f"{voter.hex()} has sealed this ballot already")
    draft.set_ballot(
        Ballot(
            checkpoint=checkpoint.weights,
            kind=payload.kind,
            voter=voter,
            commitment=payload.commitment,
            committed_height=context.height,
            committed_time_ms=context.time_ms,
            report=None,
            revealed_height=None,
            deposit=lock_deposit(draft, voter, payload.kind),
        )
    )
    draft.emit(BallotCommitted(checkpoint.weights, payload.kind, voter))
    if payload.kind is BallotKind.SCORE:
        _count_commitment(draft, context, checkpoint)
    else:
        _list_voter(draft, checkpoint.weights, voter)


def _count_commitment(draft: Draft, context: BlockContext, checkpoint: Checkpoint) -> None:
    checkpoint = replace(checkpoint, commitments=checkpoint.commitments + 1)
    assert checkpoint.electorate_set_id is not None, "the electorate is fixed before scoring"
    electorate = AuthoritySet(checkpoint.electorate_set_id, checkpoint.electorate)
    if checkpoint.reveal_height is None and electorate.is_quorum(checkpoint.commitments):
        checkpoint = replace(checkpoint, reveal_height=context.height + 1)
        draft.emit(RevealOpened(checkpoint.weights, context.height + 1))
    draft.set_checkpoint(checkpoint)


def _list_voter(draft: Draft, checkpoint: Cid, voter: Address) -> None:
    ballots = draft.private_ballots(checkpoint)
    assert ballots is not None, "the window is open"
    voters = ballots.voters
    if len(voters) >= PRIVATE_VOTERS_MAX:
        # Newcomers in any number keep no earlier participant out: it takes the place of the youngest registration.
        youngest = max(reversed(voters), key=lambda each: _registered(draft, each))
        if _registered(draft, voter) >= _registered(draft, youngest):
            raise InvalidTransaction("voters", f"{PRIVATE_VOTERS_MAX} who registered no later have sealed theirs")
        displaced = draft.ballot(checkpoint, BallotKind.PRIVATE, youngest)
        assert displaced is not None, "a listed voter has sealed a ballot"
        draft.set_ballot(return_deposit(draft, displaced))
        voters = tuple(each for each in voters if each != youngest)
    draft.set_private_ballots(checkpoint, replace(ballots, voters=(*voters, voter)))


def _registered(draft: Draft, voter: Address) -> int:
    participant = draft.participant(voter)
    assert participant is not None, "whoever seals a private ballot is registered"
    return participant.registered_height


def reveal(draft: Draft, context: BlockContext, voter: Address, payload: RevealBallot) -> None:
    """Open a sealed ballot.

    Raises:
        InvalidTransaction: a rule refuses it.
    """
    checkpoint = _checkpoint(draft, payload.checkpoint)
    unopened = draft.unopened(checkpoint.weights) if payload.kind is BallotKind.SCORE else None
    late = unopened is not None and voter in unopened.voters
    if payload.kind is BallotKind.SCORE:
        if not late:
            _check_scoring(draft, context, voter, checkpoint)
        _check_report(draft, checkpoint, payload)
        if checkpoint.reveal_height is None or context.height < checkpoint.reveal_height:
            raise NotYet("sealed", "a quorum of commitments is not final yet")
    else:
        _check_private(draft, voter, checkpoint, PrivateWindow.REVEAL)
        if isinstance(payload.report, ScoreReport) and payload.report != payload.report.coarse():
            raise InvalidTransaction("report", "a private report must be rounded (`ScoreReport.coarse`)")
    ballot = draft.ballot(checkpoint.weights, payload.kind, voter)
    if ballot is None:
        raise NotYet("no-commitment", f"{voter.hex()} has sealed no such ballot")
    private = draft.private_ballots(checkpoint.weights) if payload.kind is BallotKind.PRIVATE else None
    if private is not None and voter not in private.voters:
        raise InvalidTransaction("voters", "an earlier participant has taken this ballot's place")
    if ballot.report is not None:
        raise InvalidTransaction("revealed", f"{voter.hex()} has opened this ballot already")
    if ballot.commitment != commitment_of(
        context.chain_id, checkpoint.weights, voter, payload.kind, payload.report, payload.salt
    ):
        raise InvalidTransaction("commitment", "report and salt are not what was sealed")
    ballot = return_deposit(draft, ballot)
    draft.set_ballot(replace(ballot, report=payload.report, revealed_height=context.height))
    if late:
        note_opened(draft, checkpoint.weights, voter)
    draft.emit(BallotRevealed(checkpoint.weights, payload.kind, voter, payload.report))


def _checkpoint(draft: Draft, cid: Cid) -> Checkpoint:
    checkpoint = draft.checkpoint(cid)
    if checkpoint is None:
        raise InvalidTransaction("unknown-checkpoint", f"{cid_text(cid)} was not submitted")
    return checkpoint


def _check_scoring(draft: Draft, context: BlockContext, voter: Address, checkpoint: Checkpoint) -> None:
    if checkpoint.status in (CheckpointStatus.QUEUED, CheckpointStatus.SUBMITTED, CheckpointStatus.HELD):
        if voter not in context.authorities:
            raise InvalidTransaction("not-an-elector", f"{voter.hex()} is no authority")
        raise NotYet("not-scoring", f"the checkpoint is {checkpoint.status.value}, not in scoring")
    if checkpoint.status is not CheckpointStatus.SCORING:
        raise InvalidTransaction("not-scoring", f"the checkpoint is {checkpoint.status.value} already")
    if voter not in checkpoint.electorate:
        raise InvalidTransaction("not-an-elector", f"{voter.hex()} is not of this checkpoint's electorate")
    if scoring_closed(draft, context, checkpoint):
        raise InvalidTransaction("scoring-closed", "the scoring deadline has passed")


def _check_report(draft: Draft, checkpoint: Checkpoint, payload: RevealBallot) -> None:
    task = draft.task(checkpoint.task)
    assert task is not None, "a checkpoint's task is never deleted"
    if isinstance(payload.report, ScoreReport) and payload.report.n != task.scoring.n:
        raise InvalidTransaction("report", f"a report of {payload.report.n} images, the task asks for {task.scoring.n}")


def _check_private(draft: Draft, voter: Address, checkpoint: Checkpoint, window: PrivateWindow) -> None:
    if checkpoint.status in (CheckpointStatus.REJECTED, CheckpointStatus.QUARANTINED):
        raise InvalidTransaction("not-accepted", "private ballots are for accepted checkpoints")
    if voter == checkpoint.author:
        raise InvalidTransaction("own-checkpoint", "an author has no private ballot on its own checkpoint")
    participant = draft.participant(voter)
    if participant is None:
        raise InvalidTransaction("not-a-participant", f"{voter.hex()} is not registered")
    if participant.data_commitment == NO_DATA_COMMITMENT:
        raise InvalidTransaction("data-commitment", f"{voter.hex()} has not committed to any data")
    if participant.registered_height >= checkpoint.submitted_height:
        raise InvalidTransaction("registered-late", "this registration is not older than the submission")
    if checkpoint.status is not CheckpointStatus.ACCEPTED:
        raise NotYet("not-accepted", f"the checkpoint is {checkpoint.status.value}")
    found = draft.private_window(checkpoint.weights)
    if found is PrivateWindow.COMMIT and window is PrivateWindow.REVEAL:
        raise NotYet("sealed", "private ballots on this checkpoint cannot be opened yet")
    if found is not window:
        raise InvalidTransaction("window-closed", f"the window to {window.value} has passed")
