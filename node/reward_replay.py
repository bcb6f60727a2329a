"""Every reward of a chain, computed again from what its events say happened.

This shares no arithmetic with the ledger that paid (`pdfedchain.state.rewards`): fractions instead of scaled integers,
and the pools are kept from the events alone. What the events say is checked elsewhere: they are derived again by
executing the blocks, scores by recomputing them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from pdfedchain.crypto import hash_of
from pdfedchain.errors import DecodeError
from pdfedchain.ids import Address, Cid, Hash, cid_text
from pdfedchain.limits import REWARD_ANCESTORS_MAX, REWARD_GENERATIONS_MAX
from pdfedchain.state.events import (
    BallotCommitted,
    BallotRevealed,
    BondSettled,
    CheckpointAccepted,
    CheckpointQuarantined,
    CheckpointRejected,
    CheckpointSubmitted,
    LedgerEvent,
    PrivateWindowChanged,
    QuarantineLifted,
    Registered,
    RevealOpened,
    Rewarded,
    TaskFunded,
)
from pdfedchain.types.ballot import BallotKind
from pdfedchain.types.economy import RewardKind
from pdfedchain.types.ledger import LedgerGenesis, PrivateWindow
from pdfedchain.types.score import MICRO, ScoreReport
from pdfedchain.types.task import TaskSpec

__all__ = ["RewardReplay"]


@dataclass(slots=True)
class _Known:
    """What the events have told about one checkpoint.

    Attributes:
        committed: height of each elector's sealed score, in this attempt.
        voters: who opened a private ballot.
        qn: of an accepted one, in millionths.
        baseline: the QN that an accepted one is measured from.
    """

    task: Hash
    author: Address
    parents: tuple[Cid, ...]
    committed: dict[Address, int] = field(default_factory=dict)
    reveal_height: int | None = None
    voters: set[Address] = field(default_factory=set)
    sealed: list[Address] = field(default_factory=list)
    qn: int | None = None
    baseline: int = 0
    quarantined: bool = False


class RewardReplay:
    """What rewards are due, block by block."""

    def __init__(self, genesis: LedgerGenesis, task: Callable[[Hash], TaskSpec]) -> None:
        """
        Args:
            task: the task of a hash.
        """
        self._task = task
        self._pools = {hash_of(spec): 0 for spec in genesis.tasks}
        for pool in genesis.pools:
            self._pools[next(hash_of(spec) for spec in genesis.tasks if spec.name == pool.task)] += pool.amount
        self._reward_address = {each.address: each.registration.reward_address for each in genesis.participants}
        self._baselines: dict[Hash, int] = {}
        self._known: dict[Cid, _Known] = {}
        self._due: list[Rewarded] = []

    def block(self, height: int, events: Sequence[LedgerEvent]) -> list[Rewarded]:
        """Take in a block's events and tell which rewards they make due, in order.

        Raises:
            DecodeError: an event is about something that no event before has told of.
        """
        self._due = []
        quarantined = {event.checkpoint for event in events if isinstance(event, CheckpointQuarantined)}
        for event in events:
            match event:
                case Registered():
                    self._reward_address[event.participant] = event.reward_address
                case TaskFunded():
                    self._pools[event.task] = self._pools.get(event.task, 0) + event.amount
                case BondSettled():
                    if not event.returned:
                        self._pools[self._of(event.checkpoint).task] += event.amount
                case PrivateWindowChanged():
                    if event.window is PrivateWindow.CLOSED:
                        self._window_closed(event.checkpoint, quarantined=event.checkpoint in quarantined)
                case QuarantineLifted():
                    self._of(event.checkpoint).quarantined = False
                    self._confirmed(event.checkpoint)
                case CheckpointSubmitted():
                    self._known[event.checkpoint] = _Known(event.task, event.author, event.parents)
                    self._pools.setdefault(event.task, 0)
                case BallotCommitted() | BallotRevealed() | RevealOpened():
                    self._ballot(height, event)
                case CheckpointAccepted():
                    self._accepted(event)
                    self._scored(height, event.checkpoint, event.agreeing)
                case CheckpointRejected():
                    self._scored(height, event.checkpoint, event.agreeing)
        return self._due

    def _of(self, checkpoint: Cid) -> _Known:
        known = self._known.get(checkpoint)
        if known is None:
            raise DecodeError(f"no event tells of the submission of {cid_text(checkpoint)}")
        return known

    def _qn_of(self, checkpoint: Cid) -> int:
        qn = self._of(checkpoint).qn
        if qn is None:
            raise DecodeError(f"no event tells of the acceptance of {cid_text(checkpoint)}")
        return qn

    def _ballot(self, height: int, event: BallotCommitted | BallotRevealed | RevealOpened) -> None:
        known = self._of(event.checkpoint)
        if isinstance(event, RevealOpened):
            known.reveal_height = event.from_height
        elif event.ballot is BallotKind.PRIVATE:
            if isinstance(event, BallotCommitted):
                known.sealed.append(event.voter)
            else:
                known.voters.add(event.voter)
        elif isinstance(event, BallotCommitted):
            known.committed[event.voter] = height

    def _accepted(self, event: CheckpointAccepted) -> None:
        known, task = self._of(event.checkpoint), self._task(event.task)
        known.qn = qn = self._qn(event.task, event.report)
        known.baseline = self._baselines.get(event.task, task.ceilings.fid_micro_max // 2)
        if known.baseline - qn > task.rewards.noise_micro:
            self._baselines[event.task] = qn

    def _scored(self, height: int, checkpoint: Cid, agreeing: Iterable[Address]) -> None:
        known = self._of(checkpoint)
        early = [
            voter
            for voter in agreeing
            if known.reveal_height is not None and known.committed.get(voter, height) < known.reveal_height
        ]
        self._equal_shares(checkpoint, RewardKind.SCORER, early, self._task(known.task).rewards.scorers)

    def _window_closed(self, checkpoint: Cid, *, quarantined: bool) -> None:
        known = self._of(checkpoint)
        voters = [voter for voter in known.sealed if voter in known.voters]
        self._equal_shares(checkpoint, RewardKind.VOTER, voters, self._task(known.task).rewards.voters)
        known.quarantined = quarantined
        if not quarantined:
            self._confirmed(checkpoint)

    def _equal_shares(self, checkpoint: Cid, kind: RewardKind, participants: Sequence[Address], amount: int) -> None:
        if participants:
            task = self._of(checkpoint).task
            share = math.floor(Fraction(min(amount, self._pools[task]), len(participants)))
            for participant in participants:
                self._pay(checkpoint, kind, checkpoint, participant, share)

    def _confirmed(self, checkpoint: Cid) -> None:
        known = self._of(checkpoint)
        task = self._task(known.task)
        qn = self._qn_of(checkpoint)
        improvement = known.baseline - qn
        if improvement <= task.rewards.noise_micro:
            return
        due = math.floor(Fraction(improvement, MICRO) * task.rewards.per_qn)
        amount = min(due, self._pools[known.task])
        decay = Fraction(task.rewards.decay_micro, MICRO)
        shares: list[tuple[Cid, int]] = []
        for k, members in enumerate(self._generations(checkpoint, task), start=1):
            part = math.floor(amount * (1 - decay) * decay**k)
            shares += [(member, part // len(members)) for member in members]
        self._pay(checkpoint, RewardKind.AUTHOR, checkpoint, known.author, amount - sum(share for _, share in shares))
        for member, share in shares:
            self._pay(checkpoint, RewardKind.ANCESTOR, member, self._of(member).author, share)

    def _generations(self, checkpoint: Cid, task: TaskSpec) -> list[list[Cid]]:
        """Ancestors that improved something, nearest first; whoever improved nothing is looked through."""
        found: list[list[Cid]] = []
        seen: set[Cid] = set()
        next_ones = set(self._of(checkpoint).parents)
        while next_ones and len(found) < REWARD_GENERATIONS_MAX:
            members: list[Cid] = []
            while next_ones:
                cid = min(next_ones)
                next_ones.discard(cid)
                if cid in seen or len(seen) >= REWARD_ANCESTORS_MAX:
                    continue
                seen.add(cid)
                if self._improved(cid, task):
                    members.append(cid)
                else:
                    next_ones |= set(self._of(cid).parents)
            next_ones = {parent for member in members for parent in self._of(member).parents}
            if members:
                found.append(sorted(members))
        return found

    def _improved(self, cid: Cid, task: TaskSpec) -> bool:
        known = self._of(cid)
        before = [self._qn_of(parent) for parent in known.parents] or [task.ceilings.fid_micro_max // 2]
        return not known.quarantined and min(before) - self._qn_of(cid) > task.rewards.noise_micro

    def _qn(self, task: Hash, report: ScoreReport) -> int:
        v_a, v_c = Fraction(report.v_a_micro, MICRO), Fraction(report.v_c_micro, MICRO)
        novelty = v_c * v_a * Fraction(report.confirmed, report.n) * self._task(task).scoring.novelty_weight
        return math.floor((report.fid_micro + novelty * MICRO) / 2)

    def _pay(self, checkpoint: Cid, kind: RewardKind, earned_by: Cid, participant: Address, amount: int) -> None:
        if amount:
            self._pools[self._of(checkpoint).task] -= amount
            to = self._reward_address.get(participant, participant)
            self._due.append(Rewarded(checkpoint, kind, earned_by, participant, to, amount))
