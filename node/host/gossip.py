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
* Every message sent carries a record of our own addresses, which is read from the host, parsed and packed again each
  time: more than two milliseconds. Here that is done once in `_RECORD_AGE_MAX_S`.
* Queues of 32 messages per peer overflow in silence. Here they hold `HostLimits.gossip_queue_max`, and what the
  router drops can be found by pulling, as gossip promises nothing.

Messages are delivered by calling `Accept` inside the reading task of the forwarder, so a slow receiver slows its
senders down instead of filling memory.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from google.protobuf.message import DecodeError as ProtobufError
from libp2p.abc import IHost
from libp2p.io.exceptions import IOException
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.rpc_queue import RpcQueue
from libp2p.pubsub.validators import signature_validator

from node.host.framing import FrameStream
from node.host.interface import Accept, FaultListener, FrameTooLarge, HostLimits, StreamClosed
from node.host.mends import GuardedManager
from pdfedchain.errors import DecodeError, InputError, SignatureError

__all__ = ["MendedGossipSub", "MendedPubsub", "RememberingHost", "new_gossip"]

log = logging.getLogger(__name__)

#: Envelope around a message, and the control messages that may travel with it.
_RPC_SIZE_BYTES_MAX: Final = 2_097_152

_VARINT_SIZE_BYTES_MAX: Final = 10

#: How old what we say of our own addresses may be; nobody here relies on it.
_RECORD_AGE_MAX_S: Final = 1.0


class MendedGossipSub(GossipSub):  # type: ignore[misc]
    """The router: who gets what."""

    counters: Counter[str]

    @property
    def manager(self) -> GuardedManager:
        """The task manager, guarded."""
        return GuardedManager(self._manager, self.counters)

    async def publish(self, msg_forwarder: ID, pubsub_msg: rpc_pb2.Message) -> None:
        """Pass a message on."""
        await super().publish(msg_forwarder, pubsub_msg)
        self.recent_message_deliveries.clear()


class _OwnRecord:
    """Our record as the peer store keeps it, with what is asked of it for every message computed once."""

    def __init__(self, envelope: Any) -> None:
        self.envelope = envelope
        self._addresses = envelope._env_addrs_set()
        self._packed: bytes = envelope.marshal_envelope()

    def _env_addrs_set(self) -> Any:
        return self._addresses

    def marshal_envelope(self) -> bytes:
        """The bytes to send."""
        return self._packed


class _RememberingStore:
    """A peer store that answers `get_local_record` from memory."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._record: _OwnRecord | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def get_local_record(self) -> _OwnRecord | None:
        """Our own record, ``None`` before the first."""
        envelope = self._inner.get_local_record()
        if envelope is None:
            return None
        if self._record is None or self._record.envelope is not envelope:
            self._record = _OwnRecord(envelope)
        return self._record


class RememberingHost:
    """The host as pubsub sees it: what it says of our own addresses holds for `_RECORD_AGE_MAX_S`."""

    def __init__(self, inner: IHost) -> None:
        self._inner = inner
        self._store = _RememberingStore(inner.get_peerstore())
        self._addresses: list[Any] = []
        self._asked_at = -_RECORD_AGE_MAX_S

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def get_peerstore(self) -> _RememberingStore:
        """The peer store, remembering."""
        return self._store

    def get_addrs(self) -> list[Any]:
        """Addresses we are reached at."""
        now = time.monotonic()
        if now - self._asked_at >= _RECORD_AGE_MAX_S:
            self._addresses, self._asked_at = self._inner.get_addrs(), now
        return self._addresses


class _Queues(dict[ID, RpcQueue]):
    """The outgoing queues per peer, each made large when it is entered."""

    def __init__(self, length_max: int) -> None:
        super().__init__()
        self._length_max = length_max

    def __setitem__(self, peer_id: ID, queue: RpcQueue) -> None:
        queue._queue.max_size = self._length_max
        super().__setitem__(peer_id, queue)


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
        wrap: Callable[[Any], FrameStream],
    ) -> None:
        super().__init__(RememberingHost(host), router, seen_ttl=600, validation_cache_ttl=300, strict_signing=True)
        self.counter = time.time_ns()
        self.peer_queues = _Queues(limits.gossip_queue_max)
        self._limits = limits
        self._counters = counters
        self._fault = fault
        self._wrap = wrap
        self._accept: dict[str, Accept] = {}

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
        try:
            while self.manager.is_running:
                await self._handle_rpc(peer_id, await _read_rpc(frames))
        except (ProtobufError, FrameTooLarge) as error:
            self._counters["gossip_undecodable"] += 1
            self._fault(str(peer_id), f"undecodable gossip: {error}")
        except (StreamClosed, IOException) as error:
            log.debug("gossip stream of %s ended: %s", peer_id, error)
        finally:
            await frames.reset()
            self._handle_dead_peer(peer_id)

    async def _handle_rpc(self, peer_id: ID, rpc: rpc_pb2.RPC) -> None:
        rpc.ClearField("senderRecord")
        for message in rpc.publish:
            await self.push_msg(peer_id, message)
        if len(rpc.subscriptions) > self.max_subscriptions_per_rpc:
            self._counters["gossip_oversized"] += 1
        else:
            for subscription in rpc.subscriptions:
                self.handle_subscription(peer_id, subscription)
        if rpc.HasField("control"):
            await self.router.handle_rpc(rpc, peer_id)

    async def push_msg(self, msg_forwarder: ID, msg: rpc_pb2.Message) -> None:
        """Check a message and pass it on: our own from `publish`, others' from the reader."""
        own = msg_forwarder == self.my_id
        if self._is_msg_seen(msg):
            return
        if not own and not self._take(msg_forwarder, msg):
            return
        self._mark_msg_seen(msg)
        await self.router.publish(msg_forwarder, msg)

    def _take(self, forwarder: ID, msg: rpc_pb2.Message) -> bool:
        """Whether a message of somebody else is to be passed on; delivers it if so."""
        accept = self._accept.get(msg.topicIDs[0]) if len(msg.topicIDs) == 1 else None
        if accept is None:
            self._counters["gossip_off_topic"] += 1
            return False
        if len(msg.data) > self._limits.gossip_size_bytes_max:
            self._counters["gossip_oversized"] += 1
            return False
        if msg.from_id == self.my_id.to_bytes():
            return False
        if not _is_signed(msg):
            self._counters["gossip_unsigned"] += 1
            self._fault(str(forwarder), "gossip message with a wrong signature")
            return False
        self._mark_msg_seen(msg)
        try:
            accepted = accept(str(forwarder), msg.data)
        except (DecodeError, SignatureError) as error:
            self._fault(str(forwarder), f"gossip message: {error}")
            accepted = False
        except InputError as error:
            log.debug("gossip message refused: %s", error)
            accepted = False
        except Exception:
            self._counters["gossip_validator_errors"] += 1
            log.exception("the receiver of %s failed on a message from %s", msg.topicIDs[0], forwarder)
            return False
        if not accepted:
            self._counters["gossip_rejected"] += 1
        return accepted

    def notify_subscriptions(self, publish_message: rpc_pb2.Message) -> None:
        """Nothing: `_take` has delivered it, and nobody reads libp2p's subscription channels."""


async def _read_rpc(frames: FrameStream) -> rpc_pb2.RPC:
    size_bytes = 0
    for position in range(_VARINT_SIZE_BYTES_MAX):
        (byte,) = await frames.read_exactly(1)
        size_bytes |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            break
    if byte >= 0x80 or size_bytes > _RPC_SIZE_BYTES_MAX:
        raise FrameTooLarge(frames.peer_id, size_bytes, _RPC_SIZE_BYTES_MAX)
    rpc = rpc_pb2.RPC()
    rpc.ParseFromString(await frames.read_exactly(size_bytes))
    return rpc


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
    wrap: Callable[[Any], FrameStream],
) -> tuple[MendedPubsub, MendedGossipSub]:
    """Pubsub and router with the measured configuration.

    Only meshsub 1.1.0: 1.2 costs twice the processor time. Heartbeat each second instead of each two minutes, adaptive
    mode off (it slows the heartbeat to 30 s), libp2p's own rate limit off (it drops our own messages too).
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
    pubsub = MendedPubsub(host, router, limits=limits, counters=counters, fault=fault, wrap=wrap)
    return pubsub, router
