"""The peer manager: whom to be connected to, and what to think of them.

It dials a static list of addresses, each in its own task, with backoff and jitter (0.25 s, doubling to 10 s), for
ever; takes what others dial; and keeps exactly one message channel (`node.channel`) per peer::

    peers = Peers(host, hello, addresses, receive=driver.receive, up=up, down=down)
    nursery.start_soon(peers.run)
    peers.broadcast(frame, priority=Priority.HIGH, exclude=source)
    peers.send(peer_id, frame)

**One channel per pair.** Both sides may open one at the same time. The one opened by the smaller peer id stays: it
answers the larger one's with "duplicate" while it has, or is opening, its own; the larger one lets go of its own when
the smaller one's arrives. A hello with another session comes from a restarted peer, whose new channel always replaces
the old one. The side that is told "duplicate" waits for the other's channel, and tries again if that does not come.

**Standing.** `fault` (also called for what the host finds: undecodable gossip, wrong signatures, malformed requests)
drops the peer and bans it, for half a minute at first and twice as long each time, up to an hour; after a day without
a fault its record is clean. A peer of another chain is not banned but told, logged once, disconnected, and redialled
rarely: its operator may be about to mend it.

Peers that were found (by multicast DNS, say) come in by `Peers.add`: a bounded number, dialled like those on the list,
and forgotten after some attempts in vain. They pass the same handshake.
"""

from __future__ import annotations

import contextlib
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import trio

from node.channel import (
    MESSAGES_PROTOCOL,
    PING_INTERVAL_S,
    SILENCE_MAX_S,
    Channel,
    ChannelDuplicate,
    Hello,
    OtherChain,
    PeerSilent,
    Priority,
    answer_channel,
    message_frame,
    open_channel,
)
from node.host.escalation import BAN_FIRST_S, BAN_MAX_S, FAULT_MEMORY_S, Escalation
from node.host.interface import Host, HostError, InvalidAddress, ProtocolRefused, Stream
from node.send_queue import FrameBudget
from pdfedchain.errors import InputError

__all__ = ["PeerSettings", "Peers"]

log = logging.getLogger(__name__)

#: Faults remembered per peer; a peer id costs nothing, so the table is bounded.
_STANDINGS_MAX: Final = 10_000

#: Peers found, not listed, that are dialled or connected at one time. Whoever announces more waits.
_FOUND_MAX: Final = 64
#: Attempts in vain after which a peer that was found is forgotten, until it is found again.
_FOUND_ATTEMPTS_MAX: Final = 6


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """Times of the peer manager.

    Attributes:
        backoff_first_s, backoff_max_s: between attempts at one address; each wait is up to half shorter by chance.
        backoff_other_chain_s: for a peer of another chain.
        parting_s: what a peer of another chain has to read our hello, before it is disconnected.
        stable_after_s: a channel that lasted so long was good; its loss is followed by a quick attempt.
        ban_first_s, ban_max_s: after the first fault, and at most.
        fault_memory_s: a peer without a fault for so long has a clean record again.
        ping_interval_s, silence_max_s: see `node.channel`.
    """

    backoff_first_s: float = 0.25
    backoff_max_s: float = 10.0
    backoff_other_chain_s: float = 30.0
    parting_s: float = 1.0
    stable_after_s: float = 5.0
    ban_first_s: float = BAN_FIRST_S
    ban_max_s: float = BAN_MAX_S
    fault_memory_s: float = FAULT_MEMORY_S
    ping_interval_s: float = PING_INTERVAL_S
    silence_max_s: float = SILENCE_MAX_S


class Peers:
    """All channels of one node."""

    def __init__(
        self,
        host: Host,
        hello: Callable[[], Hello],
        addresses: Iterable[str],
        *,
        receive: Callable[[str, bytes], None],
        up: Callable[[str, Hello], None] = lambda peer_id, hello: None,
        down: Callable[[str], None] = lambda peer_id: None,
        settings: PeerSettings | None = None,
    ) -> None:
        """
        Args:
            hello: what to say to a peer now; ``session`` must not change during the lifetime of this object.
            addresses: multiaddresses with peer ids; our own is skipped.
            receive: called with peer id and message, in the order of sending; an `InputError` out of it is a fault.
            up, down: called in turn for each peer, when its first channel comes and when its last one has gone.
        """
        self.counters: Counter[str] = Counter()
        self._host = host
        self._hello = hello
        self._addresses = tuple(dict.fromkeys(addresses))
        self._receive = receive
        self._up = up
        self._down = down
        self._settings = settings or PeerSettings()
        self._channels: dict[str, Channel] = {}
        self._budget = FrameBudget()
        self._opening: set[str] = set()
        self._answering: set[str] = set()
        self._faults = Escalation(
            trio.current_time,
            first_s=self._settings.ban_first_s,
            max_s=self._settings.ban_max_s,
            memory_s=self._settings.fault_memory_s,
            remembered_max=_STANDINGS_MAX,
        )
        self._other_chain: set[str] = set()
        self._changed = trio.Event()
        self._found: dict[str, str] = {}
        self._met: set[str] = set()
        self._nursery: trio.Nursery | None = None

    @property
    def connected(self) -> Mapping[str, Channel]:
        """The channels by peer id, read only."""
        return MappingProxyType(self._channels)

    def is_member(self, peer_id: str) -> bool:
        """Whether a peer has said hello, and belongs to this chain."""
        return peer_id in self._channels

    def peer_ids(self) -> tuple[str, ...]:
        """Peers with a channel, sorted."""
        return tuple(sorted(self._channels))

    def broadcast(self, frame: bytes, *, priority: Priority = Priority.NORMAL, exclude: str | None = None) -> None:
        """Queue a message for every connected peer but one."""
        shared = message_frame(frame)
        for peer_id, channel in self._channels.items():
            if peer_id != exclude and not channel.send_frame(shared, priority):
                self.counters["messages_dropped"] += 1

    def send(self, peer_id: str, frame: bytes, *, priority: Priority = Priority.NORMAL) -> None:
        """Queue a message for one peer; nothing happens if it is gone."""
        channel = self._channels.get(peer_id)
        if channel is not None and not channel.send(frame, priority):
            self.counters["messages_dropped"] += 1

    def fault(self, peer_id: str, reason: str) -> None:
        """The peer did what no honest one does: drop it and ban it for a while."""
        ban_s = self._faults.next_s(peer_id)
        self.counters["faults"] += 1
        log.warning("%s is banned for %.0f s: %s", peer_id, ban_s, reason)
        channel = self._channels.get(peer_id)
        if channel is not None:
            channel.close()
        if self._nursery is not None:
            self._nursery.start_soon(self._host.ban, peer_id, ban_s)

    def add(self, address: str) -> bool:
        """Be connected with a peer that was found, as with one on the list; false for a known one, and one too many."""
        peer_id = address.rpartition("/p2p/")[2]
        listed = any(known.endswith(f"/p2p/{peer_id}") for known in self._addresses)
        if listed or peer_id in self._found or peer_id == self._host.peer_id:
            return False
        if len(self._found) >= _FOUND_MAX:
            self.counters["found_dropped"] += 1
            return False
        self._found[peer_id] = address
        self.counters["found"] += 1
        if self._nursery is not None:
            self._nursery.start_soon(self._keep_found, address, peer_id)
        return True

    async def _keep_found(self, address: str, peer_id: str) -> None:
        try:
            await self._keep(address, attempts_max=_FOUND_ATTEMPTS_MAX)
        finally:
            self._found.pop(peer_id, None)
            self._met.discard(peer_id)

    async def wait_connected(self, count: int) -> None:
        """Wait until there are channels with so many peers."""
        while len(self._channels) < count:
            await self._changed.wait()

    async def run(self) -> None:
        """Dial, accept and keep, for ever."""
        self._host.set_fault_listener(self.fault)
        self._host.set_stream_handler(MESSAGES_PROTOCOL, self._answer)
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for address in self._addresses:
                nursery.start_soon(self._keep, address)
            for peer_id, address in self._found.items():
                nursery.start_soon(self._keep_found, address, peer_id)
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    async def _keep(self, address: str, *, attempts_max: int | None = None) -> None:
        """Have a channel with the peer at this address, for ever or until so many attempts in a row were in vain."""
        peer_id = address.rpartition("/p2p/")[2]
        if peer_id == self._host.peer_id:
            return
        with contextlib.suppress(InvalidAddress):
            self._host.learn(address)  # also of a peer that dials us first
        backoff_s = self._settings.backoff_first_s
        failures = 0
        while attempts_max is None or failures < attempts_max:
            failures += 1
            while peer_id in self._channels:
                await self._changed.wait()
                backoff_s = self._settings.backoff_first_s
            started_at = trio.current_time()
            if not await self._attempt(address, peer_id):
                return
            if peer_id in self._other_chain:
                backoff_s = self._settings.backoff_other_chain_s
            elif trio.current_time() - started_at > self._settings.stable_after_s:
                backoff_s = self._settings.backoff_first_s
            if peer_id in self._met:
                self._met.discard(peer_id)
                failures = 0
            with trio.move_on_after(backoff_s * random.uniform(0.5, 1.0)):  # noqa: S311 - jitter, not a secret
                await self.wait_for(peer_id)
            backoff_s = min(2 * backoff_s, self._settings.backoff_max_s)

    async def _attempt(self, address: str, peer_id: str) -> bool:
        """Open a channel and use it until it ends; false if the address can never work."""
        try:
            await self._open(address, peer_id)
        except OtherChain as error:
            self._tell_other_chain(peer_id, error)
            await self._host.disconnect(peer_id)
        except InvalidAddress as error:
            log.error("%s; it is not dialled any more", error)
            return False
        except InputError as error:
            self.fault(peer_id, str(error))
        except (PeerSilent, ProtocolRefused) as error:
            log.debug("no channel with %s: %s", peer_id, error)
            # The connection may be dead without anybody having been told: the next attempt takes a fresh one.
            await self._host.disconnect(peer_id)
        except HostError as error:
            log.debug("no channel with %s: %s", peer_id, error)
        return True

    async def wait_for(self, peer_id: str) -> None:
        """Wait until there is a channel with a peer."""
        while peer_id not in self._channels:
            await self._changed.wait()

    async def _open(self, address: str, peer_id: str) -> None:
        """Connect, open a channel and use it until it ends."""
        await self._host.connect(address)
        if peer_id in self._channels or peer_id in self._answering:
            return
        self._opening.add(peer_id)
        try:
            stream, hello = await open_channel(self._host, peer_id, self._hello())
            # Between the peer's hello and this line nobody else ran, so `_opening` covers the whole handshake.
            channel = self._enter(stream, hello, opened_by_us=True)
        finally:
            self._opening.discard(peer_id)
        await self._use(channel)

    async def _answer(self, stream: Stream) -> None:
        """Serve a channel that a peer has opened."""
        if self._nursery is None:
            return
        peer_id = stream.peer_id
        try:
            hello = await answer_channel(stream, self._hello(), lambda hello: self._is_duplicate(peer_id, hello))
            channel = self._enter(stream, hello, opened_by_us=False)
        except OtherChain as error:
            self._tell_other_chain(peer_id, error)
            self._nursery.start_soon(self._part_with, peer_id)
            return
        except ChannelDuplicate:
            return
        finally:
            self._answering.discard(peer_id)
        if self._nursery is not None:
            ended = trio.Event()
            # Not in this task: the host forgives whatever a handler raises, and a bug in `receive` must stop the node.
            self._nursery.start_soon(self._use_answered, channel, ended)
            await ended.wait()

    async def _part_with(self, peer_id: str) -> None:
        """Disconnect a peer once it has had time to read what was answered."""
        await trio.sleep(self._settings.parting_s)
        if peer_id not in self._channels:
            await self._host.disconnect(peer_id)

    async def _use_answered(self, channel: Channel, ended: trio.Event) -> None:
        try:
            await self._use(channel)
        except InputError as error:
            self.fault(channel.peer_id, str(error))
        except PeerSilent:
            await self._host.disconnect(channel.peer_id)
        except HostError as error:
            log.debug("the channel opened by %s ended: %s", channel.peer_id, error)
        finally:
            ended.set()

    def _is_duplicate(self, peer_id: str, hello: Hello) -> bool:
        if self._keeps_own(peer_id, hello):
            return True
        self._answering.add(peer_id)
        return False

    def _keeps_own(self, peer_id: str, hello: Hello) -> bool:
        """Whether a channel opened by this peer is one too many; see the module's text."""
        if peer_id < self._host.peer_id:
            return False
        current = self._channels.get(peer_id)
        if current is None:
            return peer_id in self._opening
        return current.opened_by_us and current.hello.session == hello.session

    def _enter(self, stream: Stream, hello: Hello, *, opened_by_us: bool) -> Channel:
        channel = Channel(
            stream,
            hello,
            opened_by_us=opened_by_us,
            budget=self._budget,
            ping_interval_s=self._settings.ping_interval_s,
            silence_max_s=self._settings.silence_max_s,
        )
        previous = self._channels.get(channel.peer_id)
        if channel.peer_id in self._found:
            self._met.add(channel.peer_id)
        self._host.vouch(channel.peer_id)
        self._channels[channel.peer_id] = channel
        if previous is None:
            log.info("%s is up at height %d", channel.peer_id, channel.hello.height)
            self._other_chain.discard(channel.peer_id)
            self._notify()
            self._up(channel.peer_id, channel.hello)
        else:
            previous.close()
        return channel

    async def _use(self, channel: Channel) -> None:
        reason = "closed on this side"
        try:
            await channel.run(self._receive)
        except (HostError, InputError) as error:
            reason = str(error)
            raise
        finally:
            if self._channels.get(channel.peer_id) is channel:
                del self._channels[channel.peer_id]
                log.info("%s is down: %s", channel.peer_id, reason)
                self._notify()
                self._down(channel.peer_id)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _tell_other_chain(self, peer_id: str, error: OtherChain) -> None:
        self.counters["other_chain"] += 1
        if peer_id not in self._other_chain:
            if len(self._other_chain) >= _STANDINGS_MAX:
                self._other_chain.clear()
            self._other_chain.add(peer_id)
            log.error("%s", error)
