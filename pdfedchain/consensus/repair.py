"""Pull-repair: what a status says, and what its receiver sends back.

::

    the sender of the status is     the answer is
    one height behind               the final block it lacks
    further behind                  our own status, from which it learns that it must fetch blocks
    in an earlier round             the votes that let it enter ours, a newer polka, the proposal
    in the same round               the votes and the proposal it lacks, a newer polka
    in a later round or height      our own status: it answers with what we lack
    in want of a block              that block

Nothing is answered with a status unless the answer to that is not a status, so no two nodes keep talking.
Answers are bounded per neighbour (`Answers`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from pdfedchain.consensus.effects import Effect, SendTo
from pdfedchain.consensus.height import HeightRun
from pdfedchain.consensus.messages import (
    CertificateMessage,
    FinalBlockMessage,
    Message,
    RoundStatus,
    VotesMessage,
)
from pdfedchain.consensus.ports import BlockStore
from pdfedchain.errors import NotFound
from pdfedchain.types.block import FinalBlock
from pdfedchain.types.vote import Vote, VoteKind

__all__ = ["ANSWER_INTERVAL_MS", "Answers", "status_of"]

#: A neighbour's statuses are answered no more often than this: an answer may be a whole block.
ANSWER_INTERVAL_MS: Final = 250


class _LastBlock:
    """Reads a block from the store once, however many neighbours lack it."""

    def __init__(self, store: BlockStore) -> None:
        self._store = store
        self._read: FinalBlock | None = None

    def at(self, height: int) -> FinalBlock | None:
        """The final block of this height; ``None`` if the store does not have it."""
        if self._read is None or self._read.block.header.height != height:
            try:
                self._read = self._store.final_block(height)
            except NotFound:
                return None
        return self._read


class Answers:
    """Remembers which neighbours were answered just now."""

    def __init__(self, clock: Callable[[], int], store: BlockStore) -> None:
        self._clock = clock
        self._last = _LastBlock(store)
        self._answered_ms: dict[str, int] = {}

    def to(self, peer: str, answer: Callable[[], Sequence[Message]]) -> list[Effect]:
        """Send what ``answer`` makes, or nothing if the last answer was just now; then it is not even made."""
        now_ms = self._clock()
        self._answered_ms = {
            other: at_ms for other, at_ms in self._answered_ms.items() if 0 <= now_ms - at_ms < ANSWER_INTERVAL_MS
        }
        if peer in self._answered_ms:
            return []
        messages = answer()
        if messages:
            self._answered_ms[peer] = now_ms
        return [SendTo(peer, message) for message in messages]

    def to_status(self, peer: str, status: RoundStatus, run: HeightRun) -> list[Effect]:
        """Answer a neighbour's status."""
        return self.to(peer, lambda: _answer(status, run, self._last))


def status_of(run: HeightRun) -> RoundStatus:
    """Our own status."""
    engine = run.engine
    round_, valid = engine.state.round, engine.state.valid
    return RoundStatus(
        height=run.position.height,
        round=round_,
        begun=engine.begun,
        step=int(engine.state.step),
        has_proposal=engine.proposal(round_) is not None,
        prevotes=engine.tally.bitmap(round_, VoteKind.PREVOTE),
        precommits=engine.tally.bitmap(round_, VoteKind.PRECOMMIT),
        valid_round=0 if valid is None else valid.round + 1,
        wanted=engine.wanted(),
    )


def _answer(status: RoundStatus, run: HeightRun, last: _LastBlock) -> list[Message]:
    """What to send to the neighbour whose status this is."""
    height, round_ = run.position.height, run.engine.state.round
    if status.height == height - 1 and status.height > 0:
        final = last.at(status.height)
        # Without it, this node began from a snapshot after that block; another neighbour has it.
        return [] if final is None else [FinalBlockMessage(final)]
    if status.height != height:
        return [status_of(run)] if status.height < height or status.height == height + 1 else []
    messages: list[Message] = _wanted(status, run)
    if not run.engine.begun:
        return messages
    if status.round > round_:
        return [*messages, status_of(run)]
    return messages + _newer_polka(status, run) + _of_this_round(status, run)


def _wanted(status: RoundStatus, run: HeightRun) -> list[Message]:
    message = run.message_with(status.wanted) if status.wanted is not None else None
    return [] if message is None else [message]


def _newer_polka(status: RoundStatus, run: HeightRun) -> list[Message]:
    valid = run.engine.state.valid
    if valid is None or valid.round + 1 <= status.valid_round:
        return []
    polka = run.engine.tally.certificate(valid.round, VoteKind.PREVOTE)
    return [] if polka is None else [CertificateMessage(polka)]


def _of_this_round(status: RoundStatus, run: HeightRun) -> list[Message]:
    messages: list[Message] = []
    same = status.round == run.engine.state.round
    votes = _missing(status, run) if same else run.why_this_round()
    if not same or not status.has_proposal:
        proposal = run.proposal_message(run.engine.state.round)
        messages += [] if proposal is None else [proposal]
    return messages + ([VotesMessage(votes)] if votes else [])


def _missing(status: RoundStatus, run: HeightRun) -> tuple[Vote, ...]:
    found: list[Vote] = []
    turns = {member: turn for turn, member in enumerate(run.position.authorities.members)}
    for kind, bitmap in ((VoteKind.PREVOTE, status.prevotes), (VoteKind.PRECOMMIT, status.precommits)):
        bits = int.from_bytes(bitmap, "little")
        found += [vote for vote in run.engine.tally.votes(status.round, kind) if not bits >> turns[vote.voter] & 1]
    return tuple(found)
