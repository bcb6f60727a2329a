"""Messages of the next height that arrive before this one is decided here.

They cannot be checked yet: who may vote then follows from executing this height's block. So they are kept by the
neighbour they came from, few of each, and checked when their time comes.

Nobody's signature is known to be good, so all is bounded in number and in memory: per neighbour, where the oldest
votes make room and further proposals are dropped, and in all, where the neighbour that fills most loses what it sent.
What an honest one loses so is repaired like any lost message.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from pdfedchain.consensus.messages import (
    MESSAGE_SIZE_BYTES_MAX,
    CertificateMessage,
    Message,
    ProposalMessage,
    VoteMessage,
    VotesMessage,
)
from pdfedchain.types.vote import Certificate

__all__ = [
    "PEERS_MAX",
    "PROPOSALS_PER_PEER_MAX",
    "PROPOSALS_SIZE_BYTES_MAX",
    "SIZE_BYTES_MAX",
    "VOTES_PER_PEER_MAX",
    "VOTES_SIZE_BYTES_MAX",
    "Inbox",
    "size_in_memory",
]

#: Per neighbour. A neighbour relays everybody's votes, so it needs room for one round of the largest set.
VOTES_PER_PEER_MAX: Final = 512
#: Per neighbour: that many votes, and beside them some certificates of the largest set.
VOTES_SIZE_BYTES_MAX: Final = 524_288
#: Per neighbour. Blocks are large; one proposal is all that an honest next round 0 has.
PROPOSALS_PER_PEER_MAX: Final = 2
#: Per neighbour: one proposal of the largest block, even if all its transactions are small.
PROPOSALS_SIZE_BYTES_MAX: Final = 2 * MESSAGE_SIZE_BYTES_MAX
#: Of all neighbours together.
SIZE_BYTES_MAX: Final = 64 * 1_048_576
#: Neighbours beyond this are not remembered; the transport allows fewer.
PEERS_MAX: Final = 256

#: What CPython takes for a decoded vote or header, for one signature of a certificate, and for a transaction beside
#: its bytes; measured and rounded up.
_STATEMENT_SIZE_BYTES: Final = 512
_SIGNATURE_SIZE_BYTES: Final = 256
_TRANSACTION_SIZE_BYTES: Final = 64


def size_in_memory(message: ProposalMessage | VoteMessage | CertificateMessage) -> int:
    """About how much memory a decoded message takes."""
    match message:
        case ProposalMessage(_, block, polka):
            transactions = sum(_TRANSACTION_SIZE_BYTES + len(one) for one in block.body.transactions)
            return 3 * _STATEMENT_SIZE_BYTES + transactions + len(block.body.extension) + _size_of(polka)
        case CertificateMessage(certificate):
            return _size_of(certificate)
        case VoteMessage():
            return _STATEMENT_SIZE_BYTES


def _size_of(certificate: Certificate | None) -> int:
    if certificate is None:
        return 0
    return _STATEMENT_SIZE_BYTES + _SIGNATURE_SIZE_BYTES * len(certificate.signatures)


@dataclass(slots=True)
class _Kept:
    """What one neighbour sent, with sizes."""

    votes: deque[tuple[Message, int]] = field(default_factory=deque)
    votes_size_bytes: int = 0
    proposals: list[ProposalMessage] = field(default_factory=list)
    proposals_size_bytes: int = 0

    @property
    def size_bytes(self) -> int:
        return self.votes_size_bytes + self.proposals_size_bytes

    def put_vote(self, message: Message, size_bytes: int) -> None:
        self.votes.append((message, size_bytes))
        self.votes_size_bytes += size_bytes
        while len(self.votes) > VOTES_PER_PEER_MAX or self.votes_size_bytes > VOTES_SIZE_BYTES_MAX:
            self.votes_size_bytes -= self.votes.popleft()[1]

    def put_proposal(self, message: ProposalMessage, size_bytes: int) -> None:
        full = len(self.proposals) == PROPOSALS_PER_PEER_MAX
        if full or self.proposals_size_bytes + size_bytes > PROPOSALS_SIZE_BYTES_MAX or message in self.proposals:
            return
        self.proposals.append(message)
        self.proposals_size_bytes += size_bytes


class Inbox:
    """Bounded store of early messages."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    @property
    def size_bytes(self) -> int:
        """Memory that the messages take, by `size_in_memory`."""
        return sum(kept.size_bytes for kept in self._kept.values())

    def put(self, peer: str, message: ProposalMessage | VoteMessage | VotesMessage | CertificateMessage) -> None:
        """Keep a message of the next height, if there is room."""
        if isinstance(message, VotesMessage):  # may hold hundreds of votes; the sender repeats what is missing
            return
        if len(self._kept) >= PEERS_MAX and peer not in self._kept:
            return
        kept = self._kept.setdefault(peer, _Kept())
        if isinstance(message, ProposalMessage):
            kept.put_proposal(message, size_in_memory(message))
        else:
            kept.put_vote(message, size_in_memory(message))
        while self.size_bytes > SIZE_BYTES_MAX:
            del self._kept[max(self._kept, key=lambda one: self._kept[one].size_bytes)]

    def drain(self) -> list[tuple[str, Message]]:
        """Everything kept, proposals first; empties the store."""
        found: list[tuple[str, Message]] = []
        for peer, kept in self._kept.items():
            found += [(peer, message) for message in kept.proposals]
        for peer, kept in self._kept.items():
            found += [(peer, message) for message, _ in kept.votes]
        self._kept.clear()
        return found
