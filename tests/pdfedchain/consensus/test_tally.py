"""The vote keeper: first votes, quorums, evidence, jumps, bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdfedchain.consensus.effects import Evidence, ValueAt
from pdfedchain.consensus.tally import FUTURE_ROUNDS_MAX, Added, Tally
from pdfedchain.ids import Hash
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.vote import VoteKind
from tests.pdfedchain.consensus.world import (
    AUTHORITIES,
    KEYS,
    PRECOMMIT,
    PREVOTE,
    A,
    B,
    certificate,
    vote,
)


def tally_of(*votes: tuple[int, VoteKind, bytes | None, int]) -> Tally:
    tally = Tally(AUTHORITIES)
    for member, kind, block, round_ in votes:
        tally.add(vote(KEYS[member], kind, block, round_=round_), current_round=0)  # type: ignore[arg-type]
    return tally


def test_three_of_four_alike_are_a_quorum_and_two_are_not() -> None:
    tally = tally_of((0, PREVOTE, A, 0), (1, PREVOTE, A, 0))
    assert tally.quorum(0, PREVOTE) is None
    tally.add(vote(KEYS[2], PREVOTE, A), current_round=0)
    assert tally.quorum(0, PREVOTE) == (A,)
    assert tally.polkas() == [ValueAt(0, A)]
    assert tally.commits() == []


@pytest.mark.parametrize(("size", "needed"), [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (6, 5), (7, 5), (100, 67)])
def test_a_quorum_is_more_than_two_thirds(size: int, needed: int) -> None:
    authorities = AuthoritySet(0, tuple(bytes([n]) * 32 for n in range(size)))  # type: ignore[misc]
    assert [needed - 1 > 0 and authorities.is_quorum(needed - 1), authorities.is_quorum(needed)] == [False, True]


def test_a_quorum_of_any_counts_different_votes() -> None:
    tally = tally_of((0, PRECOMMIT, A, 1), (1, PRECOMMIT, None, 1))
    assert not tally.quorum_of_any(1, PRECOMMIT)
    tally.add(vote(KEYS[2], PRECOMMIT, B, round_=1), current_round=0)
    assert tally.quorum_of_any(1, PRECOMMIT)
    assert tally.quorum(1, PRECOMMIT) is None


def test_a_quorum_for_nil_is_told_from_none() -> None:
    tally = tally_of(*((member, PREVOTE, None, 0) for member in range(3)))
    assert tally.quorum(0, PREVOTE) == (None,)
    assert tally.quorum(0, PRECOMMIT) is None
    assert tally.polkas() == []


def test_the_same_vote_again_changes_nothing() -> None:
    tally = tally_of((0, PREVOTE, A, 0))
    assert tally.add(vote(KEYS[0], PREVOTE, A), current_round=0) == (Added.KNOWN, None)
    assert not tally.news(vote(KEYS[0], PREVOTE, A), current_round=0)


def test_a_second_vote_is_evidence_once_and_counts_for_nothing() -> None:
    tally = tally_of((0, PREVOTE, A, 0), (1, PREVOTE, B, 0), (2, PREVOTE, B, 0))
    first, second = vote(KEYS[0], PREVOTE, A), vote(KEYS[0], PREVOTE, B)
    assert tally.add(second, current_round=0) == (Added.CONFLICT, Evidence(KEYS[0].address, first, second))
    assert tally.add(vote(KEYS[0], PREVOTE, None), current_round=0) == (Added.CONFLICT, None)
    assert tally.quorum(0, PREVOTE) is None
    assert not tally.news(vote(KEYS[0], PREVOTE, None), current_round=0)


def test_a_certificate_counts_whatever_an_equivocator_told_us() -> None:
    tally = tally_of((0, PREVOTE, B, 0))
    evidence = tally.add_certificate(certificate(PREVOTE, A, keys=KEYS[:3]), current_round=0)
    assert [each.culprit for each in evidence] == [KEYS[0].address]
    assert tally.quorum(0, PREVOTE) == (A,)
    found = tally.certificate(0, PREVOTE)
    assert found is not None
    found.verify("simulated", AUTHORITIES)


def test_a_certificate_is_made_of_the_votes_alike() -> None:
    tally = tally_of((0, PRECOMMIT, A, 2), (1, PRECOMMIT, None, 2), (2, PRECOMMIT, A, 2), (3, PRECOMMIT, A, 2))
    assert tally.certificate(2, PRECOMMIT) == certificate(PRECOMMIT, A, round_=2, keys=[KEYS[0], KEYS[2], KEYS[3]])
    assert tally.certificate(1, PRECOMMIT) is None


def test_the_jump_is_to_what_f_plus_one_have_reached_or_passed() -> None:
    tally = tally_of((0, PREVOTE, A, 3))
    assert tally.reached_by_honest() == 0
    tally.add(vote(KEYS[1], PRECOMMIT, None, round_=2), current_round=0)
    assert tally.reached_by_honest() == 2
    tally.add(vote(KEYS[2], PREVOTE, None, round_=9_000), current_round=0)
    assert tally.reached_by_honest() == 3


def test_one_liar_alone_moves_nobody() -> None:
    tally = tally_of(*((0, PREVOTE, None, round_) for round_ in range(4)))
    assert tally.reached_by_honest() == 0


def test_votes_far_ahead_are_remembered_as_a_number_only() -> None:
    tally = Tally(AUTHORITIES)
    far = FUTURE_ROUNDS_MAX + 1
    for member in range(3):
        added = tally.add(vote(KEYS[member], PREVOTE, A, round_=far), current_round=0)
        assert added == (Added.TOO_FAR, None)
    assert tally.quorum(far, PREVOTE) is None
    assert tally.votes(far, PREVOTE) == ()
    assert tally.reached_by_honest() == far
    assert not tally.news(vote(KEYS[0], PREVOTE, A, round_=far), current_round=0)
    assert not tally.news(vote(KEYS[0], PREVOTE, A, round_=2 * far - 1), current_round=0)
    assert tally.news(vote(KEYS[0], PREVOTE, A, round_=2 * far), current_round=0)
    assert tally.news(vote(KEYS[0], PREVOTE, A, round_=2 * far), current_round=far)


@pytest.mark.parametrize("block", [A, None])
def test_a_vote_of_a_round_gone_by_is_kept_counts_once_and_is_not_contradicted_unseen(block: Hash | None) -> None:
    first = vote(KEYS[0], PREVOTE, block)
    tally = tally_of((0, PREVOTE, block, 0))
    for round_ in range(1, 2 * FUTURE_ROUNDS_MAX):
        assert not tally.news(first, current_round=round_)
        assert tally.add(first, current_round=round_) == (Added.KNOWN, None)
    assert tally.quorum(0, PREVOTE) is None
    assert not tally.quorum_of_any(0, PREVOTE)
    assert tally.votes(0, PREVOTE) == (first,)
    second = vote(KEYS[0], PREVOTE, B)
    assert tally.news(second, current_round=9)
    assert tally.add(second, current_round=9) == (Added.CONFLICT, Evidence(KEYS[0].address, first, second))


def test_the_bitmap_has_one_bit_per_member() -> None:
    tally = tally_of((0, PREVOTE, A, 0), (3, PREVOTE, None, 0))
    assert tally.bitmap(0, PREVOTE) == b"\x09"
    assert tally.bitmap(0, PRECOMMIT) == b"\x00"


@given(st.permutations([(member, block) for member in range(4) for block in (A, B, None)]))
def test_whatever_the_order_there_is_at_most_one_quorum_and_one_accusation_each(
    order: list[tuple[int, bytes | None]],
) -> None:
    tally = Tally(AUTHORITIES)
    accused = []
    for member, block in order:
        _, evidence = tally.add(VOTES[member, block], current_round=0)
        accused += [] if evidence is None else [evidence.culprit]
    firsts = [next(block for m, block in order if m == member) for member in range(4)]
    expected = next(((block,) for block in (A, B, None) if firsts.count(block) >= 3), None)
    assert tally.quorum(0, PREVOTE) == expected
    assert sorted(accused) == [key.address for key in KEYS]


VOTES = {(member, block): vote(KEYS[member], PREVOTE, block) for member in range(4) for block in (A, B, None)}
