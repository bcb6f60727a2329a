"""Sends, beside its honest messages, old ones of its own and of others: late, repeated and out of order."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from pdfedchain.consensus.messages import Message
from pdfedchain.testing.byzantine.actor import Situation

__all__ = ["Replays"]

_REMEMBERED = 200


class Replays:
    """See the module's text."""

    def __init__(self, situation: Situation) -> None:
        self._random = situation.random
        self._old: deque[Message] = deque(maxlen=_REMEMBERED)

    def says(self, message: Message, recipient: int) -> Sequence[Message]:
        self._old.append(message)
        return (message, self._random.choice(self._old))

    def hears(self, message: Message) -> Sequence[Message]:
        self._old.append(message)
        return ()
