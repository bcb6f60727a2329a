"""`Host` in memory: several hosts in one process, on links that are cut, stalled, slow and lossy.

The twin of `node.host.libp2p_host` for tests and simulations: same interface, same framing, same tests. Links are
symmetric and belong to a pair of hosts::

    network = MemoryNetwork()
    async with network.open_host(seed_a) as a, network.open_host(seed_b) as b:
        await a.connect(b.addresses[0])
        network.link(a.peer_id, b.peer_id).delay_s = 0.05
        network.link(a.peer_id, b.peer_id).rate_bytes_per_s = 1_000_000
        network.link(a.peer_id, b.peer_id).loss = 0.01
        network.link(a.peer_id, b.peer_id).stall()    # nothing arrives any more, nobody is told (SIGSTOP, black hole)
        network.cut(a.peer_id, b.peer_id)             # connections break, dialling fails, until heal()

Gossip floods to all connected subscribers. Identities are real peer ids; nothing is encrypted or signed.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Final

import trio

from node.host.conduct import Conduct
from node.host.entrance import Entrance
from node.host.framing import serve
from node.host.identity import check_peer_id, peer_id_of_seed
from node.host.interface import (
    Accept,
    DialFailed,
    FaultListener,
    HostLimits,
    InvalidAddress,
    MessageTooLarge,
    NotConnected,
    PortTaken,
    ProtocolRefused,
    StreamHandler,
)
from node.host.strangers import Strangers
from node.memory_link import Link, MemoryStream, Pipe
from pdfedchain.errors import DecodeError, InputError, SignatureError

__all__ = ["MemoryHost", "MemoryNetwork"]

log = logging.getLogger(__name__)

_GOSSIP_SEEN_MAX: Final = 100_000
_FOUND_MAX: Final = 16


class MemoryHost:
    """See `node.host.interface.Host`; made by `MemoryNetwork.open_host`."""

    def __init__(self, network: MemoryNetwork, peer_id: str, address: str, limits: HostLimits, site: str = "") -> None:
        self.counters: Counter[str] = Counter()
        self.limits = limits
        self._network = network
        self._peer_id = peer_id
        self._address = address
        self._handlers: dict[str, StreamHandler] = {}
        self._accept: dict[str, Accept] = {}
        self._fault_listener: FaultListener | None = None
        self._streams: dict[str, set[MemoryStream]] = {}
        self._streams_inbound: Counter[str] = Counter()
        self.site = site or address
        #: By peer that has dialled us: from where.
        self._inbound: dict[str, str] = {}
        self._entrance = Entrance(limits, self.counters, trio.current_time)
        self._conduct = Conduct(limits, self.counters, trio.current_time)
        self._strangers = Strangers(self.counters)
        self._seen: dict[bytes, None] = {}
        self._sequence = count()
        self._gossip_in: dict[str, trio.MemorySendChannel[tuple[str, bytes, bytes, float]]] = {}
        self.nursery: trio.Nursery | None = None

    @property
    def peer_id(self) -> str:
        return self._peer_id

    @property
    def addresses(self) -> tuple[str, ...]:
        return (f"{self._address}/p2p/{self._peer_id}",)

    def set_members(self, is_member: Callable[[str], bool], heard: Callable[[str], None]) -> None:
        self._strangers.is_member, self._strangers.heard = is_member, heard

    def set_fault_listener(self, listener: FaultListener) -> None:
        self._fault_listener = listener

    def _fault(self, peer_id: str, reason: str) -> None:
        self.counters["faults"] += 1
        if self._fault_listener is not None:
            self._fault_listener(peer_id, reason)

    def bans(self, peer_id: str) -> bool:
        """Whether connections with a peer are refused now."""
        return self._entrance.standing.bans_peer(peer_id)

    def learn(self, address: str) -> None:
        base, _ = self._check_address(address)
        if base in self._network.hosts:
            self._entrance.learn(self._network.hosts[base].site)

    def vouch(self, peer_id: str) -> None:
        self._entrance.vouch(peer_id)

    def _check_address(self, address: str) -> tuple[str, str]:
        base, separator, peer_id = address.partition("/p2p/")
        try:
            check_peer_id(peer_id)
        except DecodeError as error:
            raise InvalidAddress(address, "it names no peer id") from error
        if not separator or not base.startswith("/memory/"):
            raise InvalidAddress(address, "only /memory/ is spoken here")
        if peer_id == self._peer_id:
            raise InvalidAddress(address, "it is our own")
        return base, peer_id

    async def connect(self, address: str) -> str:
        await trio.lowlevel.checkpoint()
        base, peer_id = self._check_address(address)
        other = self._network.hosts.get(base)
        if other is None:
            raise DialFailed(address, "nobody listens there")
        if other.peer_id != peer_id:
            raise DialFailed(address, f"{other.peer_id} answers there")
        if self.bans(peer_id) or other.bans(self._peer_id):
            raise DialFailed(address, "banned")
        link = self._network.link(self._peer_id, peer_id)
        if link.is_cut:
            raise DialFailed(address, "the link is cut")
        with trio.move_on_after(self.limits.dial_timeout_s) as waiting:
            await link.carried(trio.current_time())
        if waiting.cancelled_caught:
            raise DialFailed(address, "no answer in time")
        if base not in self._network.hosts:
            raise DialFailed(address, "nobody listens there")
        if peer_id not in self._streams:
            other.admit(self._peer_id, self.site, address)
        self._meet(other)
        other._meet(self)
        return peer_id

    def admit(self, peer_id: str, site: str, address: str) -> None:
        """Give a place to a peer that dials.

        Raises:
            DialFailed: there is none for it.
        """
        if len(self._inbound) >= self.limits.connections_inbound_max:
            raise DialFailed(address, "no answer in time")
        if not self._entrance.admit(site):
            self._entrance.wasted(site)
            raise DialFailed(address, "the connection was closed")
        self._inbound[peer_id] = site
        self._entrance.arrived(peer_id, site)

    def _meet(self, other: MemoryHost) -> None:
        if other.peer_id in self._streams:
            return
        assert self.nursery is not None
        self._streams[other.peer_id] = set()
        send, receive = trio.open_memory_channel[tuple[str, bytes, bytes, float]](self.limits.gossip_queue_max)
        self._gossip_in[other.peer_id] = send
        self.nursery.start_soon(self._receive_gossip, other.peer_id, receive)

    def connected_peers(self) -> frozenset[str]:
        return frozenset(self._streams)

    async def disconnect(self, peer_id: str) -> None:
        await trio.lowlevel.checkpoint()
        self._network.break_off(self._peer_id, peer_id)

    def lose(self, peer_id: str) -> None:
        """The connection with a peer has ended."""
        site = self._inbound.pop(peer_id, None)
        if site is not None:
            self._entrance.leave(site)
            self._entrance.left(peer_id)
        for stream in self._streams.pop(peer_id, set()):
            stream.break_off()
        channel = self._gossip_in.pop(peer_id, None)
        if channel is not None:
            channel.close()

    async def ban(self, peer_id: str, duration_s: float) -> None:
        self._entrance.ban(peer_id, duration_s)
        await self.disconnect(peer_id)

    def set_stream_handler(self, protocol: str, handler: StreamHandler) -> None:
        self._handlers[protocol] = handler

    async def open_stream(self, peer_id: str, protocol: str, *, bulk: bool = False) -> MemoryStream:
        await trio.lowlevel.checkpoint()
        other = self._network.find(peer_id)
        if peer_id not in self._streams or other is None:
            raise NotConnected(peer_id)
        link = self._network.link(self._peer_id, peer_id)
        with trio.move_on_after(self.limits.open_stream_timeout_s) as waiting:
            await link.carried(trio.current_time())
        if waiting.cancelled_caught:
            raise ProtocolRefused(peer_id, protocol, "no answer in time")
        if peer_id not in self._streams:
            raise NotConnected(peer_id)
        if protocol not in other._handlers:
            raise ProtocolRefused(peer_id, protocol, "not supported")
        other.may_open(self._peer_id, protocol)
        there, back = Pipe(link), Pipe(link)
        ours = MemoryStream(peer_id, protocol, back, there)
        self._streams[peer_id].add(ours)
        other.take_stream(MemoryStream(self._peer_id, protocol, there, back))
        return ours

    def may_open(self, peer_id: str, protocol: str) -> None:
        """Count a stream that a peer opens.

        Raises:
            ProtocolRefused: it has opened too many.
        """
        if reason := self._conduct.opened(peer_id):
            self._expel(peer_id, reason)
            raise ProtocolRefused(self._peer_id, protocol, "the connection was closed")
        if self._streams_inbound[peer_id] >= self.limits.streams_inbound_per_peer_max:
            self.counters["streams_refused"] += 1
            self._barren(peer_id, 0.0)
            raise ProtocolRefused(self._peer_id, protocol, "reset")

    def _barren(self, peer_id: str, held_s: float) -> None:
        if reason := self._conduct.barren(peer_id, held_s):
            self._expel(peer_id, reason)

    def _expel(self, peer_id: str, reason: str) -> None:
        self._fault(peer_id, reason)
        self._network.break_off(self._peer_id, peer_id)

    def take_stream(self, stream: MemoryStream) -> None:
        """Serve a stream that a peer has opened."""
        assert self.nursery is not None
        streams = self._streams[stream.peer_id]
        streams.add(stream)
        self.nursery.start_soon(self._serve, stream, streams)

    async def _serve(self, stream: MemoryStream, streams: set[MemoryStream]) -> None:
        self._streams_inbound[stream.peer_id] += 1
        try:
            await serve(stream, self._handlers[stream.protocol], self._fault, self.counters)
        finally:
            self._streams_inbound[stream.peer_id] -= 1
            streams.discard(stream)
        # What ends with its connection says nothing.
        if stream.barren_s is not None and self._streams.get(stream.peer_id) is streams:
            self._barren(stream.peer_id, stream.barren_s)

    def provide(self, cid: bytes) -> None:
        self._network.providers.setdefault(cid, {})[self._peer_id] = None

    async def find_providers(self, cid: bytes) -> tuple[str, ...]:
        await trio.lowlevel.checkpoint()
        found = (self._network.find(peer_id) for peer_id in self._network.providers.get(cid, {}))
        return tuple(host.addresses[0] for host in found if host is not None and host is not self)[:_FOUND_MAX]

    async def subscribe(self, topic: str, accept: Accept) -> None:
        await trio.lowlevel.checkpoint()
        self._accept[topic] = accept

    async def publish(self, topic: str, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if len(data) > self.limits.gossip_size_bytes_max:
            raise MessageTooLarge(len(data), self.limits.gossip_size_bytes_max)
        message_id = hashlib.sha256(f"{self._peer_id}/{next(self._sequence)}".encode()).digest()
        self._see(message_id)
        self._flood(topic, data, message_id, exclude="")

    def _see(self, message_id: bytes) -> None:
        self._seen[message_id] = None
        if len(self._seen) > _GOSSIP_SEEN_MAX:
            self._seen.pop(next(iter(self._seen)))

    def _flood(self, topic: str, data: bytes, message_id: bytes, *, exclude: str) -> None:
        for peer_id in self._streams:
            other = self._network.find(peer_id)
            channel = None if other is None else other._gossip_in.get(self._peer_id)
            if peer_id != exclude and channel is not None:
                link = self._network.link(self._peer_id, peer_id)
                try:
                    channel.send_nowait((topic, data, message_id, link.departs(len(data))))
                except trio.WouldBlock:
                    self.counters["gossip_dropped"] += 1

    async def _receive_gossip(
        self, peer_id: str, channel: trio.MemoryReceiveChannel[tuple[str, bytes, bytes, float]]
    ) -> None:
        link = self._network.link(self._peer_id, peer_id)
        with channel:
            async for topic, data, message_id, sent_at in channel:
                await link.carried(sent_at)
                is_heard = self._strangers.may_say(peer_id, len(data))
                if is_heard and message_id not in self._seen and topic in self._accept:
                    self._see(message_id)
                    if self._take(peer_id, topic, data):
                        self._flood(topic, data, message_id, exclude=peer_id)

    def _take(self, peer_id: str, topic: str, data: bytes) -> bool:
        try:
            accepted = self._accept[topic](peer_id, data)
        except (DecodeError, SignatureError) as error:
            self._fault(peer_id, f"gossip message: {error}")
            accepted = False
        except InputError as error:
            log.debug("gossip message refused: %s", error)
            accepted = False
        except Exception:
            self.counters["gossip_validator_errors"] += 1
            log.exception("the receiver of %s failed on a message from %s", topic, peer_id)
            return False
        if not accepted:
            self.counters["gossip_rejected"] += 1
        return accepted


class MemoryNetwork:
    """All hosts of a process that can reach each other."""

    def __init__(self) -> None:
        self.hosts: dict[str, MemoryHost] = {}
        self.providers: dict[bytes, dict[str, None]] = {}
        self._links: dict[frozenset[str], Link] = {}
        self._addresses = count(1)

    def link(self, one: str, other: str) -> Link:
        """The line between two peer ids."""
        return self._links.setdefault(frozenset((one, other)), Link())

    def cut(self, one: str, other: str) -> None:
        """Break the connections between two peers, and refuse new ones until `heal`."""
        self.link(one, other).is_cut = True
        self.break_off(one, other)

    def heal(self, one: str, other: str) -> None:
        """Undo `cut` and `Link.stall`."""
        link = self.link(one, other)
        link.is_cut = False
        link.flow()

    def break_off(self, one: str, other: str) -> None:
        """Break the connections between two peers once."""
        for peer_id, lost in ((one, other), (other, one)):
            host = self.find(peer_id)
            if host is not None:
                host.lose(lost)

    def find(self, peer_id: str) -> MemoryHost | None:
        """The running host with this identity."""
        return next((host for host in self.hosts.values() if host.peer_id == peer_id), None)

    @asynccontextmanager
    async def open_host(
        self, seed: bytes, listen: str = "", *, site: str = "", limits: HostLimits | None = None
    ) -> AsyncIterator[MemoryHost]:
        """A host that can be reached inside the block.

        Args:
            listen: ``/memory/<name>``; a free one where empty.
            site: what stands for an IP address; hosts that name none have one each.

        Raises:
            PortTaken: another host listens there.
            InvalidAddress: ``listen`` is something else.
        """
        address = listen or f"/memory/{next(self._addresses)}"
        if not address.startswith("/memory/"):
            raise InvalidAddress(address, "only /memory/ is spoken here")
        if address in self.hosts:
            raise PortTaken(address)
        host = MemoryHost(self, peer_id_of_seed(seed), address, limits or HostLimits(), site)
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            host.nursery = nursery
            self.hosts[address] = host
            try:
                yield host
            except Exception as error:  # noqa: BLE001 - raised again below, outside the nursery that would wrap it
                failure = error
            finally:
                for peer_id in host.connected_peers():
                    self.break_off(host.peer_id, peer_id)
                del self.hosts[address]
                nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
