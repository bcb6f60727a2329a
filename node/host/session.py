"""A noise session read and written in large pieces.

libp2p 0.8.1 asks the kernel for two bytes, then for one message, in as many calls as it takes, and copies every byte
seven times on the way to a stream and four times on the way out of one. Here one call takes what has arrived, every
complete message in it is decrypted where it lies, and what is sent together is encrypted together. The bytes on the
line are the same: a sequence of noise messages, each preceded by its length.

`Session` takes the place of libp2p's object once the handshake is over; one task reads, and one writes.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from libp2p.io.exceptions import ConnectionClosedError, IncompleteReadError, IOException
from libp2p.security.noise.io import MAX_PLAINTEXT_LENGTH, SIZE_NOISE_MESSAGE_LEN

from node.host.framing import Arrived
from node.host.sockets import socket_of

__all__ = ["Session"]

#: What is taken from the socket at once.
_READ_SIZE_BYTES: Final = 524_288

_MESSAGE_SIZE_BYTES_MAX: Final = SIZE_NOISE_MESSAGE_LEN + 65_535

_of_thread = threading.local()


class Session:
    """What libp2p's session knows, and faster ways in and out.

    Args:
        session: libp2p's, with its handshake done and nothing left unread.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        noise = session.conn
        self._socket = socket_of(noise.read_writer.read_write_closer)
        self._decrypting = noise.noise_state.noise_protocol.cipher_state_decrypt
        self._encrypting = noise.noise_state.noise_protocol.cipher_state_encrypt
        self._undecrypted = b""
        self.arrived = Arrived()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def close(self) -> None:
        """Close the socket."""
        await self._session.close()

    async def fill(self, size_bytes: int) -> bool:
        """Wait until so many bytes have arrived; false if the connection ended first.

        Raises:
            IOException: the connection broke, or a message is not the peer's.
        """
        while self.arrived.size_bytes < size_bytes:
            kept = len(self._undecrypted)
            buffer = _buffer()
            try:
                received = await self._socket.receive_into(buffer[kept:])
            except OSError as error:
                raise ConnectionClosedError(f"the connection broke: {error}", transport="tcp") from error
            if not received:
                return False
            buffer[:kept] = self._undecrypted
            self._decrypt(buffer[: kept + received])
        return True

    async def read(self, size_bytes: int) -> bytes:
        """So many bytes.

        Raises:
            IncompleteReadError: the connection ended first.
        """
        if not await self.fill(size_bytes):
            raise IncompleteReadError(
                "the connection has ended", expected_bytes=size_bytes, received_bytes=self.arrived.size_bytes
            )
        return self.arrived.take(size_bytes)

    async def write_all(self, frames: Sequence[bytes | memoryview]) -> None:
        """Send frames in one piece; small ones share a noise message.

        Raises:
            OSError, ClosedResourceError: the connection broke, or was closed.
        """
        sealed: list[bytes] = []
        message: list[bytes | memoryview] = []
        room = MAX_PLAINTEXT_LENGTH
        for frame in frames:
            if len(frame) > room and message:
                self._seal(message, sealed)
                message, room = [], MAX_PLAINTEXT_LENGTH
            if len(frame) <= room:
                message.append(frame)
                room -= len(frame)
                continue
            for start in range(0, len(frame), MAX_PLAINTEXT_LENGTH):
                self._seal([memoryview(frame)[start : start + MAX_PLAINTEXT_LENGTH]], sealed)
        if message:
            self._seal(message, sealed)
        await self._socket.send(sealed)

    def _seal(self, message: Sequence[bytes | memoryview], sealed: list[bytes]) -> None:
        plain = message[0] if len(message) == 1 else b"".join(message)
        encrypted: bytes = self._encrypting.encrypt_with_ad(None, plain)
        sealed += (len(encrypted).to_bytes(SIZE_NOISE_MESSAGE_LEN, "big"), encrypted)

    def _decrypt(self, data: memoryview) -> None:
        start = 0
        while len(data) - start >= SIZE_NOISE_MESSAGE_LEN:
            body = start + SIZE_NOISE_MESSAGE_LEN
            end = body + int.from_bytes(data[start:body], "big")
            if end > len(data):
                break
            try:
                self.arrived.put(self._decrypting.decrypt_with_ad(None, data[body:end]))
            except InvalidTag as error:
                raise IOException("a noise message is not the peer's") from error
            start = end
        self._undecrypted = bytes(data[start:])


def _buffer() -> memoryview:
    """Where what was read lies until it is decrypted, which happens before anything else has its turn."""
    buffer: memoryview | None = getattr(_of_thread, "buffer", None)
    if buffer is None:
        buffer = _of_thread.buffer = memoryview(bytearray(_MESSAGE_SIZE_BYTES_MAX + _READ_SIZE_BYTES))
    return buffer
