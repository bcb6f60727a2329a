"""One test or more per line of Algorithm 1 of arXiv 1807.04938, and per guard."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pdfedchain.consensus import round_machine as machine
from pdfedchain.consensus.effects import CastVote, Decide, Propose, ValueAt
from pdfedchain.consensus.inputs import TimerKind
from pdfedchain.consensus.round_machine import RoundState, Schedule, Step, Transition
from pdfedchain.ids import Hash
from pdfedchain.types.vote import VoteKind

A, B = Hash(b"a" * 32), Hash(b"b" * 32)
PREVOTE, PRECOMMIT = VoteKind.PREVOTE, VoteKind.PRECOMMIT


def at(step: Step, round_: int = 0, **fields: object) -> RoundState:
    return replace(RoundState(round=round_, step=step), **fields)  # type: ignore[arg-type]


def outputs(transition: Transition | None) -> tuple[object, ...]:
    assert transition is not None
    return transition.outputs


def after(transition: Transition | None) -> RoundState:
    assert transition is not None
    return transition.state


def test_l14_the_proposer_asks_for_a_value_and_starts_its_timer() -> None:
    done = machine.start_round(RoundState(), proposer=True)
    assert (Propose(0, None), Schedule(TimerKind.PROPOSE, 0)) == outputs(done)
    assert Step.PROPOSE is after(done).step


def test_l15_the_proposer_sends_its_valid_value_again() -> None:
    valid = ValueAt(1, A)
    done = machine.start_round(at(Step.NEW, 3, valid=valid), proposer=True)
    assert Propose(3, valid) == outputs(done)[0]


def test_l21_the_others_wait_for_a_proposal() -> None:
    done = machine.start_round(at(Step.NEW, 2), proposer=False)
    assert (Schedule(TimerKind.PROPOSE, 2),) == outputs(done)


def test_l11_a_new_round_forgets_what_fired_in_the_last_but_neither_lock_nor_valid_value() -> None:
    value = ValueAt(0, A)
    old = at(Step.NEW, 1, polka_seen=True, prevote_timer=True, precommit_timer=True, locked=value, valid=value)
    expected = at(Step.PROPOSE, 1, locked=value, valid=value)
    assert expected == after(machine.start_round(old, proposer=False))


def test_l23_an_acceptable_fresh_proposal_is_prevoted() -> None:
    done = machine.fresh_proposal(at(Step.PROPOSE), A, acceptable=True)
    assert (CastVote(0, PREVOTE, A),) == outputs(done)
    assert Step.PREVOTE is after(done).step


def test_l23_a_fresh_proposal_we_are_locked_on_is_prevoted() -> None:
    state = at(Step.PROPOSE, 2, locked=ValueAt(0, A))
    assert (CastVote(2, PREVOTE, A),) == outputs(machine.fresh_proposal(state, A, acceptable=True))


@pytest.mark.parametrize(("locked", "acceptable"), [(ValueAt(0, B), True), (None, False), (ValueAt(0, A), False)])
def test_l26_any_other_fresh_proposal_is_prevoted_nil(locked: ValueAt | None, acceptable: bool) -> None:
    state = at(Step.PROPOSE, 2, locked=locked)
    assert (CastVote(2, PREVOTE, None),) == outputs(machine.fresh_proposal(state, A, acceptable=acceptable))


@pytest.mark.parametrize("locked", [None, ValueAt(0, B), ValueAt(1, B), ValueAt(2, A)])
def test_l30_a_re_proposal_is_prevoted_unless_another_value_was_locked_since(locked: ValueAt | None) -> None:
    state = at(Step.PROPOSE, 3, locked=locked)
    assert (CastVote(3, PREVOTE, A),) == outputs(machine.re_proposal(state, A, 1, valid=True))


@pytest.mark.parametrize(("locked", "valid"), [(ValueAt(2, B), True), (None, False)])
def test_l32_any_other_re_proposal_is_prevoted_nil(locked: ValueAt | None, valid: bool) -> None:
    state = at(Step.PROPOSE, 3, locked=locked)
    assert (CastVote(3, PREVOTE, None),) == outputs(machine.re_proposal(state, A, 1, valid=valid))


def test_l28_the_valid_round_must_be_an_earlier_one() -> None:
    assert machine.re_proposal(at(Step.PROPOSE, 1), A, 1, valid=True) is None


@pytest.mark.parametrize("step", [Step.NEW, Step.PREVOTE, Step.PRECOMMIT, Step.DECIDED])
def test_l22_l28_only_while_proposing(step: Step) -> None:
    assert machine.fresh_proposal(at(step), A, acceptable=True) is None
    assert machine.re_proposal(at(step, 1), A, 0, valid=True) is None


def test_l34_a_quorum_of_any_prevotes_starts_the_timer_once() -> None:
    done = machine.prevotes_of_any(at(Step.PREVOTE, 1))
    assert (Schedule(TimerKind.PREVOTE, 1),) == outputs(done)
    assert machine.prevotes_of_any(after(done)) is None


@pytest.mark.parametrize("step", [Step.NEW, Step.PROPOSE, Step.PRECOMMIT, Step.DECIDED])
def test_l34_only_while_prevoting(step: Step) -> None:
    assert machine.prevotes_of_any(at(step)) is None


def test_l37_a_polka_while_prevoting_locks_and_precommits() -> None:
    done = machine.polka(at(Step.PREVOTE, 2), A)
    assert (CastVote(2, PRECOMMIT, A),) == outputs(done)
    value = ValueAt(2, A)
    assert at(Step.PRECOMMIT, 2, locked=value, valid=value, polka_seen=True) == after(done)


def test_l42_a_polka_after_precommitting_sets_the_valid_value_only() -> None:
    lock = ValueAt(0, B)
    done = machine.polka(at(Step.PRECOMMIT, 2, locked=lock, valid=lock), A)
    assert outputs(done) == ()
    assert at(Step.PRECOMMIT, 2, locked=lock, valid=ValueAt(2, A), polka_seen=True) == after(done)


def test_l36_fires_once_a_round_and_not_before_prevoting() -> None:
    assert machine.polka(after(machine.polka(at(Step.PREVOTE), A)), A) is None
    assert machine.polka(at(Step.PROPOSE), A) is None
    assert machine.polka(at(Step.DECIDED), A) is None


def test_l36_late_an_earlier_polka_sets_the_valid_value_and_never_the_lock() -> None:
    state = at(Step.PROPOSE, 3, locked=ValueAt(0, B), valid=ValueAt(0, B))
    assert replace(state, valid=ValueAt(1, A)) == after(machine.earlier_polka(state, ValueAt(1, A)))


@pytest.mark.parametrize("value", [ValueAt(1, A), ValueAt(0, A), ValueAt(3, A), ValueAt(4, A)])
def test_l36_late_only_news_from_before_this_round_counts(value: ValueAt) -> None:
    assert machine.earlier_polka(at(Step.PROPOSE, 3, valid=ValueAt(1, B)), value) is None


def test_l45_a_polka_for_nil_precommits_nil_and_keeps_the_lock() -> None:
    lock = ValueAt(0, A)
    done = machine.polka_nil(at(Step.PREVOTE, 1, locked=lock))
    assert (CastVote(1, PRECOMMIT, None),) == outputs(done)
    assert lock == after(done).locked
    assert machine.polka_nil(at(Step.PROPOSE)) is None
    assert machine.polka_nil(at(Step.PRECOMMIT)) is None


@pytest.mark.parametrize("step", [Step.PROPOSE, Step.PREVOTE, Step.PRECOMMIT])
def test_l47_a_quorum_of_any_precommits_starts_the_timer_once_in_any_step(step: Step) -> None:
    done = machine.precommits_of_any(at(step, 1))
    assert (Schedule(TimerKind.PRECOMMIT, 1),) == outputs(done)
    assert machine.precommits_of_any(after(done)) is None


def test_l47_not_before_the_start_nor_after_the_decision() -> None:
    assert machine.precommits_of_any(at(Step.NEW)) is None
    assert machine.precommits_of_any(at(Step.DECIDED)) is None


@pytest.mark.parametrize("step", [Step.NEW, Step.PROPOSE, Step.PREVOTE, Step.PRECOMMIT])
@pytest.mark.parametrize("round_", [0, 2, 5])
def test_l49_a_quorum_of_precommits_in_any_round_decides(step: Step, round_: int) -> None:
    done = machine.commit_quorum(at(step, 2), round_, A)
    assert (Decide(round_, A),) == outputs(done)
    assert machine.commit_quorum(after(done), round_, A) is None


def test_l55_a_higher_round_is_entered_and_a_lower_one_never() -> None:
    assert at(Step.NEW, 4) == after(machine.round_skip(at(Step.PREVOTE, 1), 4))
    assert machine.round_skip(at(Step.PREVOTE, 1), 1) is None
    assert machine.round_skip(at(Step.PREVOTE, 1), 0) is None
    assert machine.round_skip(at(Step.DECIDED, 1), 4) is None


def test_l57_no_proposal_in_time_prevotes_nil() -> None:
    done = machine.timeout_propose(at(Step.PROPOSE, 1), 1)
    assert (CastVote(1, PREVOTE, None),) == outputs(done)
    assert Step.PREVOTE is after(done).step


def test_l61_no_polka_in_time_precommits_nil() -> None:
    done = machine.timeout_prevote(at(Step.PREVOTE, 1), 1)
    assert (CastVote(1, PRECOMMIT, None),) == outputs(done)
    assert Step.PRECOMMIT is after(done).step


@pytest.mark.parametrize("step", [Step.PROPOSE, Step.PREVOTE, Step.PRECOMMIT])
def test_l65_no_decision_in_time_starts_the_next_round(step: Step) -> None:
    done = machine.timeout_precommit(at(step, 1), 1)
    assert outputs(done) == ()
    assert (after(done).round, after(done).step) == (2, Step.NEW)


def test_time_outs_are_guarded_by_step() -> None:
    assert machine.timeout_propose(at(Step.PREVOTE), 0) is None
    assert machine.timeout_prevote(at(Step.PRECOMMIT), 0) is None
    assert machine.timeout_prevote(at(Step.PROPOSE), 0) is None
    assert machine.timeout_precommit(at(Step.DECIDED), 0) is None
    assert machine.timeout_precommit(at(Step.NEW), 0) is None


@pytest.mark.parametrize("round_", [0, 2])
def test_time_outs_are_guarded_by_round(round_: int) -> None:
    assert machine.timeout_propose(at(Step.PROPOSE, 1), round_) is None
    assert machine.timeout_prevote(at(Step.PREVOTE, 1), round_) is None
    assert machine.timeout_precommit(at(Step.PRECOMMIT, 1), round_) is None
