"""The links between simulated nodes: which messages arrive, how often and when."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass

from pdfedchain.consensus.messages import CertificateMessage, Message, RoundStatus, VoteMessage, VotesMessage
from pdfedchain.types.vote import VoteKind

__all__ = ["Links", "Network"]


@dataclass(frozen=True, slots=True)
class Links:
    """How every link behaves. Reordering follows from differing delays.

    Attributes:
        delay_ms: least and greatest delay.
        loss, repeat: share of messages lost and sent twice.
        loss_prevote: share of single prevotes lost, so that some see a polka and others do not.
        loss_precommit: share of single precommits lost, which makes rounds fail after locks were taken.
        loss_repair: share lost of what mends losses (bundles of votes, certificates, statuses): locks stay hidden.
        relay: whether nodes hand on what is new to them.
        wire: whether every message travels as bytes, encoded and decoded, and not only those that must.
    """

    delay_ms: tuple[int, int] = (1, 40)
    loss: float = 0.0
    repeat: float = 0.0
    loss_prevote: float = 0.0
    loss_precommit: float = 0.0
    loss_repair: float = 0.0
    relay: bool = False
    wire: bool = False

    def loss_of(self, message: Message | bytes) -> float:
        """Share of messages of this kind that is lost."""
        match message:
            case VoteMessage(vote):
                of_kind = self.loss_prevote if vote.kind is VoteKind.PREVOTE else self.loss_precommit
            case VotesMessage() | CertificateMessage() | RoundStatus():
                of_kind = self.loss_repair
            case _:
                of_kind = 0.0
        return max(self.loss, of_kind)


class Network:
    """Partitions and single broken directions on top of `Links`."""

    def __init__(self, links: Links) -> None:
        self.links = links
        self._groups: tuple[frozenset[int], ...] = ()
        self._deaf: set[tuple[int, int]] = set()

    def partition(self, groups: Collection[Collection[int]]) -> None:
        """Only nodes of one group reach each other; messages under way still arrive."""
        self._groups = tuple(frozenset(group) for group in groups)

    def cut(self, source: int, target: int) -> None:
        """Nothing gets from one node to another any more; the other direction stays."""
        self._deaf.add((source, target))

    def heal(self) -> None:
        """All links work again."""
        self._groups = ()
        self._deaf.clear()

    def reaches(self, source: int, target: int) -> bool:
        """Whether there is a way at present."""
        if (source, target) in self._deaf:
            return False
        return not self._groups or any(source in group and target in group for group in self._groups)

    def deliveries(self, source: int, target: int, message: Message | bytes, draw: random.Random) -> list[int]:
        """Delays of the copies that arrive, in milliseconds; none if the message is lost."""
        links = self.links
        if not self.reaches(source, target) or draw.random() < links.loss_of(message):
            return []
        copies = 2 if links.repeat and draw.random() < links.repeat else 1
        low, high = links.delay_ms
        return [low + int(draw.random() * (high - low + 1)) for _ in range(copies)]
