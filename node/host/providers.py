"""Who has a content: Kademlia of libp2p 0.8.1, bounded.

`Providers` announces what this host has and asks who has something, by the protocol of IPFS (``/ipfs/kad/1.0.0``), with
the peers this host is connected to and those they name. A record says where a peer listens; nothing in it is believed
before a connection to that address has proved the identity.

Traps of libp2p 0.8.1 that this mends:

* Values of strangers are kept, 50,000 of up to a megabyte. No value is taken here.
* Keys with providers are kept without a bound. Here the oldest of `_KEYS_MAX` goes.
* A stream may stay open for ever, and twelve in all keep everybody else out. Here each has `_SERVE_TIMEOUT_S`, and one
  peer has `_STREAMS_PER_PEER_MAX`.
* An inquiry about what this host itself announced is answered with this host alone.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final

import trio
from libp2p.kad_dht.common import PROTOCOL_ID
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.network.stream.net_stream import NetStream
from libp2p.peer.id import ID
from libp2p.records.validator import NamespacedValidator
from multiaddr import Multiaddr
from multiaddr.exceptions import Error as MultiaddrError

__all__ = ["Providers"]

log = logging.getLogger(__name__)

#: Keys this host keeps records about, each with at most 20 providers.
_KEYS_MAX: Final = 10_000
#: Contents this host announces itself.
_OWN_MAX: Final = 1_024
#: Records are forgotten after 48 hours; a peer that came later has not heard of it at all.
_AGAIN_S: Final = 3_600.0
#: An announcement or inquiry takes no longer.
_INQUIRY_TIMEOUT_S: Final = 20.0
_SERVE_TIMEOUT_S: Final = 30.0
_STREAMS_PER_PEER_MAX: Final = 3
_FOUND_MAX: Final = 16
#: A CID without its version and codec is the multihash, which is what providers are listed by.
_MULTIHASH_AT: Final = 2


class _Newest(dict[bytes, Any]):
    """A dict that forgets its oldest key when it is full."""

    def __setitem__(self, key: bytes, value: Any) -> None:
        if key not in self and len(self) >= _KEYS_MAX:
            del self[next(iter(self))]
        super().__setitem__(key, value)


class Providers:
    """Announces and finds providers for one host.

    Args:
        basic: libp2p's host.
        addresses: where connected peers are known to listen.
    """

    def __init__(
        self, basic: Any, addresses: Callable[[], Iterable[tuple[str, Multiaddr]]], counters: Counter[str]
    ) -> None:
        self._basic = basic
        self._addresses = addresses
        self._counters = counters
        refuse_values = NamespacedValidator({}, strict_validation=True)
        self._dht = KadDHT(basic, DHTMode.SERVER, validator=refuse_values, validator_changed=True)
        self._dht.strict_validation = True
        self._dht.provider_store.providers = _Newest()
        self._serving: Counter[str] = Counter()
        self._own: dict[bytes, float] = {}
        self._wanted = trio.Event()
        self._asking = trio.Lock()
        basic.set_stream_handler(PROTOCOL_ID, self._serve)

    def provide(self, cid: bytes) -> None:
        """Announce a content soon, and again every hour."""
        if cid not in self._own and len(self._own) >= _OWN_MAX:
            del self._own[next(iter(self._own))]
        self._own[cid] = 0.0
        self._wanted.set()

    async def run(self) -> None:
        """Announce what is due, for ever."""
        while True:
            due = [cid for cid, at in self._own.items() if trio.current_time() >= at]
            for cid in due:
                told = await self._announce(cid)
                # Nobody there yet: soon again.
                self._own[cid] = trio.current_time() + (_AGAIN_S if told else 5.0)
            self._wanted = trio.Event()
            pause_s = min(self._own.values(), default=trio.current_time() + _AGAIN_S) - trio.current_time()
            with trio.move_on_after(max(0.1, pause_s)):
                await self._wanted.wait()
            self._dht.provider_store.cleanup_expired()

    async def _announce(self, cid: bytes) -> bool:
        async with self._asking:
            await self._meet()
            told: bool = False
            with trio.move_on_after(_INQUIRY_TIMEOUT_S):
                told = await self._dht.provider_store.provide(cid[_MULTIHASH_AT:])
        return told

    async def find(self, cid: bytes) -> tuple[str, ...]:
        """Addresses of peers that say they have a content, ours excepted; perhaps none."""
        key = cid[_MULTIHASH_AT:]
        found: dict[str, None] = {}
        async with self._asking:
            await self._meet()
            records = self._dht.provider_store.providers.get(key, {})
            own = records.pop(str(self._basic.get_id()), None)
            with trio.move_on_after(_INQUIRY_TIMEOUT_S):
                for info in await self._dht.provider_store.find_providers(key):
                    if info.peer_id != self._basic.get_id():
                        found |= {_address(address, info.peer_id): None for address in info.addrs}
            if own is not None:
                self._dht.provider_store.add_provider(key, own.provider_info)
        return tuple(address for address in found if "/tcp/" in address)[:_FOUND_MAX]

    async def _meet(self) -> None:
        """Enter connected peers into the routing table."""
        for peer, address in self._addresses():
            identity = ID.from_base58(peer)
            self._basic.get_peerstore().add_addr(identity, address, 3_600)
            await self._dht.add_peer(identity)

    async def _serve(self, stream: NetStream) -> None:
        peer = str(stream.muxed_conn.peer_id)
        if self._serving[peer] >= _STREAMS_PER_PEER_MAX:
            self._counters["kademlia_refused"] += 1
            await stream.reset()
            return
        self._serving[peer] += 1
        try:
            with trio.move_on_after(_SERVE_TIMEOUT_S) as waiting:
                await self._dht.handle_stream(stream)
            if waiting.cancelled_caught:
                self._counters["kademlia_slow"] += 1
                await stream.reset()
        finally:
            self._serving[peer] -= 1
            if not self._serving[peer]:
                del self._serving[peer]


def _address(address: Multiaddr, identity: ID) -> str:
    try:
        text = str(address)
    except (MultiaddrError, ValueError) as error:
        log.debug("%s is said to listen on what is no address: %s", identity, error)
        return ""
    return text if "/p2p/" in text else f"{text}/p2p/{identity}"
