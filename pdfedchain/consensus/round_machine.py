"""The rounds of one height: Tendermint's algorithm (Buchman, Kwon, Milosevic, arXiv 1807.04938) as pure functions.

The state is what the paper keeps per process: round, step, locked and valid value, and which of the "for the first
time" rules of the current round have fired. Each function below is one rule, named and tagged with the line of the
paper's Algorithm 1 that it starts at; it checks its own guard on round and step and returns either the next state
with what is to be done, or ``None`` where the guard does not hold. Conditions on messages (which proposals and
quorums there are) belong to the caller, `pdfedchain.consensus.engine`.

Values are named by their block hash (the paper's id(v)). What differs from the paper:

* L36 has a companion, `earlier_polka`: a polka of an *earlier* round sets the valid value, never the lock. Without
  reliable gossip a lock may hide: one node locked on a value whose polka nobody else saw in time. Learning of that
  polka late, the others then propose the value themselves instead of waiting for the locked node's turn. It is
  safe because the valid value only decides what is proposed; whoever receives it asks for the same polka (L28).
* L11 asks for a value asynchronously, so the proposer starts its propose timer as well.

What it does not do: unlock on a polka for nil, or prevote its lock without a proposal, as older implementations do.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from pdfedchain.consensus.effects import CastVote, Decide, Propose, ValueAt
from pdfedchain.consensus.inputs import TimerKind
from pdfedchain.consensus.rules import Rule
from pdfedchain.ids import Hash
from pdfedchain.types.vote import VoteKind

__all__ = [
    "RoundState",
    "Schedule",
    "Step",
    "Transition",
    "commit_quorum",
    "earlier_polka",
    "fresh_proposal",
    "polka",
    "polka_nil",
    "precommits_of_any",
    "prevotes_of_any",
    "re_proposal",
    "recovered",
    "round_skip",
    "start_round",
    "timeout_precommit",
    "timeout_prevote",
    "timeout_propose",
]


class Step(enum.IntEnum):
    """Where a round stands. NEW: the round is chosen and not started."""

    NEW = 0
    PROPOSE = 1
    PREVOTE = 2
    PRECOMMIT = 3
    DECIDED = 4


@dataclass(frozen=True, slots=True)
class Schedule:
    """Start one of the three timers of this round."""

    kind: TimerKind
    round: int


@dataclass(frozen=True, slots=True)
class RoundState:
    """All that the rules of one height remember.

    Attributes:
        locked: value and round of our last precommit for a block.
        valid: the newest value known to have had a polka.
        polka_seen, prevote_timer, precommit_timer: L36, L34 and L47 have fired in this round.
    """

    round: int = 0
    step: Step = Step.NEW
    locked: ValueAt | None = None
    valid: ValueAt | None = None
    polka_seen: bool = False
    prevote_timer: bool = False
    precommit_timer: bool = False


Output = CastVote | Propose | Decide | Schedule


@dataclass(frozen=True, slots=True)
class Transition:
    """The next state, the branch that led there, and what is to be done, in order."""

    rule: Rule
    state: RoundState
    outputs: tuple[Output, ...] = ()


def start_round(state: RoundState, *, proposer: bool) -> Transition | None:
    """L11-L21: the proposer sends its valid value or asks for one; everybody waits for a proposal."""
    if state.step is not Step.NEW:
        return None
    started = replace(state, step=Step.PROPOSE, polka_seen=False, prevote_timer=False, precommit_timer=False)
    timer = Schedule(TimerKind.PROPOSE, state.round)
    if proposer:
        rule = Rule.L18 if state.valid is None else Rule.L16
        return Transition(rule, started, (Propose(state.round, state.valid), timer))
    return Transition(Rule.L21, started, (timer,))


def fresh_proposal(state: RoundState, block: Hash, *, acceptable: bool) -> Transition | None:
    """L22-L27: prevote a fresh proposal that is acceptable to us and does not contradict our lock, else nil."""
    if state.step is not Step.PROPOSE:
        return None
    free = state.locked is None or state.locked.block == block
    return _prevote(Rule.L24, state, block) if acceptable and free else _prevote(Rule.L26, state, None)


def re_proposal(state: RoundState, block: Hash, valid_round: int, *, valid: bool) -> Transition | None:
    """L28-L33: prevote a value with a polka in ``valid_round`` unless we locked another one since.

    The caller has seen the polka; our own opinion of the value does not count any more.
    """
    if state.step is not Step.PROPOSE or valid_round >= state.round:
        return None
    free = state.locked is None or state.locked.round <= valid_round or state.locked.block == block
    return _prevote(Rule.L30, state, block) if valid and free else _prevote(Rule.L32, state, None)


def prevotes_of_any(state: RoundState) -> Transition | None:
    """L34-L35: a quorum of prevotes, not all alike: wait a little for more, once."""
    if state.step is not Step.PREVOTE or state.prevote_timer:
        return None
    return Transition(Rule.L34, replace(state, prevote_timer=True), (Schedule(TimerKind.PREVOTE, state.round),))


def polka(state: RoundState, block: Hash) -> Transition | None:
    """L36-L43: a valid block with a polka in this round: lock and precommit if still prevoting; it is valid, once."""
    if state.step not in (Step.PREVOTE, Step.PRECOMMIT) or state.polka_seen:
        return None
    value = ValueAt(state.round, block)
    if state.step is Step.PREVOTE:
        locked = replace(state, step=Step.PRECOMMIT, locked=value, valid=value, polka_seen=True)
        return Transition(Rule.L38, locked, (CastVote(state.round, VoteKind.PRECOMMIT, block),))
    return Transition(Rule.L42, replace(state, valid=value, polka_seen=True))


def earlier_polka(state: RoundState, value: ValueAt) -> Transition | None:
    """L36, late: a polka of an earlier round makes its block the one to propose; the lock stays."""
    if value.round >= state.round or (state.valid is not None and state.valid.round >= value.round):
        return None
    return Transition(Rule.L42_LATE, replace(state, valid=value))


def recovered(round_: int, step: Step, locked: ValueAt | None) -> Transition:
    """Not in the paper, whose processes keep their memory: go on after the last thing that was signed.

    The valid value is forgotten, which is safe: it only decides what is proposed.
    """
    state = RoundState(round=round_, step=step, locked=locked)
    return Transition(Rule.RECOVERED, state, (Schedule(TimerKind.PROPOSE, round_),) if step is Step.PROPOSE else ())


def polka_nil(state: RoundState) -> Transition | None:
    """L44-L46: a quorum prevoted nil: precommit nil; the lock stays."""
    if state.step is not Step.PREVOTE:
        return None
    return _precommit_nil(Rule.L44, state)


def precommits_of_any(state: RoundState) -> Transition | None:
    """L47-L48: a quorum of precommits, not all alike: wait a little for more, once, in any step."""
    if state.step in (Step.NEW, Step.DECIDED) or state.precommit_timer:
        return None
    return Transition(Rule.L47, replace(state, precommit_timer=True), (Schedule(TimerKind.PRECOMMIT, state.round),))


def commit_quorum(state: RoundState, round_: int, block: Hash) -> Transition | None:
    """L49-L54: a valid block with a quorum of precommits in any round is decided."""
    if state.step is Step.DECIDED:
        return None
    rule = Rule.L51 if round_ >= state.round else Rule.L51_EARLIER
    return Transition(rule, replace(state, step=Step.DECIDED), (Decide(round_, block),))


def round_skip(state: RoundState, round_: int) -> Transition | None:
    """L55-L56: enough others are in a higher round that an honest one is: go there."""
    if state.step is Step.DECIDED or round_ <= state.round:
        return None
    return Transition(Rule.L55, replace(state, round=round_, step=Step.NEW))


def timeout_propose(state: RoundState, round_: int) -> Transition | None:
    """L57-L60: no acceptable proposal in time: prevote nil."""
    if state.step is not Step.PROPOSE or round_ != state.round:
        return None
    return _prevote(Rule.L57, state, None)


def timeout_prevote(state: RoundState, round_: int) -> Transition | None:
    """L61-L64: no polka in time: precommit nil."""
    if state.step is not Step.PREVOTE or round_ != state.round:
        return None
    return _precommit_nil(Rule.L61, state)


def timeout_precommit(state: RoundState, round_: int) -> Transition | None:
    """L65-L67: no decision in time: the next round."""
    if state.step in (Step.NEW, Step.DECIDED) or round_ != state.round:
        return None
    return Transition(Rule.L65, replace(state, round=state.round + 1, step=Step.NEW))


def _prevote(rule: Rule, state: RoundState, block: Hash | None) -> Transition:
    return Transition(rule, replace(state, step=Step.PREVOTE), (CastVote(state.round, VoteKind.PREVOTE, block),))


def _precommit_nil(rule: Rule, state: RoundState) -> Transition:
    return Transition(rule, replace(state, step=Step.PRECOMMIT), (CastVote(state.round, VoteKind.PRECOMMIT, None),))
