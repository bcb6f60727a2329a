"""`Host` on libp2p 0.8.1: TCP, noise, yamux, gossipsub.

The version is pinned and its traps are mended beside this file (`mends`, `yamux`, `swarm`, `gossip`); each mend has a
test that fails without it, so that an upgrade tells which can go. What is not here: discovery, relays, QUIC,
redialling (`node.peers` decides whom to dial and when).
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import trio
from libp2p.host.basic_host import BasicHost
from libp2p.network.stream.net_stream import NetStream
from libp2p.peer.id import ID
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from node.host.framing import first_leaf, serve
from node.host.gossip import new_gossip
from node.host.interface import (
    Accept,
    DialFailed,
    FaultListener,
    HostError,
    HostLimits,
    InvalidAddress,
    MessageTooLarge,
    NotConnected,
    PortTaken,
    ProtocolRefused,
    StreamHandler,
)
from node.host.providers import Providers
from node.host.stream import BROKEN, Libp2pStream
from node.host.swarm import new_swarm

__all__ = ["Libp2pHost", "Libp2pStream", "open_host", "quiet_libp2p_logging"]

log = logging.getLogger(__name__)

#: A peer that could not be dialled for bulk gets bulk over its first connection for so long.
_BULK_AGAIN_S: Final = 60.0


class Libp2pHost:
    """See `node.host.interface.Host`; made by `open_host`."""

    def __init__(self, seed: bytes, limits: HostLimits, *, providers: bool = False) -> None:
        self.counters: Counter[str] = Counter()
        self._limits = limits
        self._fault_listener: FaultListener | None = None
        self._dialling: dict[str, trio.Lock] = {}
        self._addresses: dict[str, Multiaddr] = {}
        self._bulk_failed_at: dict[str, float] = {}
        self.swarm, self._tcp = new_swarm(seed, limits, self.counters)
        self.swarm.fault = self._fault
        self.basic = BasicHost(self.swarm, disable_identify_address_discovery=True)
        self.pubsub, self._router = new_gossip(
            self.basic,
            limits=limits,
            counters=self.counters,
            fault=self._fault,
            wrap=lambda net: Libp2pStream(net, str(net.get_protocol())),
            ended=self._stream_ended,
        )
        self._peer_id = str(self.basic.get_id())
        self._providers = Providers(self.basic, self._listening_peers, self.counters) if providers else None

    @property
    def peer_id(self) -> str:
        return self._peer_id

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(str(address) for address in self.basic.get_addrs())

    @asynccontextmanager
    async def run(self, listen: str) -> AsyncIterator[None]:
        """Listen, and keep libp2p's services going inside the block."""
        address = _parse(listen)
        async with self.basic.run(listen_addrs=[address]):
            try:
                if self._tcp.listen_error is not None:
                    raise _listen_error(listen, self._tcp.listen_error, taken=self._tcp.port_taken)
                if not self.basic.get_addrs():
                    raise InvalidAddress(listen, "cannot listen there; only TCP is spoken")
                async with background_trio_service(self._router), background_trio_service(self.pubsub):
                    await self.pubsub.wait_until_ready()
                    if self._providers is not None:
                        self.swarm.manager.run_task(self._providers.run)
                    yield
            finally:
                # Leaving `run` alone keeps listener and connections open.
                with trio.CancelScope(shield=True):
                    await self.basic.close()

    def _fault(self, peer_id: str, reason: str) -> None:
        self.counters["faults"] += 1
        log.info("%s broke the rules: %s", peer_id, reason)
        if self._fault_listener is not None:
            self._fault_listener(peer_id, reason)

    def set_members(self, is_member: Callable[[str], bool], heard: Callable[[str], None]) -> None:
        self.pubsub.strangers.is_member, self.pubsub.strangers.heard = is_member, heard

    def vouch(self, peer_id: str) -> None:
        self.swarm.entrance.vouch(peer_id)

    def set_fault_listener(self, listener: FaultListener) -> None:
        self._fault_listener = listener

    def learn(self, address: str) -> None:
        maddr, identity = self._parse_peer(address)
        self._addresses[str(identity)] = maddr
        self.swarm.learn(str(identity), maddr)

    async def connect(self, address: str) -> str:
        maddr, identity = self._parse_peer(address)
        peer_id = str(identity)
        self._addresses[peer_id] = maddr
        async with self._dialling.setdefault(peer_id, trio.Lock()):
            if peer_id in self.connected_peers():
                return peer_id
            failure = "no answer in time"
            with trio.move_on_after(self._limits.dial_timeout_s):
                try:
                    await self.swarm.dial(maddr, identity)
                    return peer_id
                except BROKEN as error:
                    failure = _reason(error)
            raise DialFailed(address, failure)

    def _parse_peer(self, address: str) -> tuple[Multiaddr, ID]:
        maddr = _parse(address)
        try:
            identity = ID.from_base58(str(maddr.value_for_protocol("p2p")))
        except Exception as error:
            raise InvalidAddress(address, "it names no peer id") from error
        if str(identity) == self._peer_id:
            raise InvalidAddress(address, "it is our own")
        return maddr, identity

    def connected_peers(self) -> frozenset[str]:
        return self.swarm.live_peers()

    async def disconnect(self, peer_id: str) -> None:
        await self.swarm.drop_peer(ID.from_base58(peer_id))

    async def ban(self, peer_id: str, duration_s: float) -> None:
        self.swarm.ban(peer_id, duration_s)
        await self.disconnect(peer_id)

    def set_stream_handler(self, protocol: str, handler: StreamHandler) -> None:
        async def handle(net: NetStream) -> None:
            stream = Libp2pStream(net, protocol)
            await serve(stream, handler, self._fault, self.counters)
            await self._stream_ended(stream)

        self.basic.set_stream_handler(protocol, handle)

    async def _stream_ended(self, stream: Libp2pStream) -> None:
        if (held_s := stream.barren_s) is not None:
            await self.swarm.barren(stream.muxed_conn, held_s)

    async def open_stream(self, peer_id: str, protocol: str, *, bulk: bool = False) -> Libp2pStream:
        if peer_id not in self.connected_peers():
            raise NotConnected(peer_id)
        failure = "no answer in time"
        connection = await self._bulk_connection(peer_id) if bulk else None
        with trio.move_on_after(self._limits.open_stream_timeout_s):
            try:
                if connection is not None:
                    return await self._open_on(connection, protocol)
                net = await self.basic.new_stream(ID.from_base58(peer_id), [protocol])
                return Libp2pStream(net, protocol)
            except BROKEN as error:
                failure = _reason(error)
        if connection is not None:
            # Perhaps it is dead and nobody was told: the next attempt goes over the first connection.
            self._bulk_failed_at[peer_id] = trio.current_time()
            await self.swarm.bulk.drop(ID.from_base58(peer_id))
        if peer_id not in self.connected_peers():
            raise NotConnected(peer_id)
        raise ProtocolRefused(peer_id, protocol, failure)

    async def _open_on(self, connection: Any, protocol: str) -> Libp2pStream:
        """Open a stream on a connection that libp2p would not choose."""
        net = await connection.new_stream()
        agreed = False
        try:
            await self.basic.multiselect_client.select_one_of([protocol], MultiselectCommunicator(net))
            agreed = True
        finally:
            if not agreed:
                with trio.CancelScope(shield=True):
                    await net.reset()
        net.set_protocol(protocol)
        return Libp2pStream(net, protocol)

    async def _bulk_connection(self, peer_id: str) -> Any | None:
        """A connection for bulk with a peer; None where there is none to be had now."""
        identity = ID.from_base58(peer_id)
        async with self._dialling.setdefault(peer_id, trio.Lock()):
            if existing := self.swarm.bulk.of(identity):
                return existing[0]
            address = self._addresses.get(peer_id)
            failed_at = self._bulk_failed_at.get(peer_id, -_BULK_AGAIN_S)
            if address is None or trio.current_time() - failed_at < _BULK_AGAIN_S:
                return None
            with trio.move_on_after(self._limits.dial_timeout_s):
                try:
                    return await self.swarm.bulk.dial(address, identity)
                except BROKEN as error:
                    log.debug("no connection for bulk with %s: %s", peer_id, _reason(error))
            self.counters["bulk_dials_failed"] += 1
            self._bulk_failed_at[peer_id] = trio.current_time()
            return None

    def _listening_peers(self) -> list[tuple[str, Multiaddr]]:
        return [(peer, self._addresses[peer]) for peer in self.connected_peers() if peer in self._addresses]

    def provide(self, cid: bytes) -> None:
        if self._providers is not None:
            self._providers.provide(cid)

    async def find_providers(self, cid: bytes) -> tuple[str, ...]:
        found = []
        for address in () if self._providers is None else await self._providers.find(cid):
            with contextlib.suppress(InvalidAddress):
                self._parse_peer(address)
                found.append(address)
        return tuple(found)

    async def subscribe(self, topic: str, accept: Accept) -> None:
        await self.pubsub.take_part(topic, accept)

    async def publish(self, topic: str, data: bytes) -> None:
        if len(data) > self._limits.gossip_size_bytes_max:
            raise MessageTooLarge(len(data), self._limits.gossip_size_bytes_max)
        await self.pubsub.publish(topic, data)


def _parse(address: str) -> Multiaddr:
    try:
        return Multiaddr(address)
    except Exception as error:
        raise InvalidAddress(address, str(error)) from error


def _listen_error(listen: str, error: OSError, *, taken: bool) -> HostError:
    if taken:
        return PortTaken(listen)
    return HostError(f"cannot listen on {listen}: {error}", hint="choose an address of this machine")


def _reason(error: BaseException) -> str:
    """The innermost cause in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__


@asynccontextmanager
async def open_host(
    seed: bytes,
    listen: str = "/ip4/127.0.0.1/tcp/0",
    *,
    limits: HostLimits | None = None,
    providers: bool = False,
) -> AsyncIterator[Libp2pHost]:
    """A host that listens inside the block.

    Args:
        seed: 32 secret bytes of the Ed25519 key that is this host's identity.
        listen: multiaddress; port 0 takes any free one.
        providers: take part in Kademlia, see `node.host.providers`; without it nobody is found by a content.

    Raises:
        PortTaken: another program listens there.
        InvalidAddress: ``listen`` is not a TCP multiaddress.
        HostError: the address is not one of this machine's.
    """
    host = Libp2pHost(seed, limits or HostLimits(), providers=providers)
    failure: Exception | None = None
    finished = trio.Event()
    async with trio.open_nursery() as nursery:
        try:
            await nursery.start(_keep, host, listen, finished)
        except* (HostError, InvalidAddress) as group:
            failure = first_leaf(group)
        else:
            try:
                yield host
            except Exception as error:  # noqa: BLE001 - raised again below, outside the nursery that would wrap it
                failure = error
            finished.set()
    if failure is not None:
        raise failure


async def _keep(host: Libp2pHost, listen: str, finished: trio.Event, *, task_status: Any) -> None:
    async with host.run(listen):
        task_status.started()
        await finished.wait()


def quiet_libp2p_logging() -> None:
    """Keep libp2p's own log to what is critical; a program calls this once, after it has set up its handlers.

    libp2p reports as errors what we expect and handle (a refused dial, a stream that ends during negotiation), and
    some of its modules log through the root logger, which without a handler would install one.
    """
    logging.getLogger("libp2p").setLevel(logging.CRITICAL)
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("libp2p."):
            logging.getLogger(name).setLevel(logging.NOTSET)
