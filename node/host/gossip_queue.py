"""Gossip that waits to be sent, bounded in bytes, and counted where it is not sent.

libp2p 0.8.1 bounds the queue of a peer in number only: 32 messages at first, which a burst overflows without a word; or
thousands, which a peer that does not read fills with half a gigabyte. Here a peer has `HostLimits.gossip_queue_max`
messages and `HostLimits.gossip_queue_size_bytes_max` bytes, and all peers together `GOSSIP_QUEUES_SIZE_BYTES_MAX`, of
which a peer whose queue is short always gets its share: those that do not read cannot take the room of those that do.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from libp2p.peer.id import ID
from libp2p.pubsub.rpc_queue import PriorityQueue, RpcQueue

from node.host.interface import HostLimits

__all__ = ["GOSSIP_QUEUES_SIZE_BYTES_MAX", "GOSSIP_SHARE_SIZE_BYTES", "BudgetedQueue", "Queues", "Total"]

#: Of all peers together. One message waiting for several peers counts for each, though it is in memory once.
GOSSIP_QUEUES_SIZE_BYTES_MAX: Final = 134_217_728

#: What a peer may always have waiting: two of the largest batches of transactions.
GOSSIP_SHARE_SIZE_BYTES: Final = 262_144


class Total:
    """Bytes waiting for all peers."""

    def __init__(self, size_bytes_max: int = GOSSIP_QUEUES_SIZE_BYTES_MAX) -> None:
        self.size_bytes_max = size_bytes_max
        self.size_bytes = 0


class BudgetedQueue(PriorityQueue):  # type: ignore[misc]
    """What waits for one peer."""

    def __init__(self, limits: HostLimits, total: Total) -> None:
        super().__init__(limits.gossip_queue_max)
        self._size_bytes_max = limits.gossip_queue_size_bytes_max
        self._total = total
        self.size_bytes = 0

    def push(self, rpc: Any, priority: bool = False) -> bool:
        """Append; false where there is no room."""
        size_bytes = rpc.ByteSize()
        after = self.size_bytes + size_bytes
        has_share = after <= GOSSIP_SHARE_SIZE_BYTES
        is_crowded = self._total.size_bytes + size_bytes > self._total.size_bytes_max
        if after > self._size_bytes_max or (is_crowded and not has_share):
            return False
        if not super().push(rpc, priority):
            return False
        self._account(size_bytes)
        return True

    def pop(self) -> Any | None:
        """The next, control messages first; None where nothing waits."""
        rpc = super().pop()
        if rpc is not None:
            self._account(-rpc.ByteSize())
        return rpc

    def clear(self) -> int:
        """Forget all; how many payloads that were."""
        lost = sum(len(rpc.publish) for rpc in (*self._priority, *self._non_priority))
        self._priority.clear()
        self._non_priority.clear()
        self._account(-self.size_bytes)
        return lost

    def _account(self, size_bytes: int) -> None:
        self.size_bytes += size_bytes
        self._total.size_bytes += size_bytes


class Queues(dict[ID, RpcQueue]):
    """The outgoing queues by peer, each given its budget when it is entered, and emptied when it is taken out."""

    def __init__(self, limits: HostLimits, counters: Counter[str]) -> None:
        super().__init__()
        self._limits = limits
        self._counters = counters
        self.total = Total()

    def __setitem__(self, peer_id: ID, queue: RpcQueue) -> None:
        self._empty(self.get(peer_id))
        queue._queue = BudgetedQueue(self._limits, self.total)
        super().__setitem__(peer_id, queue)

    def pop(self, peer_id: ID, *default: Any) -> Any:
        """Take out the queue of a peer that has gone."""
        queue = super().pop(peer_id, *default)
        self._empty(queue)
        return queue

    def _empty(self, queue: RpcQueue | None) -> None:
        if queue is not None:
            self._counters["gossip_dropped"] += queue._queue.clear()
