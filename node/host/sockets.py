"""The socket of a connection, asked itself.

What libp2p 0.8.1 and trio put around a socket costs a turn of the event loop, two locks and new memory for each call.
Here a call goes to the kernel at once, and only who finds nothing waits; what is read goes into memory that is there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final

import trio
from libp2p.network.connection.raw_connection import RawConnection

__all__ = ["Socket", "socket_of"]

#: Other tasks have their turn after so much, however quickly more arrives.
_TURN_SIZE_BYTES: Final = 1_048_576

#: Pieces that one call writes: the smallest bound that systems have.
_PIECES_MAX: Final = 16


class Socket:
    """A socket that one task reads and one writes.

    Args:
        socket: trio's, which whoever closes the connection closes.
    """

    def __init__(self, socket: trio.socket.SocketType) -> None:
        self._socket = socket
        self._turn_size_bytes = 0

    async def receive_into(self, buffer: memoryview) -> int:
        """Wait for bytes and put them into ``buffer``; nothing else has its turn between that and the return.

        Returns:
            How many; 0 at the end, also when the socket was closed on this side.

        Raises:
            OSError: the connection broke.
        """
        if self._turn_size_bytes >= _TURN_SIZE_BYTES:
            self._turn_size_bytes = 0
            await trio.lowlevel.checkpoint()
        try:
            while True:
                try:
                    size_bytes = os.readv(self._descriptor(), (buffer,))
                    break
                except BlockingIOError:
                    self._turn_size_bytes = 0
                    await trio.lowlevel.wait_readable(self._descriptor())
        except trio.ClosedResourceError:
            return 0
        self._turn_size_bytes += size_bytes
        return size_bytes

    async def send(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Write all of it.

        Raises:
            OSError: the connection broke.
            ClosedResourceError: it was closed on this side.
        """
        await trio.lowlevel.checkpoint()
        left = list(reversed(pieces))
        while left:
            try:
                sent = os.writev(self._descriptor(), left[: -_PIECES_MAX - 1 : -1])
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._descriptor())
                continue
            while left and sent >= len(left[-1]):
                sent -= len(left.pop())
            if sent:
                left[-1] = memoryview(left[-1])[sent:]

    def _descriptor(self) -> int:
        descriptor = self._socket.fileno()
        if descriptor < 0:
            raise trio.ClosedResourceError("the connection was closed on this side")
        return descriptor


def socket_of(raw: Any) -> Any:
    """What is below noise. Where that is not libp2p's connection over TCP, it is used as if it were a `Socket`."""
    return Socket(raw.stream.stream.socket) if isinstance(raw, RawConnection) else raw
