"""How much gossip is taken from peers that have not said hello.

A connection costs its opener nothing, and who stands behind it is not known before the handshake of the message
channel. Until then, and for programs that have no such handshake, gossip is limited for all of them together: their
messages are judged like any other while the allowance lasts, and dropped unread beyond it. What is dropped is not
remembered as seen, so a stranger cannot make a message unwelcome by sending it first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from node.host.allowance import Allowance

__all__ = ["STRANGERS_IN_MESH_MAX", "IsMember", "Strangers"]

#: Messages and bytes of all strangers in a second, and what may come at once after a quiet time.
MESSAGES_PER_S: Final = 32.0
MESSAGES_MAX: Final = 128.0
BYTES_PER_S: Final = 262_144.0
BYTES_MAX: Final = 1_048_576.0

#: Places of a topic's mesh that strangers may have; libp2p fills eight to twelve.
STRANGERS_IN_MESH_MAX: Final = 2

#: Whether a peer has said hello, by peer id.
IsMember = Callable[[str], bool]


class Strangers:
    """Who is one, and what all of them may still say. Without `is_member` nobody is."""

    def __init__(self, counters: Counter[str]) -> None:
        self._counters = counters
        self._messages = Allowance(MESSAGES_PER_S, MESSAGES_MAX)
        self._bytes = Allowance(BYTES_PER_S, BYTES_MAX)
        self.is_member: IsMember = lambda peer_id: True
        self.heard: Callable[[str], None] = lambda peer_id: None

    def may_say(self, peer_id: str, size_bytes: int) -> bool:
        """Whether a gossip message of a peer is looked at; a stranger's is taken off the allowance."""
        if self.is_member(peer_id):
            return True
        if self._messages.spend(1) and self._bytes.spend(size_bytes):
            self.heard(peer_id)
            return True
        self._counters["gossip_of_strangers_dropped"] += 1
        return False
