"""A noise session carries the same bytes however they are cut on the way."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from libp2p.io.exceptions import IncompleteReadError, IOException
from libp2p.security.noise.io import MAX_PLAINTEXT_LENGTH
from noise.connection import NoiseConnection

from node.host.session import Session
from tests.node.host.wires import Wire, with_noise


def pair() -> tuple[NoiseConnection, NoiseConnection]:
    """Two ends that have shaken hands."""
    ends = (NoiseConnection.from_name(b"Noise_NN_25519_ChaChaPoly_SHA256") for _ in range(2))
    one, two = ends
    one.set_as_initiator()
    two.set_as_responder()
    one.start_handshake()
    two.start_handshake()
    two.read_message(one.write_message())
    one.read_message(two.write_message())
    return one, two


class Sink:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written = bytearray()

    async def send(self, pieces: Sequence[bytes | memoryview]) -> None:
        self.written += b"".join(pieces)


async def written(session_end: NoiseConnection, frames: list[bytes]) -> bytes:
    sink = Sink()
    await Session(with_noise(sink, session_end)).write_all(frames)
    return bytes(sink.written)


@given(
    st.lists(st.integers(1, 70_000), min_size=1, max_size=8),
    st.lists(st.integers(1, 140_000), min_size=1, max_size=12),
    st.integers(0, 2**32),
)
def test_what_is_written_is_read_in_the_same_order(frames: list[int], reads: list[int], seed: int) -> None:
    async def run() -> None:
        one, two = pair()
        sent = [bytes((seed + index + at) % 256 for at in range(size)) for index, size in enumerate(frames)]
        wire = Wire(await written(one, sent))
        session = Session(with_noise(wire, two))
        left = b"".join(sent)
        for size in reads:
            size = min(size, len(left))
            assert await session.read(size) == left[:size]
            left = left[size:]

    trio.run(run)


async def test_small_frames_share_a_message_and_large_ones_are_cut() -> None:
    one, _ = pair()
    small = await written(one, [b"x" * 100] * 10)
    assert len(small) == 2 + 1_000 + 16
    large = await written(one, [bytes(MAX_PLAINTEXT_LENGTH + 1)])
    assert len(large) == MAX_PLAINTEXT_LENGTH + 1 + 2 * (2 + 16)


async def test_a_changed_byte_breaks_the_connection() -> None:
    one, two = pair()
    changed = bytearray(await written(one, [b"hello"]))
    changed[-1] ^= 1
    with pytest.raises(IOException, match="not the peer's"):
        await Session(with_noise(Wire(bytes(changed)), two)).read(5)


async def test_the_end_in_the_middle_of_a_message_is_an_incomplete_read() -> None:
    one, two = pair()
    wire = Wire((await written(one, [b"hello"]))[:-1])
    wire.closed.set()
    with pytest.raises(IncompleteReadError):
        await Session(with_noise(wire, two)).read(5)
