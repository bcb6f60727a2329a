"""One persistent stream per peer for consensus messages: ``/pdfed/messages/1``.

Every frame starts with one byte that says what it is:

====  =========  ========================================================================================
0     message    the rest is handed to the receiver as it is
1     ping       eight bytes, to be sent back as a pong
2     pong
3     hello      an encoded `Hello`; the first frame of each side, and never again
4     duplicate  instead of a hello: the pair has a channel already, use that
====  =========  ========================================================================================

**Handshake.** Who opened the stream says hello; the other answers. Both compare chain and genesis and end the stream
if they differ, each knowing both hashes. The ``session`` is random per start of a node, so that a restarted peer is
told from one that opens a second channel.

**Sending** never waits: frames go into a queue with a budget in bytes (`node.send_queue`).

**Liveness.** A ping goes out every `PING_INTERVAL_S`; a peer of which nothing arrives for `SILENCE_MAX_S` is gone,
although TCP may believe in it for a quarter of an hour (a stopped process, a cut cable). Something is a whole frame, or
part of one that comes at `ARRIVING_BYTES_PER_S_MIN` or faster: a large proposal takes its time on a slow line, and its
sender's pings wait behind it; whoever sends byte by byte is gone all the same. When our own process was the one that
did not run, the clock starts anew.

What this is not: reliable. A frame may be lost when a channel breaks; consensus repairs by pulling.
"""

from __future__ import annotations

import enum
import logging
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final

import trio

from node.host.interface import Host, HostError, Stream
from node.send_queue import FrameBudget, Priority, SendQueue
from pdfedchain.codec import canonical, decode, encode
from pdfedchain.errors import InputError
from pdfedchain.ids import Address, Hash, Height, Name, Size, UInt
from pdfedchain.limits import BLOCK_SIZE_BYTES_MAX

__all__ = [
    "MESSAGES_PROTOCOL",
    "Channel",
    "ChannelDuplicate",
    "Hello",
    "OtherChain",
    "PeerSilent",
    "Priority",
    "answer_channel",
    "message_frame",
    "open_channel",
]

log = logging.getLogger(__name__)

MESSAGES_PROTOCOL: Final = "/pdfed/messages/1"
PROTOCOL_VERSION: Final = 1

#: A proposal carries a block; signatures and a certificate come on top.
FRAME_SIZE_BYTES_MAX: Final = BLOCK_SIZE_BYTES_MAX + 1_048_576
HELLO_SIZE_BYTES_MAX: Final = 1_024

#: Waiting to be sent to one peer: three of the largest frames.
QUEUE_SIZE_BYTES_MAX: Final = 3 * FRAME_SIZE_BYTES_MAX

HANDSHAKE_TIMEOUT_S: Final = 10.0
PING_INTERVAL_S: Final = 2.0
SILENCE_MAX_S: Final = 8.0

#: A frame under way counts as a sign of life from here on: the largest takes five minutes at this rate.
ARRIVING_BYTES_PER_S_MIN: Final = 16_384.0

_PING: Final = struct.Struct("!Q")


class Kind(enum.IntEnum):
    """The first byte of a frame."""

    MESSAGE = 0
    PING = 1
    PONG = 2
    HELLO = 3
    DUPLICATE = 4


@canonical("pdfed/hello/v1")
@dataclass(frozen=True, slots=True)
class Hello:
    """Who is there.

    Attributes:
        version: of this protocol.
        address: the chain key of the node: a claim, since messages of the chain carry their own signatures.
        height: last final height at this moment.
        session: random, the same for the lifetime of a process.
    """

    version: UInt
    chain_id: Name
    genesis: Hash
    address: Address
    height: Height
    session: Annotated[bytes, Size.exactly(8)]


class OtherChain(InputError):
    """The peer belongs to another chain, or speaks another version.

    Attributes:
        ours, theirs: both hellos.
    """

    def __init__(self, peer_id: str, ours: Hello, theirs: Hello) -> None:
        if ours.version != theirs.version:
            what = f"speaks version {theirs.version}, we speak {ours.version}"
        else:
            what = (
                f"is on chain {theirs.chain_id!r} with genesis {theirs.genesis.hex()}, "
                f"we are on {ours.chain_id!r} with genesis {ours.genesis.hex()}"
            )
        super().__init__(f"{peer_id} {what}", hint="give both nodes the same genesis.json")
        self.ours = ours
        self.theirs = theirs


class ChannelDuplicate(HostError):
    """The pair has a channel already, and the other side keeps that one."""

    def __init__(self, peer_id: str) -> None:
        super().__init__(f"{peer_id} has a channel with us already")


class PeerSilent(HostError):
    """Nothing has arrived for too long."""

    def __init__(self, peer_id: str, silence_s: float) -> None:
        super().__init__(f"{peer_id} has been silent for {silence_s:.0f} s")


def message_frame(message: bytes) -> bytes:
    """A message as it is sent."""
    assert len(message) < FRAME_SIZE_BYTES_MAX, "the sender keeps its messages within the protocol's bounds"
    return b"\x00" + message


class Channel:
    """A channel after its handshake. `run` does the work; everything else returns at once."""

    def __init__(
        self,
        stream: Stream,
        hello: Hello,
        *,
        opened_by_us: bool,
        queue_size_bytes_max: int = QUEUE_SIZE_BYTES_MAX,
        budget: FrameBudget | None = None,
        ping_interval_s: float = PING_INTERVAL_S,
        silence_max_s: float = SILENCE_MAX_S,
    ) -> None:
        """
        Args:
            hello: the peer's.
            budget: of the queues of all channels.
        """
        self.peer_id = stream.peer_id
        self.hello = hello
        self.opened_by_us = opened_by_us
        self.rtt_s: float | None = None
        self.queue = SendQueue(queue_size_bytes_max, budget)
        self._stream = stream
        self._ping_interval_s = ping_interval_s
        self._silence_max_s = silence_max_s
        self._scope = trio.CancelScope()
        self._heard_at = 0.0
        self._ping_number = 0
        self._pinged_at = 0.0

    def send(self, message: bytes, priority: Priority = Priority.NORMAL) -> bool:
        """Queue a message; false if there was no room for it."""
        return self.send_frame(message_frame(message), priority)

    def send_frame(self, frame: bytes, priority: Priority = Priority.NORMAL) -> bool:
        """Queue what `message_frame` has made: one object for several channels."""
        return self.queue.put(frame, priority)

    def close(self) -> None:
        """End `run` soon."""
        self._scope.cancel()

    async def run(self, receive: Callable[[str, bytes], None]) -> None:
        """Send and receive until the channel ends; returns normally after `close`.

        Args:
            receive: called with the peer id and each message, in order; must return quickly.

        Raises:
            HostError: the peer has gone, or is silent (`PeerSilent`).
            InputError: the peer broke this protocol, or ``receive`` says that it broke another.
        """
        failure: HostError | InputError | None = None
        self._heard_at = trio.current_time()
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._send_all)
                    nursery.start_soon(self._watch)
                    nursery.start_soon(self._receive_all, receive)
        except* (HostError, InputError) as group:
            failure = _worst(group)
        finally:
            self.queue.clear()
            await self._stream.reset()
        if failure is not None:
            raise failure

    async def _send_all(self) -> None:
        while True:
            await self._stream.send_frame(await self.queue.get())

    async def _receive_all(self, receive: Callable[[str, bytes], None]) -> None:
        while True:
            frame = await self._stream.receive_frame(FRAME_SIZE_BYTES_MAX)
            self._heard_at = trio.current_time()
            kind, body = frame[:1], frame[1:]
            if kind == b"\x00":
                receive(self.peer_id, body)
            elif kind == b"\x01" and len(body) == _PING.size:
                self.queue.put(bytes([Kind.PONG]) + body, Priority.HIGH)
            elif kind == b"\x02" and len(body) == _PING.size:
                self._take_pong(*_PING.unpack(body))
            else:
                raise InputError(f"{self.peer_id} sent a frame of unknown kind {frame[:1].hex() or 'without content'}")

    def _take_pong(self, number: int) -> None:
        if number == self._ping_number:
            self.rtt_s = trio.current_time() - self._pinged_at

    async def _watch(self) -> None:
        arrived = 0
        while True:
            self._ping_number += 1
            self._pinged_at = trio.current_time()
            self.queue.put(bytes([Kind.PING]) + _PING.pack(self._ping_number), Priority.HIGH)
            await trio.sleep(self._ping_interval_s)
            now = trio.current_time()
            before, arrived = arrived, self._stream.received_size_bytes
            if arrived - before >= ARRIVING_BYTES_PER_S_MIN * (now - self._pinged_at):
                self._heard_at = now
            if now - self._pinged_at > 2 * self._ping_interval_s:
                # This process was stopped or starved: what the peer sent meanwhile has not been read yet.
                self._heard_at = now
            elif now - self._heard_at > self._silence_max_s:
                raise PeerSilent(self.peer_id, now - self._heard_at)


def _worst(group: ExceptionGroup[HostError | InputError]) -> HostError | InputError:
    """A fault of the peer where there is one: that it is gone as well says less."""
    leaves = [_worst(error) if isinstance(error, ExceptionGroup) else error for error in group.exceptions]
    return next((error for error in leaves if isinstance(error, InputError)), leaves[0])


async def open_channel(host: Host, peer_id: str, ours: Hello) -> tuple[Stream, Hello]:
    """Open the stream and shake hands; returns it with the peer's hello.

    Raises:
        HostError: the peer is gone, does not speak this protocol, or does not answer in time.
        ChannelDuplicate: it keeps the channel that it has with us.
        OtherChain: it belongs to another chain.
        InputError: it answers with something else.
    """
    stream = await host.open_stream(peer_id, MESSAGES_PROTOCOL)
    agreed = False
    try:
        await stream.send_frame(bytes([Kind.HELLO]) + encode(ours))
        theirs = await _receive_hello(stream)
        if theirs is None:
            raise ChannelDuplicate(peer_id)
        _check(peer_id, ours, theirs)
        agreed = True
    finally:
        if not agreed:
            await stream.reset()
    return stream, theirs


async def answer_channel(stream: Stream, ours: Hello, is_duplicate: Callable[[Hello], bool]) -> Hello:
    """The other side of `open_channel`; returns the peer's hello.

    Raises: as `open_channel`. After `OtherChain` and `ChannelDuplicate` the answer is on its way: close the stream, do
        not reset it.
    """
    theirs = await _receive_hello(stream)
    if theirs is None:
        raise InputError(f"{stream.peer_id} calls the channel that it opens a duplicate")
    if _same_chain(ours, theirs) and is_duplicate(theirs):
        await stream.send_frame(bytes([Kind.DUPLICATE]))
        raise ChannelDuplicate(stream.peer_id)
    await stream.send_frame(bytes([Kind.HELLO]) + encode(ours))
    _check(stream.peer_id, ours, theirs)
    return theirs


async def _receive_hello(stream: Stream) -> Hello | None:
    frame = b""
    with trio.move_on_after(HANDSHAKE_TIMEOUT_S) as waiting:
        frame = await stream.receive_frame(HELLO_SIZE_BYTES_MAX)
    if waiting.cancelled_caught:
        raise PeerSilent(stream.peer_id, HANDSHAKE_TIMEOUT_S)
    if frame == bytes([Kind.DUPLICATE]):
        return None
    if frame[:1] != bytes([Kind.HELLO]):
        raise InputError(f"{stream.peer_id} does not say hello")
    return decode(Hello, frame[1:], size_bytes_max=HELLO_SIZE_BYTES_MAX)


def _same_chain(ours: Hello, theirs: Hello) -> bool:
    return (ours.version, ours.chain_id, ours.genesis) == (theirs.version, theirs.chain_id, theirs.genesis)


def _check(peer_id: str, ours: Hello, theirs: Hello) -> None:
    if not _same_chain(ours, theirs):
        raise OtherChain(peer_id, ours, theirs)
