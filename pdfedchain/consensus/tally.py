"""The votes of one height: first votes, quorums, who is how far, and who contradicts himself.

::

    a vote of            is kept                                        counts for
    this or an earlier   the first per (voter, kind, round)             quorums, jumps
    round
    the next few rounds  the same                                       quorums, jumps
    a later round        only the round number, one per voter           jumps

A second, different vote for the same (voter, kind, round) is evidence, recorded once, and counts for nothing. A
certificate is a quorum whatever first votes we hold of its signers: an equivocator may have told us otherwise.
Quorums are recorded when first reached and never withdrawn.

No vote is forgotten while the height lasts, votes for nil of rounds gone by included: what is forgotten could be
counted again when it is sent again, and contradicted without evidence. A vote takes half a kilobyte, and rounds only
end by time-outs that double and by a quorum that votes in them.

The jump of L55 asks for f+1 distinct senders in *one* higher round. Here: the highest round that f+1 senders have
reached or passed. One of them is honest, so an honest node is at least there, which is all that the rule is for;
and it needs one number per voter where the other needs every vote of every future round. Memory is therefore
bounded by members x (rounds so far + `FUTURE_ROUNDS_MAX`), and the log by a logarithm of the rounds claimed.
"""

from __future__ import annotations

import enum
from collections import Counter
from typing import Final

from pdfedchain.consensus.effects import Evidence, ValueAt
from pdfedchain.ids import Address, Hash
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.vote import Certificate, Vote, VoteKind

__all__ = ["FUTURE_ROUNDS_MAX", "Added", "Tally"]

#: Rounds ahead of ours of which votes and proposals are kept. An honest node is rarely more than one ahead.
FUTURE_ROUNDS_MAX: Final = 4

_Slot = tuple[int, VoteKind]


class Added(enum.Enum):
    """What became of a vote."""

    NEW = "new"
    KNOWN = "known"
    CONFLICT = "conflict"
    TOO_FAR = "too far"


class Tally:
    """Votes of one height by one authority set."""

    def __init__(self, authorities: AuthoritySet) -> None:
        self._authorities = authorities
        self._votes: dict[_Slot, dict[Address, Vote]] = {}
        self._counts: dict[_Slot, Counter[Hash | None]] = {}
        self._quorums: dict[_Slot, Hash | None] = {}
        self._certificates: dict[_Slot, Certificate] = {}
        self._highest: dict[Address, int] = {}
        self._accused: set[tuple[Address, _Slot]] = set()

    # -- putting in ---------------------------------------------------------------------------------------------

    def add(self, vote: Vote, *, current_round: int) -> tuple[Added, Evidence | None]:
        """Count a verified vote of a member. `Evidence` comes at most once per (voter, kind, round)."""
        self.saw(vote.voter, vote.round)
        if vote.round > current_round + FUTURE_ROUNDS_MAX:
            return Added.TOO_FAR, None
        slot = (vote.round, vote.kind)
        votes = self._votes.setdefault(slot, {})
        first = votes.get(vote.voter)
        if first is not None:
            return self._second(slot, first, vote)
        votes[vote.voter] = vote
        counts = self._counts.setdefault(slot, Counter())
        counts[vote.block] += 1
        if slot not in self._quorums and self._authorities.is_quorum(counts[vote.block]):
            self._quorums[slot] = vote.block
        return Added.NEW, None

    def add_certificate(self, certificate: Certificate, *, current_round: int) -> list[Evidence]:
        """Count a verified certificate, and its votes."""
        slot = (certificate.round, certificate.kind)
        if slot not in self._quorums:
            self._quorums[slot] = certificate.block
            self._certificates[slot] = certificate
        added = (self.add(vote, current_round=current_round)[1] for vote in certificate.votes())
        return [evidence for evidence in added if evidence is not None]

    def saw(self, sender: Address, round_: int) -> None:
        """Note that a member has sent something in this round."""
        self._highest[sender] = max(self._highest.get(sender, 0), round_)

    # -- asking -------------------------------------------------------------------------------------------------

    def news(self, vote: Vote, *, current_round: int) -> bool:
        """Whether `add` would change anything; the caller then has a reason to verify the signature."""
        slot = (vote.round, vote.kind)
        if vote.round > current_round + FUTURE_ROUNDS_MAX:
            # Only a doubled distance is news, so that nobody can make us log one vote for every round there is.
            known = self._highest.get(vote.voter, 0) - current_round
            return vote.round - current_round >= 2 * max(known, 0)
        first = self._votes.get(slot, {}).get(vote.voter)
        return first is None or (first.block != vote.block and (vote.voter, slot) not in self._accused)

    def quorum(self, round_: int, kind: VoteKind) -> tuple[Hash | None] | None:
        """The block or nil (in a tuple of one) that a quorum voted for, or ``None`` without a quorum for one value."""
        slot = (round_, kind)
        return (self._quorums[slot],) if slot in self._quorums else None

    def quorum_of_any(self, round_: int, kind: VoteKind) -> bool:
        """Whether a quorum has voted, alike or not."""
        slot = (round_, kind)
        return slot in self._quorums or self._authorities.is_quorum(len(self._votes.get(slot, {})))

    def polkas(self) -> list[ValueAt]:
        """Quorums of prevotes for blocks, the newest round first."""
        return self._blocks_with(VoteKind.PREVOTE)

    def commits(self) -> list[ValueAt]:
        """Quorums of precommits for blocks, the newest round first. More than one block: too many lie."""
        return self._blocks_with(VoteKind.PRECOMMIT)

    def reached_by_honest(self) -> int:
        """The highest round that f+1 senders have reached or passed."""
        rounds = sorted(self._highest.values(), reverse=True)
        faults = self._authorities.faults_max
        return rounds[faults] if len(rounds) > faults else 0

    def vote_of(self, voter: Address, round_: int, kind: VoteKind) -> Vote | None:
        """The first vote of this voter."""
        return self._votes.get((round_, kind), {}).get(voter)

    def votes(self, round_: int, kind: VoteKind) -> tuple[Vote, ...]:
        """First votes of this round and kind, in order of turns."""
        held = self._votes.get((round_, kind), {})
        return tuple(held[member] for member in self._authorities.members if member in held)

    def certificate(self, round_: int, kind: VoteKind) -> Certificate | None:
        """Proof of the quorum of this round and kind for one value."""
        slot = (round_, kind)
        if slot not in self._quorums:
            return None
        block = self._quorums[slot]
        alike = [vote for vote in self._votes.get(slot, {}).values() if vote.block == block]
        if self._authorities.is_quorum(len(alike)):
            return Certificate.of(alike)
        return self._certificates.get(slot)

    def bitmap(self, round_: int, kind: VoteKind) -> bytes:
        """One bit per member in order of turns, least significant first: whose vote is here."""
        held = self._votes.get((round_, kind), {})
        bits = sum(1 << turn for turn, member in enumerate(self._authorities.members) if member in held)
        return bits.to_bytes((len(self._authorities) + 7) // 8, "little")

    # -- within -------------------------------------------------------------------------------------------------

    def _second(self, slot: _Slot, first: Vote, vote: Vote) -> tuple[Added, Evidence | None]:
        if first.block == vote.block:
            return Added.KNOWN, None
        if (vote.voter, slot) in self._accused:
            return Added.CONFLICT, None
        self._accused.add((vote.voter, slot))
        return Added.CONFLICT, Evidence(vote.voter, first, vote)

    def _blocks_with(self, kind: VoteKind) -> list[ValueAt]:
        found = [ValueAt(round_, block) for (round_, k), block in self._quorums.items() if k is kind and block]
        return sorted(found, key=lambda value: -value.round)
