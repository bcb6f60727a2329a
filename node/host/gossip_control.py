"""What is believed of a gossip message that is no payload: subscriptions, and the router's control messages.

libp2p 0.8.1 acts on whatever a peer says there. One request of 2 MiB may name one cached message 40,000 times and be
answered with gigabytes; a PRUNE may name addresses, which are dialled by the task that reads; every topic that a PRUNE
makes up is remembered for ever. Here a request is cut to what an honest peer may ask, before the router sees it:

* Topics that this node takes no part in are dropped, and each topic counts once for each kind of message.
* Identifiers count once, however they are written, up to `IDS_MAX` of a kind.
* Addresses in a PRUNE are dropped: whom to dial is decided by the peer manager alone.
* What belongs to versions of the protocol that this node does not speak is dropped.

What is dropped is counted. What no honest peer sends, very many identifiers or one again and again, is a fault.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any, Final

from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.utils import safe_bytes_from_hex

__all__ = [
    "IDS_MAX",
    "PAYLOADS_MAX",
    "SUBSCRIPTIONS_MAX",
    "TOPIC_SIZE_BYTES_MAX",
    "Misuse",
    "clean_control",
    "clean_subscriptions",
]

#: Identifiers of one kind in one message: what go-libp2p and js-libp2p take of an IHAVE.
IDS_MAX: Final = 5_000

#: Ours have some 46 bytes; other programs hash.
ID_SIZE_BYTES_MAX: Final = 128

#: An IWANT that names what it has named already this often is no mistake.
REPEATED_MAX: Final = 16

#: Payloads in one message. Ours carry one; answers to an IWANT may be packed together.
PAYLOADS_MAX: Final = 5_000

#: A node has two topics; programs of other kinds are remembered with a few more.
SUBSCRIPTIONS_MAX: Final = 16
TOPIC_SIZE_BYTES_MAX: Final = 256

#: A peer that asks not to be grafted is believed for so long.
PRUNE_BACK_OFF_MAX_S: Final = 3_600


class Misuse(Exception):
    """A control message that no honest peer sends; its text says why."""


def clean_subscriptions(subscriptions: Iterable[Any], counters: Counter[str]) -> list[Any]:
    """The last word on each topic, of at most `SUBSCRIPTIONS_MAX` topics."""
    last: dict[str, Any] = {}
    for subscription in subscriptions:
        topic = subscription.topicid
        if len(topic) > TOPIC_SIZE_BYTES_MAX or (len(last) >= SUBSCRIPTIONS_MAX and topic not in last):
            counters["gossip_subscriptions_dropped"] += 1
        else:
            last[topic] = subscription
    return list(last.values())


def clean_control(control: Any, topics: Collection[str], counters: Counter[str]) -> Any:
    """What the router may see of a control message.

    Args:
        topics: in which this node takes part.

    Raises:
        Misuse: the peer asks for too many messages, or for the same ones too often.
    """
    cleaned = rpc_pb2.ControlMessage()
    wanted = _Identifiers(counters)
    for iwant in control.iwant:
        wanted.take(iwant.messageIDs)
    if wanted.excess or wanted.repeated > REPEATED_MAX:
        counters["gossip_control_misused"] += 1
        raise Misuse(
            f"asked for {len(wanted.found) + wanted.excess} messages, and {wanted.repeated} times for the same"
        )
    if wanted.found:
        cleaned.iwant.add().messageIDs.extend(wanted.found)
    offered: dict[str, _Identifiers] = {}
    for ihave in _known(control.ihave, topics, counters):
        offered.setdefault(ihave.topicID, _Identifiers(counters)).take(ihave.messageIDs)
    for topic, identifiers in offered.items():
        if identifiers.found:
            cleaned.ihave.add(topicID=topic).messageIDs.extend(identifiers.found)
    for graft in _once(control.graft, topics, counters):
        cleaned.graft.add(topicID=graft.topicID)
    for prune in _once(control.prune, topics, counters):
        counters["gossip_peers_offered"] += len(prune.peers)
        cleaned.prune.add(topicID=prune.topicID, backoff=min(prune.backoff, PRUNE_BACK_OFF_MAX_S))
    return cleaned


class _Identifiers:
    """Distinct identifiers out of several lists, each in the one way in which it is written here."""

    def __init__(self, counters: Counter[str]) -> None:
        self._counters = counters
        self.found: dict[Any, None] = {}
        self.repeated = 0
        self.excess = 0

    def take(self, identifiers: Iterable[Any]) -> None:
        """Add a list. An identifier may come as bytes, or as their hexadecimal digits."""
        for written in identifiers:
            if len(written) > 2 * ID_SIZE_BYTES_MAX or (identifier := safe_bytes_from_hex(written)) is None:
                self._counters["gossip_control_dropped"] += 1
            elif identifier in self.found:
                self._counters["gossip_control_dropped"] += 1
                self.repeated += 1
            elif len(self.found) >= IDS_MAX:
                self._counters["gossip_control_dropped"] += 1
                self.excess += 1
            else:
                self.found[identifier] = None


def _known(messages: Iterable[Any], topics: Collection[str], counters: Counter[str]) -> Iterable[Any]:
    for message in messages:
        if message.topicID in topics:
            yield message
        else:
            counters["gossip_control_dropped"] += 1


def _once(messages: Iterable[Any], topics: Collection[str], counters: Counter[str]) -> Iterable[Any]:
    """The last message about each known topic."""
    last = {message.topicID: message for message in _known(messages, topics, counters)}
    return last.values()
