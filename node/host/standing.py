"""Who is refused: peers that are banned, and addresses from which too many of them came.

A peer id costs nothing, so whoever is banned comes back under another one. Once `PEERS_PER_NETWORK_MAX` peers of one
address are banned at the same time, the address is refused before any handshake, until the last of these bans ends. One
bad peer does not bar its neighbours behind the same address. An IPv6 address counts by its first 64 bits, since whoever
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
        #: By peer: until when, and from which network it was connected.
        self._bans: dict[str, tuple[float, str]] = {}

    def ban(self, peer_id: str, network: str, duration_s: float) -> None:
        """Refuse a peer for a while.

        Args:
            network: it is connected from; empty where that is not known, or is its listening address.
        """
        now = self._clock()
        self._bans = {peer: ban for peer, ban in self._bans.items() if ban[0] > now and peer != peer_id}
        self._bans[peer_id] = (now + duration_s, network)
        if len(self._bans) > _BANS_MAX:
            del self._bans[next(iter(self._bans))]

    def bans_peer(self, peer_id: str) -> bool:
        """Whether a peer is refused now."""
        return self._bans.get(peer_id, (0.0, ""))[0] > self._clock()

    def bans_network(self, network: str) -> bool:
        """Whether an address is refused now."""
        now = self._clock()
        banned = sum(until > now and network == origin for until, origin in self._bans.values())
        return bool(network) and banned >= PEERS_PER_NETWORK_MAX
