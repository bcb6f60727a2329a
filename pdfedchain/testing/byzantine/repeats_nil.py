"""Votes nil in every step, and says its votes again and again in later rounds: it wants one of them to count twice."""

from __future__ import annotations

from collections.abc import Sequence

from pdfedchain.consensus.messages import Message, RoundStatus, VoteMessage
from pdfedchain.testing.byzantine.actor import Situation, resigned_vote
from pdfedchain.types.vote import Vote

__all__ = ["RepeatsNil"]


class RepeatsNil:
    """See the module's text. With everything it says, and it says where it is, goes one of its old votes."""

    def __init__(self, situation: Situation) -> None:
        self._key = situation.key
        self._random = situation.random
        self._votes: dict[Vote, None] = {}

    def says(self, message: Message, recipient: int) -> Sequence[Message]:
        said: list[Message] = []
        if isinstance(message, RoundStatus):
            said.append(message)
        elif isinstance(message, VoteMessage) and message.vote.voter == self._key.address:
            said.append(VoteMessage(self._nil(message.vote)))
        if self._votes:
            said.append(VoteMessage(self._random.choice(list(self._votes))))
        return said

    def hears(self, message: Message) -> Sequence[Message]:
        return ()

    def _nil(self, vote: Vote) -> Vote:
        nil = resigned_vote(vote, None, self._key)
        if any(old.height != nil.height for old in self._votes):
            self._votes.clear()
        self._votes[nil] = None
        return nil
