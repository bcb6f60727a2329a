"""Connections for bulk, beside those for everything else.

On one connection a vote waits behind every byte of weights that was written before it, in our queue, in both sockets
and on the line: on a line of 100 Mbit/s a few megabytes are a third of a second. So whoever wants bulk from a peer
dials it a second time, at the same address and port, and agrees on yamux by a name of its own, which tells the other
side what the connection is for. Where that fails (no address is known, or the peer does not know the name) bulk goes
over the first connection, as before.

libp2p balances streams between connections, and takes the end of one for the end of the peer. Connections for bulk are
therefore not in its tables: no gossip, no channel and no count of peers ever sees them. They live as long as the
peer's other connection does, at most one in each direction.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any, Final

import trio
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from node.host.yamux import QueuedYamux, dialling_bulk

__all__ = ["BulkConnections"]

log = logging.getLogger(__name__)

_CLOSE_S: Final = 1.0


class BulkConnections:
    """The connections for bulk of one swarm."""

    def __init__(self, swarm: Any, counters: Counter[str]) -> None:
        self._swarm = swarm
        self._counters = counters
        self._connections: dict[ID, list[Any]] = {}

    def of(self, peer_id: ID) -> tuple[Any, ...]:
        """Live connections for bulk with a peer."""
        return tuple(connection for connection in self._connections.get(peer_id, ()) if not connection.is_closed)

    async def dial(self, address: Multiaddr, peer_id: ID) -> Any:
        """One attempt at one address.

        Raises:
            SwarmException, OSError: no connection came about.
        """
        token = dialling_bulk.set(True)
        try:
            return await self._swarm.dial_addr(address, peer_id)
        finally:
            dialling_bulk.reset(token)
            self._swarm.unblock_peer(peer_id)

    async def add(self, muxed_conn: QueuedYamux, direction: str) -> Any:
        """Start a connection that was agreed to be for bulk.

        Raises:
            SwarmException: the peer has no other connection, or one for bulk in this direction already.
        """
        peer_id = muxed_conn.peer_id
        opened_by_us = [connection.muxed_conn.is_initiator for connection in self.of(peer_id)]
        if not self._swarm.get_connections(peer_id) or muxed_conn.is_initiator in opened_by_us:
            self._counters["bulk_refused"] += 1
            with trio.CancelScope(shield=True):
                await muxed_conn.secured_conn.close()
            raise SwarmException(f"no connection for bulk with {peer_id}")
        connection = SwarmConn(muxed_conn, self._swarm, direction=direction)
        self._connections.setdefault(peer_id, []).append(connection)
        self._swarm.manager.run_task(muxed_conn.start)
        await muxed_conn.event_started.wait()
        self._swarm.manager.run_task(connection.start)
        await connection.event_started.wait()
        return connection

    def remove(self, connection: Any) -> None:
        """Forget a connection that has ended."""
        peer_id = connection.muxed_conn.peer_id
        left = [other for other in self._connections.pop(peer_id, []) if other is not connection]
        if left:
            self._connections[peer_id] = left

    async def drop(self, peer_id: ID) -> None:
        """Close those with one peer."""
        for connection in self.of(peer_id):
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLOSE_S):
                await connection.close()

    async def drop_all(self) -> None:
        """Close all."""
        async with trio.open_nursery() as nursery:
            for peer_id in tuple(self._connections):
                nursery.start_soon(self.drop, peer_id)
