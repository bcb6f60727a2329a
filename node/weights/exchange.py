"""Asking one peer for blocks, whatever protocol it speaks."""

from __future__ import annotations

from typing import Protocol

from node.host.interface import Stream
from node.weights.messages import Want, receive_answer, receive_block
from pdfedchain.codec import encode
from pdfedchain.ids import Cid

__all__ = ["Exchange", "OwnExchange"]


class Exchange(Protocol):
    """A conversation with one peer. One task may ask while another takes answers."""

    async def ask(self, cids: tuple[Cid, ...]) -> None:
        """Ask for blocks.

        Raises:
            HostError: the peer has gone.
        """
        ...

    async def answer(self) -> tuple[Cid, bytes | None]:
        """The next answer, in whatever order; None says that the block is not there. Nothing is checked.

        Raises:
            HostError: the peer has gone.
            InputError: what it sent is no answer.
        """
        ...

    async def aclose(self) -> None:
        """End it in peace."""
        ...

    async def reset(self) -> None:
        """End it while answers are owed."""
        ...


class OwnExchange:
    """``/pdfed/weights/2`` on one stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def ask(self, cids: tuple[Cid, ...]) -> None:
        """One request."""
        await self._stream.send_frame(encode(Want(cids)))

    async def answer(self) -> tuple[Cid, bytes | None]:
        """One answer, and the block where there is one."""
        answer = await receive_answer(self._stream)
        return answer.cid, await receive_block(self._stream) if answer.here else None

    async def aclose(self) -> None:
        """Close the stream."""
        await self._stream.aclose()

    async def reset(self) -> None:
        """Only a reset keeps the peer from sending what it owes to nobody."""
        await self._stream.reset()
