"""What a Byzantine node can do, and what it knows."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from pdfedchain.application import Application
from pdfedchain.consensus.blocks import Position
from pdfedchain.consensus.messages import Message
from pdfedchain.crypto import SigningKey
from pdfedchain.ids import Hash
from pdfedchain.types.vote import Proposal, Vote

__all__ = ["Actor", "Said", "Situation", "resigned_proposal", "resigned_vote"]

#: What leaves a liar: a message, or bytes that are none.
Said = Message | bytes


@dataclass(frozen=True, slots=True)
class Situation:
    """What an actor knows.

    Attributes:
        position: where its own replica is.
        random: the simulator's randomness.
    """

    key: SigningKey
    application: Application
    position: Callable[[], Position]
    random: random.Random


class Actor(Protocol):
    """Rewrites what leaves a node."""

    def says(self, message: Message, recipient: int) -> Sequence[Said]:
        """What ``recipient`` gets instead of this message."""
        ...

    def hears(self, message: Message) -> Sequence[Message]:
        """What it sends to everybody on receiving this message, past its replica."""
        ...


def resigned_vote(vote: Vote, block: Hash | None, key: SigningKey) -> Vote:
    """The same vote for another block, with a good signature."""
    changed = replace(vote, block=block, voter=key.address)
    return replace(changed, signature=key.sign(changed.signing_bytes()))


def resigned_proposal(proposal: Proposal, block: Hash, key: SigningKey) -> Proposal:
    """The same proposal for another block, with a good signature."""
    changed = replace(proposal, block=block)
    return replace(changed, signature=key.sign(changed.signing_bytes()))
