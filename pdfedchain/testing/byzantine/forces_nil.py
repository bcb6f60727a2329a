"""Votes nil in every step of every round, and proposes nothing: it wants each round to fail."""

from __future__ import annotations

from collections.abc import Sequence

from pdfedchain.consensus.messages import Message, RoundStatus, VoteMessage
from pdfedchain.testing.byzantine.actor import Situation, resigned_vote

__all__ = ["ForcesNil"]


class ForcesNil:
    """See the module's text. Of what others said it repeats nothing."""

    def __init__(self, situation: Situation) -> None:
        self._key = situation.key

    def says(self, message: Message, recipient: int) -> Sequence[Message]:
        if isinstance(message, RoundStatus):
            return (message,)
        if not isinstance(message, VoteMessage) or message.vote.voter != self._key.address:
            return ()
        return (VoteMessage(resigned_vote(message.vote, None, self._key)),)

    def hears(self, message: Message) -> Sequence[Message]:
        return ()
