"""What a set of simulated runs should have seen at least once, and how a message goes into the audit hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from pdfedchain.codec import encode
from pdfedchain.consensus.effects import (
    BlockRefused,
    Broadcast,
    Effect,
    Evidence,
    ScoreOverridden,
    SigningRefused,
    StartTimer,
)
from pdfedchain.consensus.inputs import TimerKind
from pdfedchain.consensus.messages import (
    ConsensusMessage,
    Message,
    ProposalMessage,
    RoundStatus,
    VoteMessage,
    VotesMessage,
)
from pdfedchain.testing.nodes import Node

__all__ = ["fingerprint", "noteworthy"]


def noteworthy(node: Node, effect: Effect) -> Iterator[str]:
    """What a set of runs should have seen at least once, beside the branches of the algorithm."""
    assert node.replica is not None
    match effect:
        case Broadcast(VotesMessage()):
            yield "round certificate sent on entering"
        case Broadcast(ProposalMessage(proposal, _, polka)):
            if proposal.round < node.replica.round:
                yield "block sent along for a hidden lock"
            elif polka is not None:
                yield "polka sent with a re-proposal"
        case StartTimer(timer, delay_ms):
            cap_ms = node.replica.position.genesis.parameters.timeout_max_ms
            if timer.kind <= TimerKind.PRECOMMIT and delay_ms == cap_ms:
                yield "time-out at its cap"
        case Evidence() | ScoreOverridden() | SigningRefused() | BlockRefused():
            yield type(effect).__name__
        case _:
            pass


def fingerprint(message: Message) -> bytes:
    """Bytes that differ where messages differ, for the audit hash."""
    match message:
        case VoteMessage(vote):
            return vote.signature
        case ProposalMessage(proposal):
            return proposal.signature
        case VotesMessage(votes):
            return b"".join(vote.signature for vote in votes)
        case RoundStatus():
            return repr(message).encode()
        case _:
            return hashlib.sha256(encode(ConsensusMessage(message))).digest()
