"""A connection in memory that can be read and never written."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import trio


class Wire:
    """A secured connection whose peer sends what it is told to and reads nothing."""

    is_initiator = True

    def __init__(self, incoming: bytes) -> None:
        self.incoming = bytearray(incoming)
        self.closed = trio.Event()

    async def read(self, size_bytes: int) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self.incoming:
            await self.closed.wait()
        data = bytes(self.incoming[:size_bytes])
        del self.incoming[:size_bytes]
        return data

    async def write(self, data: bytes) -> None:
        await self.closed.wait()

    async def receive_into(self, buffer: memoryview) -> int:
        data = await self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    async def send(self, pieces: Sequence[bytes | memoryview]) -> None:
        await self.write(b"".join(pieces))

    async def close(self) -> None:
        self.closed.set()


class NoCipher:
    """Leaves noise messages as they are."""

    def encrypt_with_ad(self, ad: None, data: bytes) -> bytes:
        return data

    def decrypt_with_ad(self, ad: None, data: memoryview) -> bytes:
        return bytes(data)


def unencrypted(incoming: bytes) -> tuple[Wire, SimpleNamespace]:
    """A session over a wire on which one noise message has arrived."""
    wire = Wire(len(incoming).to_bytes(2, "big") + incoming)
    return wire, unencrypted_session(wire)


def unencrypted_session(wire: Any) -> SimpleNamespace:
    """A session over a wire."""
    states = SimpleNamespace(cipher_state_encrypt=NoCipher(), cipher_state_decrypt=NoCipher())
    return with_noise(wire, SimpleNamespace(noise_protocol=states))


def with_noise(wire: Any, noise_state: Any) -> SimpleNamespace:
    """What libp2p returns from a handshake, as far as it is used."""
    noise = SimpleNamespace(read_writer=SimpleNamespace(read_write_closer=wire), noise_state=noise_state)
    return SimpleNamespace(conn=noise, close=getattr(wire, "close", None))
