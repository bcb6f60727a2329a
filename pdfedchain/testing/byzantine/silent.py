"""Says nothing at all, or nothing from some time on: indistinguishable from a crash, but it listens."""

from __future__ import annotations

from collections.abc import Sequence

from pdfedchain.consensus.messages import Message
from pdfedchain.testing.byzantine.actor import Situation

__all__ = ["Silent"]


class Silent:
    """See the module's text."""

    def __init__(self, situation: Situation) -> None:
        pass

    def says(self, message: Message, recipient: int) -> Sequence[Message]:
        return ()

    def hears(self, message: Message) -> Sequence[Message]:
        return ()
