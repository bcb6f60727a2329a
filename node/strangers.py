"""Connections that are of no use are ended.

Whoever is connected and has said no hello after `StrangerSettings.hello_timeout_s` is a stranger. One that uses what is
open to strangers (`node.gate`) may stay, up to `strangers_max` of them; one that uses nothing for `idle_s` has to go,
and comes back when it wants something.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import trio

from node.host.interface import Host

__all__ = ["StrangerSettings", "Strangers"]


@dataclass(frozen=True, slots=True)
class StrangerSettings:
    """Times and numbers.

    Attributes:
        hello_timeout_s: after so long without a hello a peer counts as a stranger.
        idle_s: a stranger that has used nothing for so long is disconnected.
        strangers_max: connected at once; whoever has used nothing for the longest goes first.
        look_interval_s: between two looks.
    """

    hello_timeout_s: float = 15.0
    idle_s: float = 60.0
    strangers_max: int = 16
    look_interval_s: float = 1.0


class Strangers:
    """Watches over the peers of one host that are no members."""

    def __init__(
        self,
        host: Host,
        is_member: Callable[[str], bool],
        used_at: Callable[[str], float],
        *,
        settings: StrangerSettings | None = None,
    ) -> None:
        """
        Args:
            used_at: when a stranger last used what is open to it.
        """
        self.counters: Counter[str] = Counter()
        self._host = host
        self._is_member = is_member
        self._used_at = used_at
        self._settings = settings or StrangerSettings()
        self._since: dict[str, float] = {}

    async def run(self) -> None:
        """Look again and again, for ever."""
        async with trio.open_nursery() as nursery:
            while True:
                for peer_id in self.unwelcome():
                    self.counters["strangers_disconnected"] += 1
                    nursery.start_soon(self._host.disconnect, peer_id)
                await trio.sleep(self._settings.look_interval_s)

    def unwelcome(self) -> list[str]:
        """Who has to go now."""
        now = trio.current_time()
        connected = [peer_id for peer_id in self._host.connected_peers() if not self._is_member(peer_id)]
        self._since = {peer_id: self._since.get(peer_id, now) for peer_id in connected}
        strangers = [peer_id for peer_id, since in self._since.items() if now - since > self._settings.hello_timeout_s]
        strangers.sort(key=lambda peer_id: (self._used_at(peer_id), self._since[peer_id]))
        excess = max(len(strangers) - self._settings.strangers_max, 0)
        idle = [
            peer_id
            for peer_id in strangers[excess:]
            if now - max(self._used_at(peer_id), self._since[peer_id]) > self._settings.idle_s
        ]
        return strangers[:excess] + idle
