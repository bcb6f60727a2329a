"""What arrives below the node's own protocols: frames of yamux, gossip, Bitswap, as a peer may write them.

The peer is past the handshake: its frames are decrypted already, and its signatures are right where an input asks for
that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import trio
from google.protobuf.message import DecodeError as ProtobufError
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import PUBSUB_SIGNING_PREFIX
from libp2p.pubsub.rpc_queue import RpcQueue
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable
from libp2p.stream_muxer.yamux.yamux import (
    FLAG_ACK,
    FLAG_FIN,
    FLAG_RST,
    FLAG_SYN,
    TYPE_DATA,
    TYPE_GO_AWAY,
    TYPE_PING,
    TYPE_WINDOW_UPDATE,
)
from libp2p.utils import encode_varint_prefixed

from node.host.bitswap_wire import BitswapMessage, BitswapWant, decode_message, encode_message, receive_message
from node.host.framing import FrameStream
from node.host.gossip import MendedGossipSub, MendedPubsub, new_gossip
from node.host.gossip_queue import GOSSIP_QUEUES_SIZE_BYTES_MAX
from node.host.gossip_router import CACHE_SIZE_BYTES_MAX
from node.host.interface import HostLimits, Stream, StreamClosed
from node.host.libp2p_host import Libp2pStream
from node.host.neighbours import addresses_in
from node.host.yamux import BUFFERED_SIZE_BYTES_MAX, QueuedYamux
from pdfedchain.errors import DecodeError, InvalidTransaction
from tests.fuzz.streams import FedStream, StreamTarget, run_virtual
from tests.fuzz.target import LENGTH_MAX, Target
from tests.node.host.wires import with_noise

__all__ = ["wire_targets"]

_TOPIC = "/pdfed/fuzz/tx"
_OURS = create_new_key_pair(bytes(31) + b"\x01")
_AUTHOR = create_new_key_pair(bytes(31) + b"\x02")
_PEER = ID.from_pubkey(create_new_key_pair(bytes(31) + b"\x03").public_key)
_NEIGHBOUR = ID.from_pubkey(create_new_key_pair(bytes(31) + b"\x04").public_key)


class _Socket:
    """One noise message, unencrypted, and then the end; what is written is counted."""

    def __init__(self, incoming: bytes) -> None:
        self._incoming = len(incoming).to_bytes(2, "big") + incoming
        self.is_open = True
        self.written_size_bytes = 0

    async def receive_into(self, buffer: memoryview) -> int:
        await trio.lowlevel.checkpoint()
        data, self._incoming = self._incoming[: len(buffer)], self._incoming[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)

    async def send(self, pieces: Sequence[bytes | memoryview]) -> None:
        await trio.lowlevel.checkpoint()
        self.written_size_bytes += sum(map(len, pieces))

    async def close(self) -> None:
        await trio.lowlevel.checkpoint()
        self.is_open = False


class _NoCipher:
    """Leaves noise messages as they are."""

    def encrypt_with_ad(self, ad: None, data: bytes) -> bytes:
        return data

    def decrypt_with_ad(self, ad: None, data: memoryview) -> bytes:
        return bytes(data)


async def _yamux(data: bytes) -> None:
    """A connection on which these frames arrive: streams are read and echoed, then all has ended and is forgotten."""
    socket = _Socket(data)
    states = SimpleNamespace(cipher_state_encrypt=_NoCipher(), cipher_state_decrypt=_NoCipher())
    session = with_noise(socket, SimpleNamespace(noise_protocol=states))
    connection = QueuedYamux(session, _PEER, is_initiator=False)
    read_size_bytes = 0

    async def echo(stream: Any) -> None:
        nonlocal read_size_bytes
        net = SimpleNamespace(muxed_conn=connection, muxed_stream=stream)
        frames = Libp2pStream(cast(Any, net), "/fuzz/1")
        try:
            while chunk := await frames._read_some():
                read_size_bytes += len(chunk)
                await frames.write(bytes(chunk))
        except StreamClosed:
            return

    async def accept() -> None:
        while True:
            try:
                stream = await connection.accept_stream()
            except MuxedConnUnavailable:
                return
            nursery.start_soon(echo, stream)

    with trio.fail_after(600):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            await connection.start()
    if socket.is_open or connection.streams or connection.stream_buffers:
        raise AssertionError("the connection has ended and something of it is left")
    if read_size_bytes > len(data):
        raise AssertionError("streams have read more than was sent")
    if sum(map(len, connection.stream_buffers.values())) > BUFFERED_SIZE_BYTES_MAX:
        raise AssertionError("more is buffered than the bound allows")


def _frame(kind: int, flags: int, stream_id: int, length: int, body: bytes = b"") -> bytes:
    header = bytes([0, kind]) + flags.to_bytes(2, "big") + stream_id.to_bytes(4, "big") + length.to_bytes(4, "big")
    return header + body


def _yamux_seeds() -> tuple[bytes, ...]:
    opened = _frame(TYPE_WINDOW_UPDATE, FLAG_SYN, 1, 0)
    said = _frame(TYPE_DATA, 0, 1, 5, b"hello")
    return (
        opened + said + said + _frame(TYPE_DATA, FLAG_FIN, 1, 0),
        _frame(TYPE_DATA, FLAG_SYN, 3, 5, b"hello") + _frame(TYPE_WINDOW_UPDATE, 0, 3, 70_000),
        opened + _frame(TYPE_WINDOW_UPDATE, FLAG_RST, 1, 0) + said,
        opened + said + opened + _frame(TYPE_DATA, FLAG_ACK, 1, 2, b"ok"),
        _frame(TYPE_PING, FLAG_SYN, 0, 77) + _frame(TYPE_PING, FLAG_ACK, 0, 1),
        opened + said + _frame(TYPE_GO_AWAY, 0, 0, 1),
        _frame(TYPE_DATA, 0, 9, 2**24 + 1),
    )


class _Tasks:
    """The task manager of a pubsub service that runs: tasks are collected, to be run when the input has been read."""

    is_running = True

    def __init__(self) -> None:
        self._waiting: list[tuple[Any, tuple[Any, ...]]] = []

    def run_task(self, function: Any, *arguments: Any, **options: Any) -> None:
        self._waiting.append((function, arguments))

    async def run_all(self) -> None:
        while self._waiting:
            function, arguments = self._waiting.pop(0)
            await function(*arguments)


class GossipTarget:
    """A gossip stream of one peer, to a node that takes part in one topic; its messages may be rightly signed.

    Another peer is in that topic too, so that what is accepted is passed on.
    """

    def __init__(self) -> None:
        network = SimpleNamespace(register_notifee=lambda notifee: None, get_connections=lambda peer_id: [])
        store = PeerStore()
        host = SimpleNamespace(
            get_network=lambda: network,
            get_peerstore=lambda: store,
            get_addrs=list,
            get_id=lambda: ID.from_pubkey(_OURS.public_key),
            get_private_key=lambda: _OURS.private_key,
            set_stream_handler=lambda protocol, handler: None,
        )
        self._counters: Counter[str] = Counter()
        self._pubsub, self._router = self._started(host)
        self.faults: list[str] = []

    def _started(self, host: Any) -> tuple[MendedPubsub, MendedGossipSub]:
        pubsub, router = new_gossip(
            host,
            limits=HostLimits(),
            counters=self._counters,
            fault=self._blame,
            wrap=self._wrapped,
            ended=self._ended,
        )
        self._tasks = _Tasks()
        pubsub._manager = router._manager = self._tasks
        trio.run(pubsub.take_part, _TOPIC, _accept)
        return pubsub, router

    def _blame(self, peer_id: str, reason: str) -> None:
        self.faults.append(reason)

    def _wrapped(self, stream: Any) -> Libp2pStream:
        return cast(Libp2pStream, stream.fed)

    async def _ended(self, stream: FrameStream) -> None:
        assert stream.barren_s is None or stream.barren_s >= 0

    def __call__(self, data: bytes) -> None:
        signed, raw = data[:1] and data[0] & 1, data[1:]
        fed = FedStream(raw if data[:1] and data[0] & 2 else encode_varint_prefixed(_signed(raw) if signed else raw))
        self._counters.clear()
        self.faults.clear()
        self._pubsub.seen_messages.cache.clear()
        run_virtual(self._run, fed)
        if self._counters["gossip_validator_errors"] or self._counters["libp2p_task_errors"]:
            raise AssertionError("something failed in a way that it does not document")
        if self._pubsub.peer_queues or self._pubsub.peer_queues.total.size_bytes:
            raise AssertionError("the peer is gone and something waits for it")

    async def _run(self, fed: FedStream) -> None:
        pubsub, router = self._pubsub, self._router
        for peer_id in (_PEER, _NEIGHBOUR):
            pubsub.peers[peer_id] = cast(Any, object())
            pubsub.peer_queues[peer_id] = RpcQueue()
            router.add_peer(peer_id, PROTOCOL_ID_V11)
        pubsub.handle_subscription(_NEIGHBOUR, rpc_pb2.RPC.SubOpts(subscribe=True, topicid=_TOPIC))
        stream = SimpleNamespace(muxed_conn=SimpleNamespace(peer_id=_PEER), fed=fed)
        await pubsub.stream_handler(stream)
        await self._tasks.run_all()
        cache_size_bytes = router.mcache.size_bytes
        if (
            pubsub.peer_queues.total.size_bytes > GOSSIP_QUEUES_SIZE_BYTES_MAX
            or cache_size_bytes > CACHE_SIZE_BYTES_MAX
        ):
            raise AssertionError("more is kept than the bounds allow")
        pubsub._handle_dead_peer(_NEIGHBOUR)
        router.mcache.shift()


def _accept(peer_id: str, data: bytes) -> bool:
    """A receiver of transactions: some are taken, some refused, some are none."""
    if data[:1] == b"!":
        raise DecodeError("nothing of the kind")
    if data[:1] == b"?":
        raise InvalidTransaction("refused", "not now")
    return data[:1] != b"-"


def _signed(raw: bytes) -> bytes:
    """The same gossip with the author's signature under each message."""
    rpc = rpc_pb2.RPC()
    try:
        rpc.ParseFromString(raw)
    except ProtobufError:
        return raw
    for message in rpc.publish:
        message.from_id = ID.from_pubkey(_AUTHOR.public_key).to_bytes()
        message.ClearField("signature")
        message.ClearField("key")
        message.signature = _AUTHOR.private_key.sign(PUBSUB_SIGNING_PREFIX.encode() + message.SerializeToString())
    return bytes(rpc.SerializeToString())


def _gossip_seeds() -> tuple[bytes, ...]:
    def message(number: int, data: bytes, topic: str = _TOPIC) -> rpc_pb2.Message:
        return rpc_pb2.Message(data=data, topicIDs=[topic], from_id=b"author", seqno=number.to_bytes(8, "big"))

    identifier = ID.from_pubkey(_AUTHOR.public_key).to_bytes() + (1).to_bytes(8, "big")
    control = rpc_pb2.ControlMessage(
        ihave=[rpc_pb2.ControlIHave(topicID=_TOPIC, messageIDs=[identifier, b"other"])],
        iwant=[rpc_pb2.ControlIWant(messageIDs=[identifier])],
        graft=[rpc_pb2.ControlGraft(topicID=_TOPIC)],
        prune=[rpc_pb2.ControlPrune(topicID=_TOPIC, backoff=60)],
    )
    subscribed = [rpc_pb2.RPC.SubOpts(subscribe=True, topicid=_TOPIC)]
    rpcs = (
        rpc_pb2.RPC(subscriptions=subscribed, publish=[message(1, b"one"), message(2, b"!two"), message(3, b"?three")]),
        rpc_pb2.RPC(publish=[message(1, b"one"), message(1, b"one"), message(4, b"-four", "/elsewhere")]),
        rpc_pb2.RPC(subscriptions=subscribed, publish=[message(1, b"one")], control=control),
        rpc_pb2.RPC(control=control),
    )
    packed = [bytes(rpc.SerializeToString()) for rpc in rpcs]
    whole = b"\x02" + b"".join(encode_varint_prefixed(each) for each in packed)
    return (*(bytes([flags]) + each for flags in (0, 1) for each in packed), whole)


def _bitswap(data: bytes) -> None:
    try:
        message = decode_message(data)
    except DecodeError:
        return
    if decode_message(encode_message(message)) != message:
        raise AssertionError("a message of Bitswap says something else after a trip")


async def _bitswap_stream(stream: Stream) -> None:
    while await receive_message(stream, LENGTH_MAX) is not None:
        pass


def _neighbour_record(data: bytes) -> None:
    """A record of multicast DNS, from anybody on the network."""
    found = addresses_in(data)
    if len(found) > 8 or any(len(address) > 255 or "/p2p/" not in address for address in found):
        raise AssertionError(f"{len(found)} addresses are taken from {len(data)} bytes")


def wire_targets() -> Iterator[Target]:
    """Targets of `node.host`."""
    cid = bytes.fromhex("01701220") + bytes(32)
    message = encode_message(
        BitswapMessage(
            (BitswapWant(cid), BitswapWant(cid, block=False, cancel=True, say_no=False)),
            ((cid[:4], b"block"),),
            (cid,),
            (cid,),
        )
    )
    prefixed = encode_varint_prefixed(message)
    address = b"dnsaddr=/ip4/192.0.2.1/tcp/4610/p2p/12D3KooWA3VMPYSEsLtiCeR9teHkTRD9M5sRqC7wMroEqY3XKAwR"
    record = bytes([len(address)]) + address
    yield Target("parse/bitswap-message", _bitswap, (message, b""))
    yield Target("parse/neighbour-record", _neighbour_record, (record, record * 9, b"\x00\xff" + record))
    yield Target("handle/bitswap-stream", StreamTarget(_bitswap_stream), (prefixed, prefixed * 2, b"\xff" * 6))
    yield Target("handle/yamux-frames", lambda data: run_virtual(_yamux, data), _yamux_seeds())
    yield Target("handle/gossip-stream", GossipTarget(), _gossip_seeds())
