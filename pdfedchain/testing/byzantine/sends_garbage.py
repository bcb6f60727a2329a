"""Sends bytes that are almost messages: cut short, grown, with flipped bits, or of another tag, and plain noise."""

from __future__ import annotations

from collections.abc import Sequence

from pdfedchain.codec import encode
from pdfedchain.consensus.messages import ConsensusMessage, Message
from pdfedchain.testing.byzantine.actor import Said, Situation

__all__ = ["SendsGarbage"]


class SendsGarbage:
    """See the module's text. Half of what it says is spoilt; what it spoils goes through the receivers' decoder."""

    def __init__(self, situation: Situation) -> None:
        self._random = situation.random

    def says(self, message: Message, recipient: int) -> Sequence[Said]:
        if self._random.random() < 0.5:
            return (message,)
        return (self._spoilt(encode(ConsensusMessage(message))),)

    def hears(self, message: Message) -> Sequence[Message]:
        return ()

    def _spoilt(self, data: bytes) -> bytes:
        draw = self._random
        at = draw.randrange(len(data))
        match draw.randrange(5):
            case 0:
                return data[:at]
            case 1:
                return data + draw.randbytes(draw.randint(1, 9))
            case 2:
                return data[:at] + bytes((data[at] ^ 1 << draw.randrange(8),)) + data[at + 1 :]
            case 3:
                return data.replace(b"/v1", b"/v2", 1)
            case _:
                return draw.randbytes(draw.randint(0, 200))
