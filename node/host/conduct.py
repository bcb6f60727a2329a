"""What a peer may do with streams before it costs it the connection, for every host.

Opening a stream costs its opener next to nothing. Two things are counted for each peer, and too much of either is a
fault, so that the peer is dropped and barred:

* Streams at all: far more than programs of IPFS open, which take one for each message.
* Streams that come to nothing, *barren* ones. A handler waited for a request, and none arrived whole: the stream was
  reset, or its peer fell silent, or sends byte by byte. Such a stream counts once, and once more for every ten seconds
  that it held a place. Those that never say what they are for count too, and those above the number of streams that a
  peer may have. An honest node leaves one behind when a connection breaks or a transfer ends early.

What is refused for want of room, before anything was read, is nobody's fault and not counted: that many others are
being served is not the peer's doing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from node.host.allowance import Allowances
from node.host.interface import HostLimits

__all__ = ["Conduct"]

#: A barren stream counts once more for every so many seconds of its life.
_HELD_S: Final = 10.0


class Conduct:
    """The streams of all peers of one host. Each method returns why the peer has to go, where it has to."""

    def __init__(self, limits: HostLimits, counters: Counter[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._counters = counters
        self._opened = Allowances(limits.streams_per_peer_per_s, limits.streams_per_peer_burst, clock)
        self._barren = Allowances(limits.streams_barren_per_peer_per_s, limits.streams_barren_per_peer_burst, clock)

    def opened(self, peer_id: str) -> str | None:
        """A peer has opened a stream."""
        if self._opened.spend(peer_id, 1):
            return None
        self._counters["streams_flooded"] += 1
        return "a flood of streams"

    def barren(self, peer_id: str, held_s: float = 0.0) -> str | None:
        """A stream of a peer has ended without a whole request.

        Args:
            held_s: the time for which it held a place.
        """
        self._counters["streams_barren"] += 1
        if self._barren.spend(peer_id, 1 + held_s / _HELD_S):
            return None
        self._counters["streams_barren_flooded"] += 1
        return "a flood of streams without a request"
