"""What the rest of the node sees of the network: `Host` and `Stream`, and what can go wrong with them.

Two implementations pass the same tests: `node.host.libp2p_host.open_host` (TCP, noise, yamux, gossipsub) and
`node.memory_host.MemoryNetwork` (one process, links that are cut, stalled, slow and lossy)::

    async with open_host(seed, "/ip4/127.0.0.1/tcp/0") as host:
        host.set_stream_handler("/pdfed/blocks/1", serve)          # async def serve(stream: Stream) -> None
        await host.subscribe("/pdfed/demo/tx", accept)             # def accept(peer_id: str, data: bytes) -> bool
        peer_id = await host.connect("/ip4/127.0.0.1/tcp/4001/p2p/12D3Koo...")
        async with await host.open_stream(peer_id, "/pdfed/blocks/1") as stream:
            await stream.send_frame(b"request")
            answer = await stream.receive_frame(1_048_576)
        await host.publish("/pdfed/demo/tx", b"transaction")

::

    HostError
    ├── PortTaken          another program listens there
    ├── DialFailed         nobody answers at this address, or somebody else does
    ├── NotConnected       no connection to this peer; connect first
    ├── ProtocolRefused    the peer does not speak this protocol
    ├── MessageTooLarge    we tried to send more than the other side would take: our own fault
    ├── StreamClosed       the other side, or the connection, has gone; says nothing about whose fault that is
    └── FrameTooLarge      (also an InputError) the other side announced more than allowed: its fault
    InputError
    └── InvalidAddress     text that is not a usable peer address

A stream handler may raise: `HostError` means the peer has gone and is not reported, `InputError` is the peer's fault
and is handed to the fault listener, anything else is our own bug and is logged. None of them stops the host.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol, Self

from pdfedchain.errors import InputError, PdfedError

__all__ = [
    "Accept",
    "DialFailed",
    "FaultListener",
    "FrameTooLarge",
    "Host",
    "HostError",
    "HostLimits",
    "InvalidAddress",
    "MessageTooLarge",
    "NotConnected",
    "PortTaken",
    "ProtocolRefused",
    "Stream",
    "StreamClosed",
    "StreamHandler",
]

#: Frames are preceded by their length in four bytes, big-endian.
FRAME_HEADER_SIZE_BYTES: Final = 4


class HostError(PdfedError):
    """Something on the network did not work; trying again later, or with another peer, may."""


class PortTaken(HostError):
    """Another program listens on the address.

    Attributes:
        address: the multiaddress that was asked for.
    """

    def __init__(self, address: str) -> None:
        super().__init__(
            f"another program listens on {address}",
            hint="stop it, or choose another port (0 takes any free one)",
        )
        self.address = address


class DialFailed(HostError):
    """No connection came about.

    Attributes:
        address: the multiaddress that was dialled.
    """

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"cannot connect to {address}: {reason}")
        self.address = address


class NotConnected(HostError):
    """There is no connection to the peer."""

    def __init__(self, peer_id: str) -> None:
        super().__init__(f"not connected to {peer_id}")
        self.peer_id = peer_id


class ProtocolRefused(HostError):
    """The peer did not agree to speak the protocol."""

    def __init__(self, peer_id: str, protocol: str, reason: str) -> None:
        super().__init__(f"{peer_id} does not open {protocol}: {reason}")
        self.peer_id = peer_id
        self.protocol = protocol


class MessageTooLarge(HostError):
    """More than the other side would accept; nothing was sent."""

    def __init__(self, size_bytes: int, size_bytes_max: int) -> None:
        super().__init__(f"a message of {size_bytes} bytes is above the limit of {size_bytes_max}")


class StreamClosed(HostError):
    """The stream has ended.

    Attributes:
        clean: the other side closed it between two frames; false where it was reset, broke, or ended inside a frame.
    """

    def __init__(self, peer_id: str, *, clean: bool = False, reason: str = "") -> None:
        super().__init__(f"the stream with {peer_id} has ended" + (f": {reason}" if reason else ""))
        self.peer_id = peer_id
        self.clean = clean


class FrameTooLarge(HostError, InputError):
    """The other side announced a frame above the limit; the stream has been reset and nothing was read."""

    def __init__(self, peer_id: str, size_bytes: int, size_bytes_max: int) -> None:
        super().__init__(f"{peer_id} announced a frame of {size_bytes} bytes, above the limit of {size_bytes_max}")
        self.peer_id = peer_id


class InvalidAddress(InputError):
    """Text that is not a multiaddress we can dial or listen on."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(
            f"not a usable address: {address[:200]!r} ({reason})",
            hint="a peer's address looks like /ip4/203.0.113.5/tcp/4001/p2p/12D3Koo...",
        )


@dataclass(frozen=True, slots=True)
class HostLimits:
    """Bounds of one host.

    Attributes:
        connections_inbound_max: live connections others may have to us, those in their handshake included.
        connections_reserved: of these, for peers whose address this host knows (`Host.learn`); at most a quarter.
        connections_per_address_max: of all, from one IP address; a household or a data centre may share one. An IPv6
            address counts by its first 64 bits.
        connections_wasted_per_address_per_s, connections_wasted_per_address_burst: connections of one address that are
            refused as too many or show no identity, in the long run, and at once; beyond it the address is barred for a
            while (`node.host.entrance`). An honest node dials anew every ten seconds at most; a check of an open port
            comes every few seconds.
        handshake_timeout_s: an inbound connection without an identity after so long is closed.
        streams_inbound_per_peer_max: streams one peer may have open with us; go-libp2p allows 256 by default.
        streams_per_peer_per_s, streams_per_peer_burst: streams one peer may open in the long run, and at once; beyond
            it loses its connection. Nodes open some in a minute, programs of IPFS one for each message.
        streams_barren_per_peer_per_s, streams_barren_per_peer_burst: the same of streams without a request
            (`node.host.conduct`). An honest node leaves one behind when a transfer ends early. All
            sixteen that serve weights to one peer are beyond it if they are left to time out.
        gossip_size_bytes_max: payload of one gossip message; gossipsub loses what is above 1 MiB without a word, so
            this leaves room for the envelope.
        gossip_queue_max, gossip_queue_size_bytes_max: messages waiting to be sent to one peer, and their bytes.
        dial_timeout_s: TCP, noise and yamux together.
        open_stream_timeout_s: agreeing on a protocol.
    """

    connections_inbound_max: int = 256
    connections_reserved: int = 64
    connections_per_address_max: int = 64
    connections_wasted_per_address_per_s: float = 1.0
    connections_wasted_per_address_burst: float = 128.0
    handshake_timeout_s: float = 10.0
    streams_inbound_per_peer_max: int = 256
    streams_per_peer_per_s: float = 128.0
    streams_per_peer_burst: float = 2_048.0
    streams_barren_per_peer_per_s: float = 0.5
    streams_barren_per_peer_burst: float = 64.0
    gossip_size_bytes_max: int = 1_047_552
    gossip_queue_max: int = 4_096
    gossip_queue_size_bytes_max: int = 8_388_608
    dial_timeout_s: float = 10.0
    open_stream_timeout_s: float = 10.0

    @property
    def connections_unknown_max(self) -> int:
        """Live connections from peers whose address this host does not know."""
        return self.connections_inbound_max - min(self.connections_reserved, self.connections_inbound_max // 4)


class Stream(Protocol):
    """A bidirectional, ordered, flow-controlled stream of bytes to one peer.

    One task may read while others write. As a context manager it closes at the end, or resets on an exception.
    """

    @property
    def peer_id(self) -> str:
        """The authenticated peer at the other end."""
        ...

    @property
    def protocol(self) -> str:
        """What the stream was opened for."""
        ...

    @property
    def received_size_bytes(self) -> int:
        """What has been read of it so far, parts of frames included: it grows while a large frame arrives."""
        ...

    def note_request(self) -> None:
        """Say that a whole request has arrived, in a protocol without frames. A frame counts by itself.

        A stream whose peer was waited for and that ends without one counts against that peer.
        """
        ...

    async def send_frame(self, *frames: bytes) -> None:
        """Send one frame, or several behind each other. Those of several tasks do not mix.

        Cancellation never leaves half a frame behind: either nothing is sent, or all of it gets a moment to finish
        and the stream is reset if it does not.

        Raises:
            StreamClosed: the stream has ended.
        """
        ...

    async def receive_frame(self, size_bytes_max: int) -> bytes:
        """The next frame. Cancelling loses nothing: the next call returns the same frame.

        Raises:
            StreamClosed: the stream has ended; ``clean`` tells whether between two frames.
            FrameTooLarge: more than ``size_bytes_max`` was announced.
        """
        ...

    async def read_exactly(self, size_bytes: int) -> bytes:
        """The next bytes, unframed.

        Raises:
            StreamClosed: the stream ended before that many came.
        """
        ...

    async def write(self, data: bytes) -> None:
        """Send bytes, unframed.

        Raises:
            StreamClosed: the stream has ended.
        """
        ...

    async def aclose(self) -> None:
        """Say that nothing more will be sent, and stop using the stream. Never blocks for long, never raises."""
        ...

    async def reset(self) -> None:
        """End the stream in both directions at once, as after an error. Never blocks for long, never raises."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exception: object) -> None: ...


#: Serves one inbound stream; the host closes the stream when it returns, and resets it when it raises.
StreamHandler = Callable[[Stream], Awaitable[None]]

#: Judges and takes one gossip message ``(forwarder, data)``: true passes it on to others. Synchronous, quick.
Accept = Callable[[str, bytes], bool]

#: Told that a peer did what no honest one does: ``(peer_id, reason)``.
FaultListener = Callable[[str, str], None]


class Host(Protocol):
    """One network identity with its connections."""

    @property
    def peer_id(self) -> str:
        """This host's own libp2p peer id in base58 (``12D3Koo...``)."""
        ...

    @property
    def addresses(self) -> tuple[str, ...]:
        """Multiaddresses listened on, each with ``/p2p/`` and the peer id."""
        ...

    @property
    def counters(self) -> Counter[str]:
        """What was dropped, refused or failed, by kind, since the start."""
        ...

    async def connect(self, address: str) -> str:
        """Connect to the peer at a multiaddress (nothing to do where connected already); returns its peer id.

        Raises:
            InvalidAddress: not a multiaddress with a peer id, or our own.
            DialFailed: no connection came about.
        """
        ...

    def learn(self, address: str) -> None:
        """Remember where a peer listens, without connecting.

        Raises:
            InvalidAddress: not a multiaddress with a peer id, or our own.
        """
        ...

    def connected_peers(self) -> frozenset[str]:
        """Peers with a live connection."""
        ...

    async def disconnect(self, peer_id: str) -> None:
        """Close all connections to a peer, even one that has stopped reading. Does nothing where there is none."""
        ...

    async def ban(self, peer_id: str, duration_s: float) -> None:
        """Disconnect a peer and refuse connections with it for a while."""
        ...

    def set_stream_handler(self, protocol: str, handler: StreamHandler) -> None:
        """Serve a protocol."""
        ...

    def set_members(self, is_member: Callable[[str], bool], heard: Callable[[str], None]) -> None:
        """Say which peers are known to belong here. Gossip of all others is limited; without this nobody's is.

        Args:
            heard: told of each other peer whose gossip was looked at.
        """
        ...

    def vouch(self, peer_id: str) -> None:
        """Say that a connected peer belongs here: its address is not barred for what others do from there."""
        ...

    def set_fault_listener(self, listener: FaultListener) -> None:
        """Be told when a peer breaks the rules in gossip or in a stream handler."""
        ...

    async def open_stream(self, peer_id: str, protocol: str, *, bulk: bool = False) -> Stream:
        """A new stream to a connected peer.

        Args:
            bulk: much will go over it, and nothing else is to wait for that. It takes a connection of its own where the
                peer's address is known and it accepts one.

        Raises:
            NotConnected: connect first.
            ProtocolRefused: the peer does not speak it, or does not answer in time.
        """
        ...

    def provide(self, cid: bytes) -> None:
        """Let others find this host by a content it has: told in the background, and again from time to time.

        Nothing happens on a host without discovery.
        """
        ...

    async def find_providers(self, cid: bytes) -> tuple[str, ...]:
        """Addresses of peers that are said to have a content, at most 16, never our own. Nothing of it is proved."""
        ...

    async def subscribe(self, topic: str, accept: Accept) -> None:
        """Take part in a gossip topic. ``accept`` sees every message of others once, never our own.

        ``accept`` returns false, or raises an `InputError`, for what should not be passed on. Only a `DecodeError` or a
        `SignatureError` is the forwarder's fault: what is invalid here and now may have been valid where it came from.
        """
        ...

    async def publish(self, topic: str, data: bytes) -> None:
        """Spread a message. Loss is possible and not repaired.

        Raises:
            MessageTooLarge: above ``gossip_size_bytes_max``.
        """
        ...
