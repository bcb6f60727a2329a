"""Messages of the next height that arrive before this one is decided here.

They cannot be checked yet: who may vote then follows from executing this height's block. So they are kept by the
neighbour they came from, few of each, and checked when their time comes.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from pdfedchain.consensus.messages import CertificateMessage, Message, ProposalMessage, VoteMessage, VotesMessage

__all__ = ["Inbox"]

#: Per neighbour. A neighbour relays everybody's votes, so it needs room for one round of the largest set.
VOTES_PER_PEER_MAX: Final = 512
#: Blocks are large; one proposal is all that an honest next round 0 has.
PROPOSALS_PER_PEER_MAX: Final = 2
#: Neighbours beyond this are not remembered; the transport allows fewer.
PEERS_MAX: Final = 256


class Inbox:
    """Bounded store of early messages. The oldest votes make room; further proposals are dropped."""

    def __init__(self) -> None:
        self._votes: dict[str, deque[Message]] = {}
        self._proposals: dict[str, list[Message]] = {}

    def put(self, peer: str, message: ProposalMessage | VoteMessage | VotesMessage | CertificateMessage) -> None:
        """Keep a message of the next height, if there is room."""
        if len(self._votes) >= PEERS_MAX and peer not in self._votes:
            return
        votes = self._votes.setdefault(peer, deque(maxlen=VOTES_PER_PEER_MAX))
        if not isinstance(message, ProposalMessage):
            # A bundle may hold hundreds of votes; the sender repeats what is missing.
            if not isinstance(message, VotesMessage):
                votes.append(message)
            return
        proposals = self._proposals.setdefault(peer, [])
        if len(proposals) < PROPOSALS_PER_PEER_MAX and message not in proposals:
            proposals.append(message)

    def drain(self) -> list[tuple[str, Message]]:
        """Everything kept, proposals first; empties the store."""
        found = [(peer, message) for peer, kept in self._proposals.items() for message in kept]
        found += [(peer, message) for peer, votes in self._votes.items() for message in votes]
        self._votes.clear()
        self._proposals.clear()
        return found
