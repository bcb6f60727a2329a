"""The protocol ``/pdfed/weights/1``: requests for blocks, and one answer to each.

The asking side opens a stream and sends `Want` frames; the serving side answers every identifier, in order, with one
`Answer` frame: the block, or that it does not have it. The asking side sends further wants before all answers are
there, which hides the round trip; how far ahead is its own choice, since the serving side works off one request
after the other and holds one block at a time. Either side ends by closing the stream. There is no error message:
who sends what is not of the protocol finds the stream reset.

Frames are delimited by the host; their content is the canonical encoding of these types.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from node.weights.limits import BLOCK_SIZE_BYTES_MAX, WANTS_PER_REQUEST_MAX
from pdfedchain.codec import canonical
from pdfedchain.ids import Cid, Size

__all__ = ["PROTOCOL", "Answer", "Want"]

PROTOCOL: Final = "/pdfed/weights/1"


@canonical("pdfed/weights-want/v1")
@dataclass(frozen=True, slots=True)
class Want:
    """Identifiers whose blocks are asked for, in the order in which they are to be sent."""

    cids: Annotated[tuple[Cid, ...], Size(WANTS_PER_REQUEST_MAX, low=1)]


@canonical("pdfed/weights-answer/v1")
@dataclass(frozen=True, slots=True)
class Answer:
    """One wanted block; ``data`` is None where the sender does not have it. Not trusted before it is hashed."""

    cid: Cid
    data: Annotated[bytes, Size(BLOCK_SIZE_BYTES_MAX)] | None
