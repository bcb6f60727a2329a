"""Who gets what: the router of gossipsub 1.1, mended. See `node.host.gossip` for the list of what is mended."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any, Final

from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.mcache import MessageCache
from libp2p.pubsub.pb import rpc_pb2

from node.host.gossip_control import IDS_MAX
from node.host.mends import GuardedManager
from node.host.strangers import STRANGERS_IN_MESH_MAX, Strangers

__all__ = ["ANSWER_SIZE_BYTES_MAX", "CACHE_SIZE_BYTES_MAX", "BoundedCache", "MendedGossipSub"]

#: What one peer gets in answer to its IWANTs in a second.
ANSWER_SIZE_BYTES_MAX: Final = 4_194_304

#: Messages of the last heartbeats that others may ask for.
CACHE_SIZE_BYTES_MAX: Final = 33_554_432

#: Heartbeats for which a message is offered, and for which it may be asked for.
_GOSSIP_WINDOW: Final = 3
_GOSSIP_HISTORY: Final = 5


class BoundedCache(MessageCache):  # type: ignore[misc]
    """Recent messages, bounded in bytes; what does not fit is sent and not kept."""

    def __init__(self, window_size: int, history_size: int) -> None:
        super().__init__(window_size, history_size)
        self.size_bytes = 0

    def put(self, msg: rpc_pb2.Message) -> None:
        """Keep a message for a few heartbeats."""
        size_bytes = msg.ByteSize()
        if self.size_bytes + size_bytes <= CACHE_SIZE_BYTES_MAX:
            before = len(self.msgs)
            super().put(msg)
            self.size_bytes += size_bytes if len(self.msgs) > before else 0

    def shift(self) -> None:
        """Forget what is oldest."""
        for entry in self.history[-1]:
            message = self.msgs.get(entry.mid)
            self.size_bytes -= 0 if message is None else message.ByteSize()
        super().shift()

    def window(self, topic: str) -> list[bytes]:
        """What to offer to peers, the newest first, no more than they take."""
        return list(super().window(topic)[: IDS_MAX // 2])


class MendedGossipSub(GossipSub):  # type: ignore[misc]
    """The router."""

    counters: Counter[str]
    strangers: Strangers

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.mcache: MessageCache = BoundedCache(_GOSSIP_WINDOW, _GOSSIP_HISTORY)
        self._answered: dict[ID, tuple[int, int]] = {}

    @property
    def manager(self) -> GuardedManager:
        """The task manager, guarded."""
        return GuardedManager(self._manager, self.counters)

    async def publish(self, msg_forwarder: ID, pubsub_msg: rpc_pb2.Message) -> None:
        """Pass a message on."""
        await super().publish(msg_forwarder, pubsub_msg)
        self.recent_message_deliveries.clear()

    async def handle_iwant(self, iwant_msg: rpc_pb2.ControlIWant, sender_peer_id: ID) -> None:
        """Send what a peer asks for, as much as it may get in a second."""
        if not self._check_iwant_rate_limit(sender_peer_id):
            self.counters["gossip_wishes_refused"] += len(iwant_msg.messageIDs)
            return
        second = int(time.monotonic())
        at, size_bytes = self._answered.get(sender_peer_id, (second, 0))
        if at != second:
            size_bytes = 0
        for identifier in iwant_msg.messageIDs:
            message = self.mcache.get(identifier)
            if message is None:
                continue
            if size_bytes + message.ByteSize() > ANSWER_SIZE_BYTES_MAX:
                self.counters["gossip_wishes_refused"] += 1
                continue
            size_bytes += message.ByteSize()
            self.send_rpc(sender_peer_id, rpc_pb2.RPC(publish=[message]))
        self._answered[sender_peer_id] = (second, size_bytes)

    async def handle_graft(self, graft_msg: rpc_pb2.ControlGraft, sender_peer_id: ID) -> None:
        """Take a peer into a mesh. Strangers have few places there; one that is turned away is not told to stay away.

        It may be about to say hello, and is grafted with the next heartbeat then.
        """
        if not self.strangers.is_member(str(sender_peer_id)):
            others = self.mesh.get(graft_msg.topicID, set()) - {sender_peer_id}
            if sum(not self.strangers.is_member(str(peer_id)) for peer_id in others) >= STRANGERS_IN_MESH_MAX:
                self.counters["gossip_strangers_not_grafted"] += 1
                return
        await super().handle_graft(graft_msg, sender_peer_id)

    async def on_peer_subscribed(self, peer_id: ID, topic: str) -> None:
        """Graft a peer that takes part in a topic, unless it is a stranger: those have to ask."""
        if self.strangers.is_member(str(peer_id)):
            await super().on_peer_subscribed(peer_id, topic)

    def _get_in_topic_gossipsub_peers_from_minus(self, topic: str, num: int, minus: Any, *options: Any) -> list[ID]:
        """Peers to graft or to tell of messages: members only."""
        strangers = {
            peer_id for peer_id in self.pubsub.peer_topics.get(topic, ()) if not self.strangers.is_member(str(peer_id))
        }
        found = super()._get_in_topic_gossipsub_peers_from_minus(topic, num, {*minus, *strangers}, *options)
        return list(found)

    def remove_peer(self, peer_id: ID) -> None:
        """Forget a peer that has gone."""
        super().remove_peer(peer_id)
        self._answered.pop(peer_id, None)

    async def _emit_control_msgs(
        self,
        peers_to_graft: dict[ID, list[str]],
        peers_to_prune: dict[ID, list[str]],
        peers_to_gossip: dict[ID, dict[str, list[bytes]]],
    ) -> None:
        """One control message for each peer. libp2p's own sends each peer the grafts and offers of those before it."""
        for peer_id in {*peers_to_graft, *peers_to_prune, *peers_to_gossip}:
            control = rpc_pb2.ControlMessage()
            for topic in peers_to_graft.get(peer_id, ()):
                control.graft.add(topicID=topic)
            for topic in peers_to_prune.get(peer_id, ()):
                control.prune.add(topicID=topic)
            for topic, identifiers in peers_to_gossip.get(peer_id, {}).items():
                control.ihave.add(topicID=topic).messageIDs.extend(identifiers)
            await self.emit_control_message(control, peer_id)

    def send_rpc(self, peer_id: ID, rpc: rpc_pb2.RPC, priority: bool = False) -> None:
        """Put a message in line for a peer.

        One payload by itself is what most messages are, and goes to many peers: they share it, where libp2p copies it
        twice for each.
        """
        queue = None if self.pubsub is None else self.pubsub.peer_queues.get(peer_id)
        if queue is None:
            self._handle_dropped_rpc(peer_id, rpc, "no stream")
        elif (
            len(rpc.publish) == 1
            and not rpc.subscriptions
            and not rpc.HasField("control")
            and peer_id not in self._pending_control
        ):
            if not queue.push(rpc, priority=priority):
                self._handle_dropped_rpc(peer_id, rpc, "queue_full")
        else:
            super().send_rpc(peer_id, rpc, priority)

    def _handle_dropped_rpc(self, peer_id: ID, rpc: rpc_pb2.RPC, reason: str) -> None:
        """Count what is lost: payloads are found again by pulling, control messages by the next heartbeat."""
        self.counters["gossip_dropped"] += len(rpc.publish)
        if rpc.HasField("control"):
            self.counters["gossip_control_unsent"] += 1
        super()._handle_dropped_rpc(peer_id, rpc, reason)
