"""Gossipsub 1.1, mended.

Traps of libp2p 0.8.1 that this mends:

* An undecodable RPC stops the host. Here it resets that stream and is the peer's fault.
* A message with a garbage key stops pubsub. Here a signature that cannot be checked is a wrong signature.
* An exception in a validator stops the node. Here it is logged and counted, and the message goes no further.
* After its seen entry expired, a sequence number with new content is delivered unvalidated. There is no cache of
  verdicts here: `Accept` sees whatever is delivered.
* Refusing a message formats it to text, megabytes at a time.
* Sequence numbers start at the second of the start, so a quick restart is mute. Here they are nanoseconds.
* Above 1 MiB a message vanishes without a word. Here `publish` raises.
* The times of all deliveries are kept for ever.
* An RPC with an older record of its sender's addresses is discarded whole, so a clock that steps back mutes a
  node. Addresses come from the peer manager; records are ignored, which also saves their verification.
* Every message sent carries a record of our own addresses, made anew each time (`node.host.gossip_record`).
* Queues of 32 messages per peer overflow in silence; longer ones are bounded by nothing else. Here they are bounded in
  bytes (`node.host.gossip_queue`), and what is dropped is counted and found by pulling (`node.reconciliation`).
* One request for cached messages may be answered with gigabytes, addresses in a PRUNE are dialled, made-up topics are
  remembered (`node.host.gossip_control`).
* Each peer is sent the control messages of those before it, and every payload is copied twice for each peer
  (`node.host.gossip_router`).
* A peer may send what is known already for ever. Here it may while there is news, and some thousands of messages more.

Messages are delivered by calling `Accept` inside the reading task of the forwarder, so a slow receiver slows its
senders down instead of filling memory.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio
from google.protobuf.message import DecodeError as ProtobufError
from libp2p.abc import IHost
from libp2p.io.exceptions import IOException
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.rpc_queue import RpcQueue
from libp2p.pubsub.validators import signature_validator
from libp2p.utils import encode_varint_prefixed

from node.host.framing import FrameStream
from node.host.gossip_control import PAYLOADS_MAX, SUBSCRIPTIONS_MAX, Misuse, clean_control, clean_subscriptions
from node.host.gossip_queue import Queues
from node.host.gossip_record import RememberingHost
from node.host.gossip_router import MendedGossipSub
from node.host.interface import Accept, FaultListener, FrameTooLarge, HostLimits, StreamClosed
from node.host.mends import GuardedManager
from node.host.strangers import Strangers
from node.host.stream import Libp2pStream
from pdfedchain.errors import DecodeError, InputError, SignatureError

__all__ = ["MendedGossipSub", "MendedPubsub", "new_gossip"]

log = logging.getLogger(__name__)

#: Envelope around a message, and the control messages that may travel with it.
_RPC_SIZE_BYTES_MAX: Final = 2_097_152

_VARINT_SIZE_BYTES_MAX: Final = 10

#: Messages written together, as far as they wait already.
_TOGETHER_SIZE_BYTES: Final = 65_536

#: A peer that takes no gossip for so long, or does not end what it has begun to send, loses its stream.
_WRITE_TIMEOUT_S: Final = 60.0
_READ_TIMEOUT_S: Final = 60.0

#: Streams on which one peer sends gossip. It needs one, and a second while it connects anew.
_STREAMS_PER_PEER_MAX: Final = 8

#: Messages of one peer that bring nothing (known, off topic, refused) are counted for so long, and may be so many, and
#: so many times as many as were news meanwhile. Each neighbour sends each message once, and a peer that was stopped
#: sends a whole queue late.
_USELESS_WINDOW_S: Final = 10.0
_USELESS_MAX: Final = 6_000
_USELESS_PER_NEWS: Final = 4


class _BadMessage(Exception):
    """The forwarder is to blame; the text says for what. The rest of what came with the message is not looked at."""


class _Usefulness:
    """How many messages of each peer brought nothing, beside how many brought something at all."""

    def __init__(self) -> None:
        self._useless: Counter[ID] = Counter()
        self._news = 0
        self._since = time.monotonic()

    def news(self) -> None:
        """A message was new here."""
        self._news += 1

    def is_flood(self, peer_id: ID) -> bool:
        """Count a message that brought nothing; whether the peer sends too many of them."""
        now = time.monotonic()
        if now - self._since > _USELESS_WINDOW_S:
            self._useless.clear()
            self._news, self._since = 0, now
        self._useless[peer_id] += 1
        return self._useless[peer_id] > _USELESS_MAX + _USELESS_PER_NEWS * self._news


class MendedPubsub(Pubsub):  # type: ignore[misc]
    """Reads RPCs, checks messages, and hands them to `Accept` and to the router."""

    def __init__(
        self,
        host: IHost,
        router: MendedGossipSub,
        *,
        limits: HostLimits,
        counters: Counter[str],
        fault: FaultListener,
        wrap: Callable[[Any], Libp2pStream],
        ended: Callable[[Libp2pStream], Awaitable[None]],
    ) -> None:
        super().__init__(RememberingHost(host), router, seen_ttl=600, validation_cache_ttl=300, strict_signing=True)
        self.counter = time.time_ns()
        self.peer_queues = Queues(limits, counters)
        self.max_subscriptions_per_peer = SUBSCRIPTIONS_MAX
        self._limits = limits
        self._counters = counters
        self._fault = fault
        self._wrap = wrap
        self._ended = ended
        self._accept: dict[str, Accept] = {}
        self._usefulness = _Usefulness()
        self._readers: Counter[ID] = Counter()
        self.strangers = router.strangers = Strangers(counters)

    @property
    def manager(self) -> GuardedManager:
        """The task manager, guarded."""
        return GuardedManager(self._manager, self._counters)

    async def take_part(self, topic: str, accept: Accept) -> None:
        """Subscribe; ``accept`` sees each message of others once."""
        self._accept[topic] = accept
        await self.subscribe(topic)

    async def stream_handler(self, stream: Any) -> None:
        """Read one peer's RPCs until its stream ends."""
        peer_id = stream.muxed_conn.peer_id
        frames = self._wrap(stream)
        if self._readers[peer_id] >= _STREAMS_PER_PEER_MAX:
            self._counters["gossip_streams_refused"] += 1
            await frames.reset()
            return
        self._readers[peer_id] += 1
        try:
            while self.manager.is_running:
                await self._handle_rpc(peer_id, await _read_rpc(frames))
        except (ProtobufError, FrameTooLarge) as error:
            self._counters["gossip_undecodable"] += 1
            self._fault(str(peer_id), f"undecodable gossip: {error}")
        except trio.TooSlowError:
            self._counters["gossip_slow"] += 1
            log.debug("%s does not end what it began to send", peer_id)
        except (StreamClosed, IOException) as error:
            log.debug("gossip stream of %s ended: %s", peer_id, error)
        finally:
            self._readers[peer_id] -= 1
            if not self._readers[peer_id]:
                del self._readers[peer_id]
            await frames.reset()
            self._handle_dead_peer(peer_id)
            await self._ended(frames)

    async def _handle_rpc(self, peer_id: ID, rpc: rpc_pb2.RPC) -> None:
        for subscription in clean_subscriptions(rpc.subscriptions, self._counters):
            self.handle_subscription(peer_id, subscription)
        try:
            if len(rpc.publish) > PAYLOADS_MAX:
                raise _BadMessage(f"{len(rpc.publish)} gossip messages at once")
            for message in rpc.publish:
                await self.push_msg(peer_id, message)
                await trio.lowlevel.checkpoint()
            if rpc.HasField("control"):
                control = clean_control(rpc.control, self._accept, self._counters)
                await self.router.handle_rpc(rpc_pb2.RPC(control=control), peer_id)
        except (_BadMessage, Misuse) as error:
            self._fault(str(peer_id), str(error))

    async def push_msg(self, msg_forwarder: ID, msg: rpc_pb2.Message) -> None:
        """Check a message and pass it on: our own from `publish`, others' from the reader."""
        own = msg_forwarder == self.my_id
        if not own and not self.strangers.may_say(str(msg_forwarder), len(msg.data)):
            return
        if self._is_msg_seen(msg):
            if not own:
                self._useless(msg_forwarder)
            return
        if not own and not self._take(msg_forwarder, msg):
            return
        self._mark_msg_seen(msg)
        self._usefulness.news()
        await self.router.publish(msg_forwarder, msg)

    def _take(self, forwarder: ID, msg: rpc_pb2.Message) -> bool:
        """Whether a message of somebody else is to be passed on; delivers it if so.

        Raises:
            _BadMessage: no honest peer forwards this.
        """
        accept = self._accept.get(msg.topicIDs[0]) if len(msg.topicIDs) == 1 else None
        if accept is None:
            self._counters["gossip_off_topic"] += 1
            self._useless(forwarder)
            return False
        if len(msg.data) > self._limits.gossip_size_bytes_max:
            self._counters["gossip_oversized"] += 1
            raise _BadMessage(f"gossip message of {len(msg.data)} bytes")
        if msg.from_id == self.my_id.to_bytes():
            self._useless(forwarder)
            return False
        if not _is_signed(msg):
            self._counters["gossip_unsigned"] += 1
            raise _BadMessage("gossip message with a wrong signature")
        self._mark_msg_seen(msg)
        try:
            accepted = accept(str(forwarder), msg.data)
        except (DecodeError, SignatureError) as error:
            self._counters["gossip_rejected"] += 1
            raise _BadMessage(f"gossip message: {error}") from error
        except InputError as error:
            log.debug("gossip message refused: %s", error)
            accepted = False
        except Exception:
            self._counters["gossip_validator_errors"] += 1
            log.exception("the receiver of %s failed on a message from %s", msg.topicIDs[0], forwarder)
            return False
        if not accepted:
            self._counters["gossip_rejected"] += 1
            self._useless(forwarder)
        return accepted

    def _useless(self, forwarder: ID) -> None:
        """A message brought nothing. One is nobody's fault, thousands are the forwarder's."""
        if self._usefulness.is_flood(forwarder):
            self._counters["gossip_flooded"] += 1
            raise _BadMessage("a flood of gossip messages that bring nothing")

    async def handle_sending_messages(self, peer_id: ID, stream: Any, queue: RpcQueue) -> None:
        """Write what waits for one peer until its queue is closed.

        libp2p's own writing gives up the stream after five seconds without a window, which a busy peer may well need.
        """
        frames = self._wrap(stream)
        try:
            while (rpc := await queue.pop()) is not None:
                written = [encode_varint_prefixed(rpc.SerializeToString())]
                size_bytes = len(written[0])
                while size_bytes < _TOGETHER_SIZE_BYTES and (rpc := queue._queue.pop()) is not None:
                    written.append(encode_varint_prefixed(rpc.SerializeToString()))
                    size_bytes += len(written[-1])
                with trio.fail_after(_WRITE_TIMEOUT_S):
                    await frames.write(b"".join(written))
        except (StreamClosed, trio.TooSlowError) as error:
            log.debug("gossip to %s ended: %s", peer_id, error)
            await frames.reset()
            self._handle_dead_peer(peer_id)

    def notify_subscriptions(self, publish_message: rpc_pb2.Message) -> None:
        """Nothing: `_take` has delivered it, and nobody reads libp2p's subscription channels."""


async def _read_rpc(frames: FrameStream) -> rpc_pb2.RPC:
    """The next message.

    Raises:
        TooSlowError: its first byte came, and its last one did not come in time.
    """
    first = await frames.read_exactly(1)
    with trio.fail_after(_READ_TIMEOUT_S):
        size_bytes = await _size(frames, first[0])
        rpc = rpc_pb2.RPC()
        rpc.ParseFromString(await frames.read_exactly(size_bytes))
        frames.note_request()
        return rpc


async def _size(frames: FrameStream, byte: int) -> int:
    """The number whose first byte this is."""
    size_bytes = byte & 0x7F
    for position in range(1, _VARINT_SIZE_BYTES_MAX):
        if byte < 0x80:
            break
        (byte,) = await frames.read_exactly(1)
        size_bytes |= (byte & 0x7F) << (7 * position)
    if byte >= 0x80 or size_bytes > _RPC_SIZE_BYTES_MAX:
        raise FrameTooLarge(frames.peer_id, size_bytes, _RPC_SIZE_BYTES_MAX)
    return size_bytes


def _is_signed(msg: rpc_pb2.Message) -> bool:
    try:
        return bool(signature_validator(msg))
    except Exception as error:  # noqa: BLE001 - whatever libp2p's parsers raise on a garbage key means: not signed
        log.debug("signature that cannot be checked: %s", error)
        return False


def new_gossip(
    host: IHost,
    *,
    limits: HostLimits,
    counters: Counter[str],
    fault: FaultListener,
    wrap: Callable[[Any], Libp2pStream],
    ended: Callable[[Libp2pStream], Awaitable[None]],
) -> tuple[MendedPubsub, MendedGossipSub]:
    """Pubsub and router with the measured configuration.

    Only meshsub 1.1.0: 1.2 costs twice the processor time. Heartbeat each second instead of each two minutes, adaptive
    mode off (it slows the heartbeat to 30 s), libp2p's own rate limit off (it drops our own messages too).

    Args:
        ended: told of each stream of gossip that a peer had opened.
    """
    router = MendedGossipSub(
        protocols=[PROTOCOL_ID_V11],
        degree=8,
        degree_low=6,
        degree_high=12,
        heartbeat_interval=1,
        adaptive_gossip_enabled=False,
        spam_protection_enabled=False,
        eclipse_protection_enabled=False,
    )
    router.counters = counters
    pubsub = MendedPubsub(host, router, limits=limits, counters=counters, fault=fault, wrap=wrap, ended=ended)
    return pubsub, router
