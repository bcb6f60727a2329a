"""The protocol ``/pdfed/weights/2``: requests for blocks, and one answer to each.

The asking side opens a stream and sends `Want` frames; the serving side answers every identifier, in order, with one
`Answer` frame, which says whether it has the block, and then, if it has, one frame that is the block and nothing else.
The asking side sends further wants before all answers are there, which hides the round trip; how far ahead is its own
choice, since the serving side works off one request after the other and holds two blocks at a time. Either side ends
by closing the stream. There is no error message: who sends what is not of the protocol finds the stream reset.

Frames are delimited by the host. A block travels bare, since taking it out of an envelope would cost several copies
of it and a comparison, on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from node.host.interface import Stream
from node.weights.limits import ANSWER_SIZE_BYTES_MAX, BLOCK_SIZE_BYTES_MAX, WANTS_PER_REQUEST_MAX
from pdfedchain.codec import canonical, decode, encode
from pdfedchain.ids import Cid, Size

__all__ = ["PROTOCOL", "Answer", "Want", "receive_answer", "receive_block", "send_answer"]

PROTOCOL: Final = "/pdfed/weights/2"


@canonical("pdfed/weights-want/v1")
@dataclass(frozen=True, slots=True)
class Want:
    """Identifiers whose blocks are asked for, in the order in which they are to be sent."""

    cids: Annotated[tuple[Cid, ...], Size(WANTS_PER_REQUEST_MAX, low=1)]


@canonical("pdfed/weights-answer/v2")
@dataclass(frozen=True, slots=True)
class Answer:
    """Whether the sender has a wanted block, which follows in a frame of its own; not trusted before it is hashed."""

    cid: Cid
    here: bool


async def send_answer(stream: Stream, cid: Cid, data: bytes | None) -> None:
    """Answer one identifier; ``data`` is None where the block is not here.

    Raises:
        StreamClosed: the peer has gone.
    """
    answer = encode(Answer(cid, data is not None))
    await (stream.send_frame(answer) if data is None else stream.send_frame(answer, data))


async def receive_answer(stream: Stream) -> Answer:
    """The next answer; where it says so, `receive_block` comes next.

    Raises:
        StreamClosed: the peer has gone.
        FrameTooLarge, DecodeError: it is no answer.
    """
    return decode(Answer, await stream.receive_frame(ANSWER_SIZE_BYTES_MAX), size_bytes_max=ANSWER_SIZE_BYTES_MAX)


async def receive_block(stream: Stream) -> bytes:
    """The bytes of the block just announced, unchecked.

    Raises:
        StreamClosed: the peer has gone.
        FrameTooLarge: they are more than a block may have.
    """
    return await stream.receive_frame(BLOCK_SIZE_BYTES_MAX)
