"""Connections and listening, mended.

Traps of libp2p 0.8.1 that this mends:

* An exception in a stream handler stops the node. Every task and every inbound stream is guarded.
* An exception on the way leaves a connection that looks alive; with the guard, the stream alone is reset.
* Plaintext is accepted by default. `new_swarm` takes noise and yamux only.
* An inbound connection keeps its place for the lifetime of the node, so the 251st is refused. Here the place is
  free again when the connection ends, and the number is a bound on live connections. One address has a smaller bound,
  a stranger who does not get through the handshake loses its place, and some places are kept for peers whose address
  this node knows.
* A failed dial blocks the peer for 60 s, and every connect takes at least 250 ms. `dial` goes straight to the
  address, once; who retries, and when, is decided by the peer manager alone.
* Listening sets SO_REUSEPORT, so two nodes share a port without an error (`node.host.listening`).

What is off: libp2p's resource manager (its limits per second punish a restarted neighbour), auto-connector, pruner and
health monitor.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.exceptions import SwarmException
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.transport.upgrader import TransportUpgrader
from libp2p.utils.multiaddr_utils import extract_ip_from_multiaddr
from multiaddr import Multiaddr

from node.host.bulk import BulkConnections
from node.host.conduct import Conduct
from node.host.entrance import Entrance
from node.host.interface import FaultListener, HostLimits
from node.host.listening import ExclusiveTcp
from node.host.mends import GuardedManager, guarded
from node.host.standing import network_of
from node.host.yamux import QueuedYamux, YamuxOnly

__all__ = ["MendedSwarm", "new_swarm"]

log = logging.getLogger(__name__)

_CLOSE_S = 1.0


class NoAutoConnector:
    """In place of libp2p's, which dials everybody it has heard of until half of all allowed connections are in use."""

    _is_connecting = True  # what `_schedule_auto_connect` asks before it does anything

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""

    async def run_background_task(self, nursery: trio.Nursery) -> None:
        """Nothing to run."""

    def record_disconnect(self, peer_id: ID) -> None:
        """Nothing to remember."""


def _address_of(connection: Any) -> str:
    """What stands for the owner of the other end; empty where that is not known."""
    remote = connection.get_remote_address()
    return network_of(remote[0]) if remote else ""


class Refused(SwarmException):  # type: ignore[misc]
    """A connection whose other side has shown who it is, and that is not taken all the same."""


class MendedSwarm(Swarm):  # type: ignore[misc]
    """The connections of one host."""

    def __init__(self, *args: Any, limits: HostLimits, counters: Counter[str], **options: Any) -> None:
        self._counters = counters
        self._limits = limits
        self.entrance = Entrance(limits, counters)
        self._conduct = Conduct(limits, counters)
        #: By address: connections of which nobody has shown an identity yet.
        self._handshakes: dict[str, set[trio.CancelScope]] = {}
        #: Peers whose address we know, for whom places are kept.
        self.known: set[str] = set()
        self._streams_inbound: Counter[str] = Counter()
        #: Peers that are being dropped for what they did.
        self._expelled: set[ID] = set()
        #: Told of peers that break the rules; set by the host.
        self.fault: FaultListener = lambda peer_id, reason: None
        self.bulk = BulkConnections(self, counters)
        super().__init__(*args, **options)
        self.auto_connector = NoAutoConnector()
        self._inbound_limiter.total_tokens = limits.connections_inbound_max

    @property
    def manager(self) -> GuardedManager:
        """The task manager, guarded."""
        return GuardedManager(self._manager, self._counters)

    def set_stream_handler(self, stream_handler: Any) -> None:
        """Guard the handler of all inbound streams, and bound their number and rate per peer."""
        handle = guarded(stream_handler, self._counters)

        async def bounded(stream: Any) -> None:
            identity = stream.muxed_conn.peer_id
            peer = str(identity)
            if reason := self._conduct.opened(peer):
                await self._expel(identity, reason)
                return
            if self._streams_inbound[peer] >= self._limits.streams_inbound_per_peer_max:
                self._counters["streams_refused"] += 1
                await stream.reset()
                await self.barren(stream.muxed_conn)
                return
            opened_at = trio.current_time()
            self._streams_inbound[peer] += 1
            try:
                if not await handle(stream):
                    await stream.reset()
            finally:
                self._streams_inbound[peer] -= 1
                if not self._streams_inbound[peer]:
                    del self._streams_inbound[peer]
            if stream.get_protocol() is None:  # nothing was agreed on
                await self.barren(stream.muxed_conn, trio.current_time() - opened_at)

        super().set_stream_handler(bounded)

    async def _do_handle_inbound_connection(self, read_write_closer: Any, maddr: Any, failure_event: Any) -> None:
        """Upgrade, then stay as long as the connection lives, not as long as the node does."""
        raw = RawConnection(read_write_closer, False)
        address = _address_of(read_write_closer)
        if not self.entrance.admit(address):
            await raw.close()
            self._wasted(address)
            return
        try:
            muxed = await self._upgrade_in_time(raw, maddr, address)
            if muxed is not None:
                try:
                    await muxed.event_closed.wait()
                finally:
                    if not self.get_connections(muxed.peer_id):
                        self.entrance.left(str(muxed.peer_id))
        finally:
            self.entrance.leave(address)

    def _wasted(self, address: str) -> None:
        """A connection came to nothing; where that bars its address, all others there without an identity end too."""
        if self.entrance.wasted(address):
            log.warning("%s is barred for a while: too many connections from there come to nothing", address)
            for scope in self._handshakes.get(address, ()):
                scope.cancel()

    async def _upgrade_in_time(self, raw: RawConnection, maddr: Any, address: str) -> Any | None:
        """Noise, then yamux; None, with the socket closed, where the stranger does not get that far."""
        reason, is_wasted = "no handshake in time", True
        with trio.move_on_after(self._limits.handshake_timeout_s) as scope:
            shaking = self._handshakes.setdefault(address, set())
            shaking.add(scope)
            try:
                return await self.upgrade_inbound_raw_conn(raw, maddr)
            except Refused as error:
                reason, is_wasted = str(error), False
            except Exception as error:  # noqa: BLE001 - whatever a stranger sends during the handshake ends his connection only
                reason = str(error)
            finally:
                shaking.discard(scope)
                if not shaking:
                    self._handshakes.pop(address, None)
        self._counters["inbound_upgrades_failed"] += 1
        log.debug("inbound connection failed: %s", reason)
        await raw.close()
        if is_wasted:
            self._wasted(address)
        return None

    async def add_conn(self, muxed_conn: QueuedYamux, direction: str = "unknown") -> Any:
        """Register a connection unless its peer is banned, or all places for unknown peers are taken."""
        refusal = self._refusal(muxed_conn)
        if refusal is not None:
            with trio.CancelScope(shield=True):
                await muxed_conn.secured_conn.close()
            raise Refused(refusal)
        if not muxed_conn.is_initiator:
            # Before anything that the peer says is read: it may be banned for its first word.
            self.entrance.arrived(str(muxed_conn.peer_id), _address_of(muxed_conn))
        if muxed_conn.is_bulk:
            return await self.bulk.add(muxed_conn, direction)
        return await super().add_conn(muxed_conn, direction)

    def _refusal(self, muxed_conn: QueuedYamux) -> str | None:
        """Why a connection is not taken."""
        peer_id = str(muxed_conn.peer_id)
        if self.entrance.standing.bans_peer(peer_id):
            self._counters["connections_banned"] += 1
            return f"{peer_id} is banned"
        if muxed_conn.is_initiator or muxed_conn.is_bulk or peer_id in self.known:
            return None
        if self._unknown_inbound() < self._limits.connections_unknown_max:
            return None
        self._counters["inbound_unknown_full"] += 1
        return f"all places for unknown peers are taken, {peer_id} is one"

    def _unknown_inbound(self) -> int:
        return sum(
            not connection.muxed_conn.is_initiator
            for peer_id, connections in self.connections.items()
            if str(peer_id) not in self.known
            for connection in connections
        )

    def remove_conn(self, swarm_conn: Any) -> None:
        """Forget a connection that has ended."""
        if swarm_conn.muxed_conn.is_bulk:
            self.bulk.remove(swarm_conn)
        else:
            super().remove_conn(swarm_conn)

    async def notify_disconnected(self, conn: Any) -> None:
        """Tell gossip that a peer has gone; the end of a connection for bulk does not mean that."""
        if not conn.muxed_conn.is_bulk:
            peer_id = conn.muxed_conn.peer_id
            if not self.get_connections(peer_id):
                await self.bulk.drop(peer_id)
            await super().notify_disconnected(conn)

    async def close(self) -> None:
        """Close everything."""
        await self.bulk.drop_all()
        await super().close()

    async def dial(self, address: Multiaddr, peer_id: ID) -> None:
        """One attempt at one address."""
        await self.dial_addr(address, peer_id)
        self.unblock_peer(peer_id)

    def live_peers(self) -> frozenset[str]:
        """Peers with a connection that has not ended."""
        return frozenset(
            str(peer_id)
            for peer_id, connections in self.connections.items()
            if any(not connection.is_closed for connection in connections)
        )

    async def drop_peer(self, peer_id: ID) -> None:
        """Close all connections to a peer; a peer that does not read is not waited for."""
        async with trio.open_nursery() as nursery:
            for connection in (*self.get_connections(peer_id), *self.bulk.of(peer_id)):
                nursery.start_soon(self._drop, connection)

    async def _drop(self, connection: Any) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLOSE_S):
            await connection.close()

    def ban(self, peer_id: str, duration_s: float) -> None:
        """Refuse connections with a peer for a while."""
        self.entrance.ban(peer_id, duration_s)

    def learn(self, peer_id: str, address: Multiaddr) -> None:
        """Keep places for a peer, and its address open."""
        self.known.add(peer_id)
        if (ip := extract_ip_from_multiaddr(address)) is not None:
            self.entrance.learn(network_of(ip))

    async def barren(self, muxed_conn: QueuedYamux, held_s: float = 0.0) -> None:
        """A peer opened a stream, and asked for nothing. What ends with its connection says nothing."""
        if muxed_conn.event_shutting_down.is_set() or muxed_conn.peer_id in self._expelled:
            return
        if reason := self._conduct.barren(str(muxed_conn.peer_id), held_s):
            await self._expel(muxed_conn.peer_id, reason)

    async def _expel(self, peer_id: ID, reason: str) -> None:
        """Report a peer, once, and drop it."""
        if peer_id not in self._expelled:
            self._expelled.add(peer_id)
            try:
                self.fault(str(peer_id), reason)
                await self.drop_peer(peer_id)
            finally:
                self._expelled.discard(peer_id)


def new_swarm(seed: bytes, limits: HostLimits, counters: Counter[str]) -> tuple[MendedSwarm, ExclusiveTcp]:
    """A swarm with TCP, noise and yamux, and nothing else that libp2p could agree on."""
    key_pair = create_new_key_pair(seed)
    peer_id = ID.from_pubkey(key_pair.public_key)
    upgrader = TransportUpgrader(
        secure_transports_by_protocol={NOISE: NoiseTransport(key_pair, create_noise_key_pair().private_key)},
        muxer_transports_by_protocol={},
    )
    upgrader.muxer_multistream = YamuxOnly()
    peerstore = PeerStore()
    peerstore.add_key_pair(peer_id, key_pair)
    tcp = ExclusiveTcp()
    connections_max = 2 * limits.connections_inbound_max
    swarm = MendedSwarm(
        peer_id,
        peerstore,
        upgrader,
        [tcp],
        retry_config=RetryConfig(max_retries=0),
        connection_config=ConnectionConfig(
            max_connections=connections_max,
            high_watermark=connections_max,
            low_watermark=0,
            min_connections=0,
            dial_timeout=limits.dial_timeout_s,
            outbound_stream_protocol_negotiation_timeout=limits.open_stream_timeout_s,
        ),
        limits=limits,
        counters=counters,
    )
    tcp.refuses = lambda ip: swarm.entrance.bars(network_of(ip))
    return swarm, tcp
