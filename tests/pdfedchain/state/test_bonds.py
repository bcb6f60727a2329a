"""Bonds and deposits: locked when something is promised, and gone when it is not kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pdfedchain.crypto import hash_of
from pdfedchain.errors import InvalidBlock
from pdfedchain.state.events import BondSettled, DepositBurned
from pdfedchain.types.ballot import BallotKind
from pdfedchain.types.checkpoint import RejectionReason
from pdfedchain.types.economy import Economy
from pdfedchain.types.score import Unscorable, UnscorableReason
from pdfedchain.types.transaction import Transfer
from tests.pdfedchain.ledger_world import GOOD, PARAMETERS, TASK, World, cid_of, key_of, varied

BOND, DEPOSIT, PRIVATE_DEPOSIT = 100, 10, 7
COSTLY = replace(
    PARAMETERS, economy=Economy(submission_bond=BOND, score_deposit=DEPOSIT, private_deposit=PRIVATE_DEPOSIT)
)
RUBBISH = Unscorable(UnscorableReason.MALFORMED)
DISPUTED = {i: varied(confirmed=i) for i in range(4)}


def world_with_bonds() -> World:
    return World(parameters=COSTLY)


def balance(world: World, name: str) -> int:
    return world.view.account(key_of(name).address).balance


def pool(world: World) -> int:
    return world.view.task_record(hash_of(TASK)).pool


def wait_for_late_openings(world: World) -> None:
    for _ in range(10):
        world.block(advance_ms=10_000)


def accept(world: World) -> None:
    world.score("one")


def unscorable(world: World) -> None:
    world.score("one", RUBBISH)


def diverged(world: World) -> None:
    world.score("one", Unscorable(UnscorableReason.DIVERGED))


def bad_quality(world: World) -> None:
    world.score("one", varied(fid_micro=10**9))


def memorised(world: World) -> None:
    world.score("one", varied(confirmed=11))


def unavailable(world: World) -> None:
    for _ in range(5):
        world.block(advance_ms=10_000)


def disputed(world: World) -> None:
    world.start_scoring("one")
    world.commit("one", dict(DISPUTED))
    world.reveal("one", dict(DISPUTED))
    while world.checkpoint("one").settled_height is None:
        world.block(advance_ms=10_000)


@pytest.mark.parametrize(
    ("course", "reason", "returned"),
    [
        (accept, None, True),
        (disputed, RejectionReason.DISAGREEMENT, True),
        (unscorable, RejectionReason.MALFORMED, False),
        (diverged, RejectionReason.DIVERGED, False),
        (bad_quality, RejectionReason.FID_CEILING, False),
        (memorised, RejectionReason.MEMORISATION_CEILING, False),
        (unavailable, RejectionReason.UNAVAILABLE, False),
    ],
)
def test_a_bond_is_lost_for_what_the_author_could_have_known(
    course: Callable[[World], None], reason: RejectionReason | None, returned: bool
) -> None:
    world = world_with_bonds()
    world.submit("one")
    assert (balance(world, "trainer"), world.checkpoint("one").bond) == (1_000 - BOND, BOND)
    course(world)
    settled = world.checkpoint("one")
    assert (settled.reason, settled.bond) == (reason, 0)
    assert BondSettled(cid_of("one"), key_of("trainer").address, BOND, returned) in world.events
    assert balance(world, "trainer") == (1_000 if returned else 1_000 - BOND)
    assert pool(world) == (0 if returned else BOND)


def test_a_queued_submission_has_locked_its_bond_too() -> None:
    world = world_with_bonds()
    for name, author in (("one", "trainer"), ("two", "trainer"), ("three", "voter")):
        world.submit(name, author)
    assert world.checkpoint("three").status.value == "queued"
    assert balance(world, "voter") == 1_000 - BOND


def test_nobody_submits_or_seals_without_the_bond_or_deposit() -> None:
    world = world_with_bonds()
    world.block((key_of("trainer"), Transfer(key_of("voter").address, 1_000 - BOND + 1)))
    with pytest.raises(InvalidBlock, match="bond"):
        world.submit("one")
    world.submit("one", "voter")
    world.start_scoring("one")
    world.block((world.authorities[0], Transfer(key_of("voter").address, 1_000)))
    with pytest.raises(InvalidBlock, match="deposit"):
        world.commit("one", {0: GOOD})


def test_an_opened_score_has_its_deposit_back() -> None:
    world = world_with_bonds()
    world.submit("one")
    world.start_scoring("one")
    world.commit("one", {0: GOOD, 1: GOOD, 2: GOOD})
    assert balance(world, "authority0") == 1_000 - DEPOSIT
    world.reveal("one", {0: GOOD})
    assert balance(world, "authority0") == 1_000


def test_a_score_that_stays_sealed_costs_its_deposit_some_time_after_the_settlement() -> None:
    world = world_with_bonds()
    world.submit("one")
    world.start_scoring("one")
    world.commit("one", dict.fromkeys(range(4), GOOD))
    world.reveal("one", {0: GOOD, 1: GOOD, 2: GOOD})
    assert world.settle_all() == (cid_of("one"),)
    assert (balance(world, "authority3"), world.view.totals.burned) == (1_000 - DEPOSIT, 0)
    assert world.ledger.has_open_deadline(world.state)
    wait_for_late_openings(world)
    burned = DepositBurned(cid_of("one"), BallotKind.SCORE, world.authorities[3].address, DEPOSIT)
    assert burned in world.events
    assert (balance(world, "authority3"), world.view.totals.burned) == (1_000 - DEPOSIT, DEPOSIT)
    assert world.view.index.unopened == ()
    with pytest.raises(InvalidBlock, match="not-scoring"):
        world.reveal("one", {3: GOOD})


def test_a_score_opened_after_the_settlement_saves_its_deposit_and_changes_nothing_else() -> None:
    world = world_with_bonds()
    world.submit("one")
    world.start_scoring("one")
    reports = {0: GOOD, 1: GOOD, 2: GOOD, 3: varied(confirmed=9)}
    world.commit("one", dict(reports))
    world.reveal("one", {0: GOOD, 1: GOOD, 2: GOOD})
    world.settle_all()
    settled = world.checkpoint("one")
    with pytest.raises(InvalidBlock, match="commitment"):
        world.reveal("one", {3: GOOD})
    for opened_before in (0, 1):
        with pytest.raises(InvalidBlock, match="not-scoring"):
            world.reveal("one", {opened_before: GOOD})
    world.reveal("one", {3: reports[3]})
    assert (world.checkpoint("one"), balance(world, "authority3")) == (settled, 1_000)
    with pytest.raises(InvalidBlock, match="not-scoring"):
        world.reveal("one", {3: reports[3]})
    wait_for_late_openings(world)
    assert world.view.totals.burned == 0


def test_scores_nobody_could_open_cost_nothing() -> None:
    world = world_with_bonds()
    world.submit("one")
    world.start_scoring("one")
    world.commit("one", {0: GOOD, 1: GOOD})
    for _ in range(10):
        world.block(advance_ms=10_000)
    assert world.checkpoint("one").reason is RejectionReason.DISAGREEMENT
    assert (balance(world, "authority0"), world.view.totals.burned) == (1_000, 0)
    assert world.view.index.unopened == ()


def test_a_disagreement_is_tried_again_with_a_new_bond_once_old_scores_cannot_be_opened_any_more() -> None:
    world = world_with_bonds()
    world.submit("one")
    world.start_scoring("one")
    world.commit("one", dict(DISPUTED))
    world.reveal("one", {i: DISPUTED[i] for i in range(3)})
    for _ in range(10):
        world.block(advance_ms=10_000)
    seed = world.checkpoint("one").seed
    with pytest.raises(InvalidBlock, match="unopened"):
        world.submit("one")
    wait_for_late_openings(world)
    world.submit("one")
    assert (world.checkpoint("one").seed, world.checkpoint("one").bond) == (seed, BOND)
    world.score("one")
    assert balance(world, "trainer") == 1_000


def test_a_private_ballot_that_stays_sealed_costs_its_deposit_when_the_window_closes() -> None:
    world = world_with_bonds()
    world.accept("one")
    report = GOOD.coarse()
    voters = [key_of("voter"), world.authorities[0]]
    world.block(*(world.commitment("one", key, report, BallotKind.PRIVATE) for key in voters))
    assert balance(world, "voter") == 1_000 - PRIVATE_DEPOSIT
    for _ in range(4):
        world.block(advance_ms=5_000)
    world.block(world.opening("one", voters[0], report, BallotKind.PRIVATE))
    assert balance(world, "voter") == 1_000
    for _ in range(3):
        world.block(advance_ms=5_000)
    assert (balance(world, "authority0"), world.view.totals.burned) == (1_000 - PRIVATE_DEPOSIT, PRIVATE_DEPOSIT)


def test_a_window_that_closes_before_its_time_burns_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdfedchain.state.private.PRIVATE_WINDOWS_MAX", 1)
    monkeypatch.setattr("pdfedchain.state.bonds.UNOPENED_MAX", 1)
    world = world_with_bonds()
    for name in ("one", "two"):
        world.submit(name)
        world.start_scoring(name)
        world.commit(name, dict.fromkeys(range(4), GOOD))
        world.reveal(name, {0: GOOD, 1: GOOD, 2: GOOD})
        if name == "two":
            world.block(world.commitment("one", key_of("voter"), GOOD.coarse(), BallotKind.PRIVATE))
            assert balance(world, "voter") == 1_000 - PRIVATE_DEPOSIT
        world.settle_all()
    assert world.view.index.private == world.view.index.unopened == (cid_of("two"),)
    assert balance(world, "voter") == 1_000
    assert balance(world, "authority3") == 1_000 - DEPOSIT
    assert world.view.totals.burned == 0
    assert world.checkpoint("one").status.value == "accepted"


def test_without_prices_nothing_is_locked_and_nothing_waited_for() -> None:
    world = World()
    world.submit("one")
    world.start_scoring("one")
    world.commit("one", dict.fromkeys(range(4), GOOD))
    world.reveal("one", {0: GOOD, 1: GOOD, 2: GOOD})
    world.settle_all()
    assert world.view.index.unopened == ()
    assert {balance(world, f"authority{i}") for i in range(4)} == {1_000}
