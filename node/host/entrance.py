"""Who may come in: connections from one address, and bans of peers and addresses, for every host.

An address has a number of places. Whoever dials above it is refused, and whoever takes a place and shows no identity
loses it; both are *wasted* connections. An address that wastes many is barred before any handshake, for half a minute
at first and twice as long each time, up to an hour.

Many may stand behind one address, so an address is not barred for its connections if an honest node would be barred
with it: one whose own address is there (`learn`), or one that has said hello from there within the last hour
(`vouch`), as on a loopback testnet or behind NAT. There the bounds hold and nothing more. A peer that is banned speaks
for nobody.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from node.host.allowance import Allowances
from node.host.escalation import BAN_FIRST_S, BAN_MAX_S, FAULT_MEMORY_S, Escalation
from node.host.interface import HostLimits
from node.host.standing import Standing

__all__ = ["Entrance"]

#: For so long after its connection has ended a peer still speaks for its address: it is about to come back.
_VOUCHED_S: Final = 3_600.0

#: Addresses that are remembered for having been barred or vouched for, more than can be connected.
_REMEMBERED_MAX: Final = 1_024


class Entrance:
    """The door of one host. An address is text that stands for its owner (`node.host.standing.network_of`)."""

    def __init__(self, limits: HostLimits, counters: Counter[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._counters = counters
        self._clock = clock
        self._wasted = Allowances(
            limits.connections_wasted_per_address_per_s, limits.connections_wasted_per_address_burst, clock
        )
        self.standing = Standing(clock)
        #: Inbound connections by address, those in their handshake included.
        self.inbound: Counter[str] = Counter()
        #: Addresses of peers that this host knows.
        self._known: set[str] = set()
        #: By peer: from where it came last. Kept when it goes, since it may be banned for what it did just before.
        self._origins: dict[str, str] = {}
        #: By connected peer that has said hello: where it is.
        self._vouched: dict[str, str] = {}
        #: By address from which such a peer has gone: until when it is spared.
        self._spared: dict[str, float] = {}
        self._bars = Escalation(
            clock, first_s=BAN_FIRST_S, max_s=BAN_MAX_S, memory_s=FAULT_MEMORY_S, remembered_max=_REMEMBERED_MAX
        )

    def bars(self, address: str) -> bool:
        """Whether a new connection from an address is refused without a look."""
        is_barred = self.standing.bans_network(address)
        self._counters["inbound_address_banned"] += is_barred
        return is_barred

    def admit(self, address: str) -> bool:
        """Give a place to a new connection, to be given back by `leave`; false where there is none."""
        if self.bars(address):
            return False
        if self.inbound[address] >= self._limits.connections_per_address_max:
            self._counters["inbound_address_full"] += 1
            return False
        self.inbound[address] += 1
        return True

    def leave(self, address: str) -> None:
        """Give the place back."""
        self.inbound[address] -= 1
        if not self.inbound[address]:
            del self.inbound[address]

    def wasted(self, address: str) -> bool:
        """A connection was refused for want of a place, or showed no identity; whether its address is barred for it."""
        if not address or self.standing.bans_network(address) or self._wasted.spend(address, 1):
            return False
        if self._is_shared(address):
            self._counters["inbound_address_spared"] += 1
            return False
        self.standing.bar(address, self._bars.next_s(address))
        self._counters["addresses_barred"] += 1
        return True

    def _is_shared(self, address: str) -> bool:
        """Whether an honest node is known to be there."""
        is_there = address in self._known or address in self._vouched.values()
        return is_there or self._spared.get(address, 0.0) > self._clock()

    def learn(self, address: str) -> None:
        """A peer that this host is to be connected with listens at an address."""
        self._known.add(address)

    def arrived(self, peer_id: str, address: str) -> None:
        """A peer has shown its identity on a connection from an address."""
        self._origins.pop(peer_id, None)
        self._origins[peer_id] = address
        if len(self._origins) > _REMEMBERED_MAX:
            del self._origins[next(iter(self._origins))]

    def vouch(self, peer_id: str) -> None:
        """A connected peer belongs here: it speaks for its address until it has `left`."""
        if address := self._origins.get(peer_id, ""):
            self._vouched[peer_id] = address

    def left(self, peer_id: str) -> None:
        """The connection of a peer has ended."""
        if (address := self._vouched.pop(peer_id, None)) is not None:
            self._spared.pop(address, None)
            self._spared[address] = self._clock() + _VOUCHED_S
            if len(self._spared) > _REMEMBERED_MAX:
                del self._spared[next(iter(self._spared))]

    def ban(self, peer_id: str, duration_s: float) -> None:
        """Refuse a peer for a while. It counts for the address from which it came, where it came by itself."""
        self._vouched.pop(peer_id, None)
        self.standing.ban(peer_id, self._origins.get(peer_id, ""), duration_s)
