"""Who is refused: peers that are banned, and addresses from which too many of them came.

A peer id costs nothing, so whoever is banned comes back under another one. Once `PEERS_PER_NETWORK_MAX` peers of one
address are banned at the same time, the address is refused before any handshake, until the last of these bans ends. One
bad peer does not bar its neighbours behind the same address. An address can also be barred by itself
(`node.host.entrance` says when). An IPv6 address counts by its first 64 bits, since whoever
has one has all of these.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import Final

__all__ = ["PEERS_PER_NETWORK_MAX", "Standing", "network_of"]

#: Banned peers with which an address is banned too.
PEERS_PER_NETWORK_MAX: Final = 4

#: Bans that are remembered; the oldest makes room.
_BANS_MAX: Final = 10_000

_IPV6_SUFFIX_BITS: Final = 64


def network_of(address: str) -> str:
    """What of an IP address stands for its owner; the text itself where it is none."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> _IPV6_SUFFIX_BITS << _IPV6_SUFFIX_BITS)}/64"


class Standing:
    """Bans of one host."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: By peer: until when, and from which network it was connected. Those that are over stay until they make room.
        self._bans: dict[str, tuple[float, str]] = {}
        #: By network: its peers among them.
        self._peers: dict[str, set[str]] = {}
        #: By network that is barred by itself: until when.
        self._bars: dict[str, float] = {}

    def ban(self, peer_id: str, network: str, duration_s: float) -> None:
        """Refuse a peer for a while.

        Args:
            network: it is connected from; empty where that is not known, or is its listening address.
        """
        self._forget(peer_id)
        self._bans[peer_id] = (self._clock() + duration_s, network)
        self._peers.setdefault(network, set()).add(peer_id)
        if len(self._bans) > _BANS_MAX:
            self._forget(next(iter(self._bans)))

    def bar(self, network: str, duration_s: float) -> None:
        """Refuse an address for a while, whoever is there."""
        self._bars.pop(network, None)
        self._bars[network] = self._clock() + duration_s
        if len(self._bars) > _BANS_MAX:
            del self._bars[next(iter(self._bars))]

    def bans_peer(self, peer_id: str) -> bool:
        """Whether a peer is refused now."""
        return self._bans.get(peer_id, (0.0, ""))[0] > self._clock()

    def bans_network(self, network: str) -> bool:
        """Whether an address is refused now."""
        if not network:
            return False
        if self._bars.get(network, 0.0) > self._clock():
            return True
        for peer_id in [peer for peer in self._peers.get(network, ()) if not self.bans_peer(peer)]:
            self._forget(peer_id)
        return len(self._peers.get(network, ())) >= PEERS_PER_NETWORK_MAX

    def _forget(self, peer_id: str) -> None:
        _, network = self._bans.pop(peer_id, (0.0, ""))
        peers = self._peers.get(network, set())
        peers.discard(peer_id)
        if not peers:
            self._peers.pop(network, None)
