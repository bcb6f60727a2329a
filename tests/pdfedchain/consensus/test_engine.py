"""The core of one height: which messages make which rule fire."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pdfedchain.application import Judgement
from pdfedchain.consensus.effects import (
    Decide,
    EnteredRound,
    Evidence,
    InvalidCommit,
    NeedJudgement,
    Propose,
    ScoreOverridden,
    StartTimer,
    ValueAt,
)
from pdfedchain.consensus.engine import PAST_ROUNDS_KEPT, timeout_ms
from pdfedchain.consensus.inputs import (
    Begin,
    CertificateReceived,
    Judged,
    ProposalReceived,
    TimeoutExpired,
    Timer,
    TimerKind,
)
from pdfedchain.consensus.round_machine import Step
from pdfedchain.ids import Hash
from pdfedchain.types.genesis import ChainParameters
from tests.pdfedchain.consensus.world import (
    KEYS,
    PRECOMMIT,
    PREVOTE,
    A,
    B,
    Core,
    certificate,
    of_type,
    proposal,
    proposer_of,
)

PROPOSE = TimerKind.PROPOSE


def to_round_one(core: Core) -> None:
    """Round 0 fails without a polka that core 0 can see; member 1 tells others something else."""
    core.give(TimeoutExpired(PROPOSE, 0))
    core.votes(PREVOTE, None, 1)
    core.votes(PREVOTE, A, 2)
    core.give(TimeoutExpired(TimerKind.PREVOTE, 0))
    core.votes(PRECOMMIT, None, 1, 2)
    core.give(TimeoutExpired(TimerKind.PRECOMMIT, 0))


def locked_on_a() -> Core:
    """Core 0 has locked A in round 0 and is in round 1, whose proposer is member 2."""
    core = Core()
    core.propose(A)
    core.votes(PREVOTE, A, 1, 2)
    core.votes(PRECOMMIT, None, 1, 2)
    core.give(TimeoutExpired(TimerKind.PRECOMMIT, 0))
    assert (core.engine.state.round, core.engine.state.locked) == (1, ValueAt(0, A))
    return core


def test_the_ordinary_way_to_a_decision() -> None:
    core = Core()
    core.propose(A)
    core.votes(PREVOTE, A, 1, 2)
    effects = core.votes(PRECOMMIT, A, 1, 2)
    assert core.cast == [(0, PREVOTE, A), (0, PRECOMMIT, A)]
    assert Decide(0, A) in effects
    assert core.engine.decided


def test_nothing_but_a_decision_happens_before_the_height_begins() -> None:
    core = Core(begun=False)
    core.propose(A)
    core.votes(PREVOTE, A, 1, 2, 3)
    assert core.effects == []
    assert Decide(0, A) in core.votes(PRECOMMIT, A, 1, 2, 3)


def test_stored_messages_are_evaluated_when_the_height_begins() -> None:
    core = Core(begun=False)
    core.propose(A)
    core.votes(PREVOTE, A, 1, 2)
    core.give(Begin())
    assert core.cast == [(0, PREVOTE, A), (0, PRECOMMIT, A)]


def test_votes_before_the_proposal_count_when_it_comes() -> None:
    core = Core()
    core.votes(PREVOTE, A, 1, 2, 3)
    core.votes(PRECOMMIT, A, 1, 2, 3)
    assert core.cast == []
    assert Decide(0, A) in core.propose(A)


def test_the_proposer_is_asked_for_a_block() -> None:
    assert of_type(Core(me=1).effects, Propose) == [Propose(0, None)]
    assert of_type(Core(me=0).effects, Propose) == []


def test_a_follower_decides_without_voting_proposing_or_judging() -> None:
    core = Core(me=None, judgement=None)
    core.propose(A)
    core.votes(PREVOTE, A, 1, 2, 3)
    assert Decide(0, A) in core.votes(PRECOMMIT, A, 1, 2, 3)
    assert core.cast == []
    assert of_type(core.effects, NeedJudgement) == []


@pytest.mark.parametrize("header_round", [1, 7])
def test_a_fresh_proposal_must_carry_its_own_round_in_the_header(header_round: int) -> None:
    core = Core()
    core.propose(A, header_round=header_round)
    assert core.cast == [(0, PREVOTE, None)]


def test_a_structurally_invalid_block_gets_nil_without_being_judged() -> None:
    core = Core()
    assert of_type(core.propose(A, valid=False), NeedJudgement) == []
    assert core.cast == [(0, PREVOTE, None)]


def test_no_polka_makes_an_invalid_block_acceptable() -> None:
    core = Core()
    core.propose(A, valid=False)
    core.votes(PREVOTE, A, 1, 2, 3)
    core.give(TimeoutExpired(TimerKind.PREVOTE, 0))
    assert core.cast == [(0, PREVOTE, None), (0, PRECOMMIT, None)]
    assert core.engine.state.locked is None


def test_a_commit_of_an_invalid_block_is_reported_once_and_never_followed() -> None:
    core = Core()
    core.propose(A, valid=False)
    assert of_type(core.votes(PRECOMMIT, A, 1, 2, 3), InvalidCommit) == [InvalidCommit(A)]
    assert of_type(core.votes(PREVOTE, A, 1), InvalidCommit) == []
    assert not core.engine.decided


def test_a_pending_judgement_waits_and_abstains_at_the_time_out() -> None:
    core = Core(judgement=Judgement.PENDING)
    core.propose(A)
    assert core.cast == []
    assert core.engine.awaits_judgement() == A
    core.give(TimeoutExpired(PROPOSE, 0))
    assert core.cast == [(0, PREVOTE, None)]
    assert core.engine.awaits_judgement() is None


def test_a_pending_judgement_may_become_valid_in_time() -> None:
    core = Core(judgement=Judgement.PENDING)
    core.propose(A)
    core.give(Judged(A, Judgement.VALID))
    assert core.cast == [(0, PREVOTE, A)]


def test_a_pending_judgement_stops_waiting_once_the_others_have_a_polka() -> None:
    core = Core(judgement=Judgement.PENDING)
    core.propose(A)
    core.votes(PREVOTE, A, 1, 2, 3)
    assert core.cast == [(0, PREVOTE, None), (0, PRECOMMIT, A)]


def test_a_verdict_never_changes() -> None:
    core = Core(judgement=Judgement.INVALID)
    core.propose(A)
    core.give(Judged(A, Judgement.VALID))
    core.votes(PREVOTE, A, 1, 2, 3)
    assert core.cast == [(0, PREVOTE, None), (0, PRECOMMIT, A)]
    assert of_type(core.effects, ScoreOverridden) == [ScoreOverridden(1, A)]


def test_a_dispute_is_overridden_by_a_polka_in_the_same_round() -> None:
    core = Core(judgement=Judgement.INVALID)
    core.propose(A)
    effects = core.votes(PREVOTE, A, 1, 2, 3)
    assert of_type(effects, ScoreOverridden) == [ScoreOverridden(1, A)]
    assert core.engine.state.locked == ValueAt(0, A)


def test_a_dispute_is_overridden_in_a_re_proposal_with_its_polka() -> None:
    core = Core(judgement=Judgement.INVALID)
    core.propose(A)
    to_round_one(core)
    core.polka(A)
    core.propose(A, round_=1, valid_round=0)
    assert core.cast[-1] == (1, PREVOTE, A)
    assert of_type(core.effects, ScoreOverridden) == [ScoreOverridden(1, A)]


def test_a_dispute_is_overridden_by_a_commit() -> None:
    core = Core(judgement=Judgement.INVALID)
    core.propose(A)
    assert {ScoreOverridden(1, A), Decide(0, A)} <= set(core.votes(PRECOMMIT, A, 1, 2, 3))


def test_a_re_proposal_waits_for_its_polka() -> None:
    core = Core()
    to_round_one(core)
    core.propose(A, round_=1, valid_round=0)
    before = list(core.cast)
    core.polka(A)
    assert core.cast == [*before, (1, PREVOTE, A)]


@pytest.mark.parametrize(("round_", "block"), [(0, B), (0, None), (1, A)])
def test_a_polka_for_another_block_or_of_another_round_is_not_that_of_the_re_proposal(
    round_: int, block: Hash | None
) -> None:
    core = Core()
    core.votes(PREVOTE, None, 1, 2, round_=2)
    core.polka(block, round_=round_)
    core.propose(A, round_=2, valid_round=0)
    assert [cast for cast in core.cast if cast[0] == 2] == []
    assert core.engine.state.step is Step.PROPOSE


def test_the_block_of_a_commit_is_wanted_whatever_round_its_proposal_is_of() -> None:
    core = Core()
    core.votes(PREVOTE, None, 1, 2, round_=2)
    assert not core.engine.wants_proposal(proposal(A))
    core.give(CertificateReceived(certificate(PRECOMMIT, A)))
    assert core.engine.wants_proposal(proposal(A))
    core.propose(A)
    assert core.engine.decided


def test_a_re_proposal_without_its_polka_gets_nil_at_the_time_out() -> None:
    core = Core()
    to_round_one(core)
    core.propose(A, round_=1, valid_round=0)
    core.give(TimeoutExpired(PROPOSE, 1))
    assert core.cast[-1] == (1, PREVOTE, None)


def test_a_re_proposal_of_a_block_younger_than_its_polka_gets_nil() -> None:
    core = Core()
    to_round_one(core)
    core.polka(A)
    core.propose(A, round_=1, valid_round=0, header_round=1)
    assert core.cast[-1] == (1, PREVOTE, None)


def test_a_locked_node_refuses_another_fresh_block_without_judging_it() -> None:
    core = locked_on_a()
    effects = core.propose(B, round_=1)
    assert of_type(effects, NeedJudgement) == []
    assert core.cast[-1] == (1, PREVOTE, None)


def test_a_locked_node_follows_a_polka_of_its_own_or_a_later_round() -> None:
    core = locked_on_a()
    core.propose(B, round_=1)
    core.votes(PREVOTE, B, 1, 2, 3, round_=1)
    assert core.cast[-1] == (1, PRECOMMIT, B)
    assert core.engine.state.locked == ValueAt(1, B)


def test_a_node_that_precommitted_nil_keeps_its_lock() -> None:
    core = locked_on_a()
    core.give(TimeoutExpired(PROPOSE, 1))
    core.votes(PREVOTE, None, 1, 2, round_=1)
    assert core.cast[-1] == (1, PRECOMMIT, None)
    assert core.engine.state.locked == ValueAt(0, A)


def test_a_hidden_lock_is_mended_by_a_late_polka() -> None:
    """Member 3 proposes round 2; it knows A but saw its polka only after round 0."""
    core = Core(me=3)
    core.propose(A)
    core.votes(PREVOTE, A, 1)
    core.votes(PREVOTE, None, 2)
    core.give(TimeoutExpired(TimerKind.PREVOTE, 0))
    core.votes(PRECOMMIT, None, 1, 2)
    core.give(TimeoutExpired(TimerKind.PRECOMMIT, 0))
    assert core.engine.state.valid is None
    core.give(TimeoutExpired(PROPOSE, 1))
    core.votes(PREVOTE, None, 1, 2, round_=1)
    core.polka(A)
    core.votes(PRECOMMIT, None, 1, 2, round_=1)
    effects = core.give(TimeoutExpired(TimerKind.PRECOMMIT, 1))
    assert of_type(effects, Propose) == [Propose(2, ValueAt(0, A))]
    assert core.engine.state.locked is None


def test_the_prevote_timer_starts_once_at_a_quorum_of_any() -> None:
    core = Core()
    core.give(TimeoutExpired(PROPOSE, 0))
    core.votes(PREVOTE, A, 1)
    expected = [StartTimer(Timer(1, 0, TimerKind.PREVOTE), 1_000)]
    assert of_type(core.votes(PREVOTE, B, 2), StartTimer) == expected
    assert of_type(core.votes(PREVOTE, B, 3), StartTimer) == []
    core.give(TimeoutExpired(TimerKind.PREVOTE, 0))
    assert core.cast[-1] == (0, PRECOMMIT, None)


def test_the_precommit_timer_starts_in_any_step() -> None:
    core = Core()
    core.votes(PRECOMMIT, A, 1)
    core.votes(PRECOMMIT, None, 2)
    assert of_type(core.votes(PRECOMMIT, None, 3), StartTimer) == [StartTimer(Timer(1, 0, TimerKind.PRECOMMIT), 1_000)]


def test_f_plus_one_votes_of_both_kinds_together_lift_into_their_round() -> None:
    core = Core()
    core.votes(PREVOTE, None, 1, round_=3)
    assert core.engine.state.round == 0
    effects = core.votes(PRECOMMIT, None, 2, round_=3)
    assert core.engine.state.round == 3
    assert EnteredRound(3) in effects


def test_a_proposal_of_a_later_round_counts_as_a_sign_of_it() -> None:
    core = Core()
    core.votes(PREVOTE, None, 3, round_=1)
    core.propose(A, round_=1)
    assert core.cast == [(1, PREVOTE, A)]


def test_a_commit_of_an_earlier_round_decides() -> None:
    core = Core()
    core.propose(A)
    to_round_one(core)
    core.votes(PRECOMMIT, A, 3)
    assert not core.engine.decided
    liars = Core()
    liars.propose(A)
    liars.votes(PRECOMMIT, A, 1, 2)
    liars.votes(PREVOTE, None, 1, 2, round_=1)
    assert liars.engine.state.round == 1
    assert Decide(0, A) in liars.votes(PRECOMMIT, A, 3)


def test_two_proposals_of_a_round_are_evidence_once_and_the_first_counts() -> None:
    core = Core()
    core.propose(A)
    evidence = of_type(core.propose(B), Evidence)
    assert evidence == [Evidence(proposer_of(0).address, proposal(A), proposal(B))]
    assert core.propose(B) == []
    assert core.cast == [(0, PREVOTE, A)]
    assert not core.engine.wants_proposal(proposal(B))


def test_the_block_that_won_is_taken_although_another_was_proposed_first() -> None:
    core = Core()
    core.propose(B)
    core.votes(PREVOTE, A, 1, 2, 3)
    assert core.engine.wanted() == A
    assert core.engine.wants_proposal(proposal(A))
    core.propose(A)
    assert core.cast == [(0, PREVOTE, B), (0, PRECOMMIT, A)]
    assert core.engine.wanted() is None


def test_proposals_far_ahead_are_not_wanted() -> None:
    core = Core()
    assert core.engine.wants_proposal(proposal(A, round_=4))
    assert not core.engine.wants_proposal(proposal(A, round_=5))


def test_equal_inputs_have_equal_effects() -> None:
    one, two = locked_on_a(), locked_on_a()
    assert one.effects == two.effects


@pytest.mark.parametrize(("round_", "expected"), [(0, 3_000), (1, 6_000), (3, 24_000), (4, 30_000), (10_000, 30_000)])
def test_time_outs_double_and_are_capped(round_: int, expected: int) -> None:
    assert timeout_ms(ChainParameters(), PROPOSE, round_) == expected


def test_a_cap_below_the_base_does_not_shorten_round_zero() -> None:
    assert timeout_ms(ChainParameters(timeout_propose_ms=50_000), PROPOSE, 5) == 50_000


def test_blocks_of_rounds_long_gone_are_forgotten_unless_a_quorum_voted_for_them() -> None:
    core = locked_on_a()
    core.propose(B, round_=1)
    late = 2 + PAST_ROUNDS_KEPT
    core.votes(PREVOTE, None, 1, 2, round_=late)
    assert core.engine.forget_blocks() == {B}
    assert core.engine.proposal(1) is None
    assert core.engine.proposal(0) == proposal(A)


def test_one_old_vote_for_nil_sent_in_every_round_hides_no_polka() -> None:
    """Member 1 locked A in round 0 and core 0 never saw why; member 3 lies, and only by saying the same again."""
    core = Core()
    core.propose(A)
    core.votes(PREVOTE, A, 2)
    core.votes(PREVOTE, None, 3)
    core.give(TimeoutExpired(TimerKind.PREVOTE, 0))
    for round_ in range(6):
        core.votes(PRECOMMIT, None, 2, 3, round_=round_)
        core.give(TimeoutExpired(TimerKind.PRECOMMIT, round_), TimeoutExpired(PROPOSE, round_ + 1))
        core.votes(PREVOTE, None, 3)
        core.votes(PREVOTE, None, 2, 3, round_=round_ + 1)
    assert core.engine.state.round == 6
    assert core.engine.tally.quorum(0, PREVOTE) is None
    core.votes(PRECOMMIT, None, 2, 3, round_=6)
    core.give(TimeoutExpired(TimerKind.PRECOMMIT, 6))
    core.give(CertificateReceived(certificate(PREVOTE, A, keys=KEYS[:3])))
    core.propose(A, round_=7, valid_round=0)
    assert core.cast[-1] == (7, PREVOTE, A)


def test_one_proposal_with_two_signatures_is_no_evidence_and_two_proposals_are() -> None:
    core = Core()
    core.propose(A)
    first = proposal(A)
    twin = replace(first, signature=bytes(64))
    assert not core.engine.wants_proposal(twin)
    assert core.give(ProposalReceived(twin, 0, True)) == []
    assert core.give(ProposalReceived(proposal(B), 0, True)) == [Evidence(first.proposer, first, proposal(B))]


def test_two_valid_rounds_for_one_block_are_evidence() -> None:
    core = locked_on_a()
    fresh, again = proposal(A, round_=1), proposal(A, round_=1, valid_round=0)
    core.give(ProposalReceived(again, 0, True))
    assert of_type(core.give(ProposalReceived(fresh, 1, True)), Evidence) == [Evidence(fresh.proposer, again, fresh)]
