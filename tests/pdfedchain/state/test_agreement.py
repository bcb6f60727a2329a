"""What ballots agree on, and what liars cannot do about it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdfedchain.ids import Address, Hash
from pdfedchain.state.agreement import Agreement, agreement_of
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.ballot import Ballot, BallotKind, Outcome
from pdfedchain.types.score import ArithmeticProfile, ScoreReport, ScoringSpec, Tolerance, Unscorable, UnscorableReason
from tests.pdfedchain.ledger_world import GOOD, TASK, cid_of, varied

F64 = TASK.scoring
F32 = replace(F64, profile=ArithmeticProfile.F32, tolerance=Tolerance(2, 1, 50, 50, 50))
REVEAL_HEIGHT = 10


def electorate_of(n: int) -> AuthoritySet:
    return AuthoritySet(0, tuple(Address(i.to_bytes(32, "big")) for i in range(1, n + 1)))


def ballot(voter: int, report: Outcome | None, *, early: bool = True) -> Ballot:
    return Ballot(
        checkpoint=cid_of("one"),
        kind=BallotKind.SCORE,
        voter=Address((voter + 1).to_bytes(32, "big")),
        commitment=Hash(bytes(32)),
        committed_height=REVEAL_HEIGHT - 1 if early else REVEAL_HEIGHT,
        committed_time_ms=0,
        report=report,
        revealed_height=None if report is None else REVEAL_HEIGHT + 1,
    )


def agree(
    ballots: list[Ballot], n: int, scoring: ScoringSpec = F64, *, closed: bool = False, opened: bool = True
) -> Agreement | None:
    return agreement_of(
        ballots,
        electorate=electorate_of(n),
        scoring=scoring,
        reveal_height=REVEAL_HEIGHT if opened else None,
        window_closed=closed,
    )


def reports_of(*values: Outcome | None) -> list[Ballot]:
    return [ballot(voter, report) for voter, report in enumerate(values)]


@pytest.mark.parametrize(("n", "needed"), [(1, 1), (2, 2), (3, 3), (4, 3), (7, 5), (10, 7)])
def test_more_than_two_thirds_of_the_electorate_decide(n: int, needed: int) -> None:
    assert agree(reports_of(*[GOOD] * (needed - 1)), n) is None
    agreed = agree(reports_of(*[GOOD] * needed), n)
    assert agreed is not None
    assert (agreed.outcome, len(agreed.agreeing), agreed.outliers) == (GOOD, needed, ())


def test_nothing_is_agreed_before_revealing_opens_nor_by_sealed_ballots() -> None:
    assert agree(reports_of(GOOD, GOOD, GOOD), 4, opened=False) is None
    assert agree(reports_of(GOOD, GOOD, None), 4) is None


def test_f64_groups_by_exact_counts_whatever_the_tolerance_says() -> None:
    lax = replace(F64, tolerance=Tolerance(9, 9, 9, 9, 9))
    assert agree(reports_of(GOOD, GOOD, varied(confirmed=3)), 4, lax) is None
    assert agree(reports_of(GOOD, GOOD, varied(checked=21)), 4, lax) is None
    agreed = agree(reports_of(GOOD, varied(confirmed=3), GOOD, GOOD), 4, lax)
    assert agreed is not None
    assert agreed.outliers == (electorate_of(4).members[1],)


def test_the_score_is_the_lower_median_of_each_component() -> None:
    agreed = agree(
        reports_of(
            varied(fid_micro=40_000, v_a_micro=500_001),
            varied(fid_micro=40_001, v_a_micro=500_000),
            varied(fid_micro=40_002, v_a_micro=499_999),
            varied(fid_micro=40_002, v_a_micro=500_001),
        ),
        4,
    )
    assert agreed is not None
    assert agreed.outcome == varied(fid_micro=40_001, v_a_micro=500_000)


def test_reports_far_from_the_middle_leave_the_group() -> None:
    far = varied(fid_micro=GOOD.fid_micro + 3)
    assert agree(reports_of(GOOD, GOOD, far), 4) is None
    agreed = agree(reports_of(GOOD, GOOD, far, GOOD), 4)
    assert agreed is not None
    assert (agreed.outcome, agreed.outliers) == (GOOD, (electorate_of(4).members[2],))


def test_copies_made_after_revealing_opened_do_not_make_a_quorum_without_early_ones() -> None:
    for n, faults_max, quorum in ((4, 1, 3), (7, 2, 5), (10, 3, 7)):
        for early in range(quorum + 1):
            ballots = [ballot(voter, GOOD, early=voter < early) for voter in range(quorum)]
            assert (agree(ballots, n) is not None) == (early >= faults_max + 1)


def test_f32_is_looked_at_when_the_window_closes_and_tolerates_a_flip() -> None:
    ballots = reports_of(GOOD, varied(confirmed=3, checked=21), GOOD, varied(confirmed=9))
    assert agree(ballots, 4, F32) is None
    agreed = agree(ballots, 4, F32, closed=True)
    assert agreed is not None
    assert agreed.outcome == GOOD
    assert agreed.outliers == (electorate_of(4).members[3],)


def test_a_report_of_another_number_of_images_is_in_no_group() -> None:
    assert agree(reports_of(*[varied(n=99)] * 4), 4) is None


def test_unscorable_findings_count_together_and_the_most_frequent_reason_is_named() -> None:
    malformed, diverged = Unscorable(UnscorableReason.MALFORMED), Unscorable(UnscorableReason.DIVERGED)
    for scoring in (F64, F32):
        agreed = agree(reports_of(diverged, malformed, diverged, GOOD), 4, scoring)
        assert agreed is not None
        assert agreed.outcome == diverged
        assert len(agreed.agreeing) == 3
    tie = agree(reports_of(diverged, malformed, malformed, diverged), 4)
    assert tie is not None
    assert tie.outcome == malformed
    assert agree(reports_of(diverged, malformed, GOOD), 4) is None


def test_the_images_hash_settled_is_the_most_frequent_then_the_smallest() -> None:
    one, two = (replace(GOOD, images_hash=Hash(bytes([i]) * 32)) for i in (1, 2))
    agreed = agree(reports_of(two, one, two), 4)
    assert agreed is not None
    assert agreed.outcome == two
    agreed = agree(reports_of(two, one, one, two), 4)
    assert agreed is not None
    assert agreed.outcome == one


SMALL = st.integers(0, 6)


@st.composite
def any_report(draw: st.DrawFn) -> Outcome:
    if draw(st.integers(0, 4)) == 0:
        return Unscorable(draw(st.sampled_from(UnscorableReason)))
    checked = draw(SMALL)
    return ScoreReport(
        n=draw(st.sampled_from((100, 100, 100, 99))),
        checked=checked,
        confirmed=min(draw(SMALL), checked),
        v_a_micro=draw(SMALL),
        v_c_micro=draw(SMALL),
        fid_micro=draw(SMALL) * draw(st.sampled_from((1, 1_000_000))),
        images_hash=Hash(bytes(32)),
    )


@st.composite
def honest_and_liars(draw: st.DrawFn, profile: ArithmeticProfile) -> tuple[int, list[Ballot], list[ScoreReport]]:
    """3f+1 electors: 2f+1 or more honest, whose reports differ by no more than the profile allows, and f liars."""
    f = draw(st.integers(1, 3))
    n = 3 * f + 1
    exact = profile is ArithmeticProfile.F64
    honest = [
        ScoreReport(
            n=100,
            checked=20 if exact else 20 + draw(st.integers(0, 1)),
            confirmed=2 if exact else 2 + draw(st.integers(0, 1)),
            v_a_micro=100 + draw(st.integers(0, 2)),
            v_c_micro=100 + draw(st.integers(0, 2)),
            fid_micro=100 + draw(st.integers(0, 2)),
            images_hash=Hash(bytes(32)),
        )
        for _ in range(n - f)
    ]
    near = st.builds(
        varied,
        st.sampled_from(honest),
        fid_micro=st.integers(96, 106),
        v_a_micro=st.integers(96, 106),
        confirmed=st.integers(1, 4) if not exact else st.just(2),
    )
    liars: list[Outcome] = [draw(st.one_of(near, any_report())) for _ in range(f)]
    order = draw(st.permutations(range(n)))
    early_liars = draw(st.lists(st.booleans(), min_size=f, max_size=f))
    ballots = [ballot(order[i], report) for i, report in enumerate(honest)]
    ballots += [
        ballot(order[len(honest) + i], lie, early=early)
        for i, (lie, early) in enumerate(zip(liars, early_liars, strict=True))
    ]
    return n, ballots, honest


@pytest.mark.parametrize("profile", list(ArithmeticProfile))
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_f_liars_of_3f_plus_1_neither_move_a_score_beyond_honest_ones_nor_prevent_it(
    profile: ArithmeticProfile, data: st.DataObject
) -> None:
    n, ballots, honest = data.draw(honest_and_liars(profile))
    scoring = replace(F64, profile=profile, tolerance=Tolerance(1, 1, 2, 2, 2))
    agreed = agree(ballots, n, scoring, closed=True)
    assert agreed is not None
    outcome = agreed.outcome
    assert isinstance(outcome, ScoreReport)
    for name in ("checked", "confirmed", "v_a_micro", "v_c_micro", "fid_micro"):
        values = [getattr(report, name) for report in honest]
        assert min(values) <= getattr(outcome, name) <= max(values)


@given(
    values=st.lists(st.none() | any_report(), min_size=4, max_size=7),
    seed=st.randoms(use_true_random=False),
    closed=st.booleans(),
    profile=st.sampled_from(ArithmeticProfile),
)
@settings(max_examples=150, deadline=None)
def test_the_order_of_ballots_does_not_matter(
    values: list[Outcome | None], seed: object, closed: bool, profile: ArithmeticProfile
) -> None:
    ballots = reports_of(*values)
    shuffled = list(ballots)
    seed.shuffle(shuffled)  # type: ignore[attr-defined]
    scoring = replace(F32, profile=profile)
    assert agree(ballots, 4, scoring, closed=closed) == agree(shuffled, 4, scoring, closed=closed)


@given(values=st.lists(any_report(), min_size=7, max_size=7), profile=st.sampled_from(ArithmeticProfile))
@settings(max_examples=150, deadline=None)
def test_an_agreement_names_a_quorum_and_everybody_else_who_revealed(
    values: list[Outcome], profile: ArithmeticProfile
) -> None:
    agreed = agree(reports_of(*values), 7, replace(F32, profile=profile), closed=True)
    if agreed is not None:
        assert len(agreed.agreeing) >= 5
        assert sorted(agreed.agreeing + agreed.outliers) == sorted(electorate_of(7).members)
