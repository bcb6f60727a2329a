"""Who is paid how much, when, and for what not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pdfedchain.crypto import hash_of
from pdfedchain.errors import InvalidBlock
from pdfedchain.state.events import Rewarded, TaskFunded
from pdfedchain.types.economy import RewardKind, Rewards
from pdfedchain.types.score import ScoreReport, Unscorable, UnscorableReason
from pdfedchain.types.task import TaskSpec
from pdfedchain.types.transaction import CreateTask, FundTask, LiftQuarantine
from tests.pdfedchain.ledger_world import GOOD, TASK, World, cid_of, key_of, registration, varied

POOL = 1_000_000
#: One unit for a millionth of QN; the ceiling of FID is 1.0, hence the first improvement is measured from 0.5.
REWARDS = Rewards(per_qn=1_000_000, noise_micro=1_000, decay_micro=500_000, scorers=400, voters=100)
PAYING = replace(TASK, rewards=REWARDS)


def paying_world(rewards: Rewards = REWARDS, pool: int = POOL, authorities: int = 4) -> World:
    return World(authorities, tasks=(replace(TASK, rewards=rewards),), pool=pool)


def quality(qn_micro: int) -> ScoreReport:
    """A report without copies and with this QN."""
    return varied(checked=0, confirmed=0, v_a_micro=0, v_c_micro=0, fid_micro=2 * qn_micro)


def task_of(world: World) -> TaskSpec:
    return next(iter(world.view.tasks()))


def pool_of(world: World) -> int:
    return world.view.task_record(world.view.index.tasks[0]).pool


def balance(world: World, name: str) -> int:
    return world.view.account(key_of(name).address).balance


def accept(world: World, name: str, qn_micro: int, *parents: str, author: str = "trainer") -> list[Rewarded]:
    """A checkpoint accepted with this QN and confirmed; what was paid to author and ancestors."""
    world.accept(name, author, report=quality(qn_micro), task=task_of(world), parents=tuple(map(cid_of, parents)))
    return close(world, name)


def close(world: World, name: str) -> list[Rewarded]:
    while world.view.private_window(cid_of(name)).value != "closed":
        world.block(advance_ms=10_000)
    return [event for event in world.events if isinstance(event, Rewarded)]


def earned(events: list[Rewarded]) -> dict[bytes, int]:
    return {event.earned_by: event.amount for event in events}


def test_an_author_is_paid_for_the_improvement_when_the_private_window_has_closed() -> None:
    world = paying_world()
    world.accept("one", report=quality(400_000), task=PAYING)
    assert balance(world, "trainer") == 1_000
    paid = close(world, "one")
    to = key_of("trainer").address
    assert paid == [Rewarded(cid_of("one"), RewardKind.AUTHOR, cid_of("one"), to, to, 100_000)]
    assert balance(world, "trainer") == 101_000


def test_improvements_add_up_however_they_are_cut() -> None:
    at_once, in_steps = paying_world(), paying_world()
    accept(at_once, "one", 300_000)
    for name, qn_micro in (("a", 450_000), ("b", 380_000), ("c", 300_000)):
        accept(in_steps, name, qn_micro)
    assert balance(at_once, "trainer") == balance(in_steps, "trainer") == 201_000


@pytest.mark.parametrize(("qn_micro", "paid"), [(399_000, 0), (398_999, 1_001), (400_000, 0), (420_000, 0)])
def test_only_more_than_the_noise_is_an_improvement(qn_micro: int, paid: int) -> None:
    world = paying_world()
    accept(world, "one", 400_000)
    assert sum(earned(accept(world, "two", qn_micro)).values()) == paid


def test_small_steps_are_paid_together_once_they_exceed_the_noise() -> None:
    world = paying_world()
    accept(world, "one", 400_000)
    assert accept(world, "two", 399_400) == []
    assert earned(accept(world, "three", 398_800)) == {cid_of("three"): 1_200}


def test_two_that_are_confirmed_in_turn_are_not_paid_twice_for_the_same_distance() -> None:
    world = paying_world()
    for name, qn_micro in (("one", 400_000), ("two", 390_000)):
        world.accept(name, report=quality(qn_micro), task=PAYING)
    close(world, "one")
    close(world, "two")
    assert balance(world, "trainer") == 1_000 + 100_000 + 10_000


def test_ancestors_share_with_a_fixed_decay_and_the_sum_is_exact() -> None:
    world = paying_world()
    accept(world, "grandparent", 450_001, author="voter")
    accept(world, "parent", 400_000, "grandparent", author="authority0")
    before = pool_of(world)
    paid = accept(world, "child", 299_999, "parent")
    improvement = 100_001
    assert earned(paid) == {
        cid_of("child"): improvement - 25_000 - 12_500,
        cid_of("parent"): 25_000,
        cid_of("grandparent"): 12_500,
    }
    assert [event.reward for event in paid] == [RewardKind.AUTHOR, RewardKind.ANCESTOR, RewardKind.ANCESTOR]
    # The scorers' fixed amount went out as well.
    assert before - pool_of(world) == improvement + 400


def test_parents_share_their_generation_equally() -> None:
    world = paying_world()
    for name, author in (("a", "voter"), ("b", "authority0"), ("c", "authority1")):
        accept(world, name, 400_000, author=author)
    paid = earned(accept(world, "child", 300_000, "a", "b", "c"))
    assert paid == {
        cid_of("child"): 100_000 - 3 * 8_333,
        **{cid_of(name): 8_333 for name in ("a", "b", "c")},
    }


def test_a_hop_that_improves_nothing_takes_no_share_of_the_decay() -> None:
    direct, through_copies = paying_world(), paying_world()
    for world in (direct, through_copies):
        accept(world, "root", 400_000, author="voter")
    accept(through_copies, "copy", 399_500, "root", author="authority0")
    accept(through_copies, "copy of the copy", 400_500, "copy", author="authority0")
    accept(direct, "child", 300_000, "root")
    accept(through_copies, "child", 300_000, "copy of the copy")
    for name in ("voter", "trainer"):
        assert balance(direct, name) == balance(through_copies, name)


def test_a_hop_must_beat_the_best_of_its_parents_by_more_than_the_noise() -> None:
    for qn_micro, earns in ((349_000, False), (348_999, True), (380_000, False)):
        world = paying_world()
        accept(world, "good", 350_000, author="voter")
        accept(world, "bad", 400_000, author="authority0")
        accept(world, "hop", qn_micro, "good", "bad", author="authority1")
        paid = earned(accept(world, "child", 200_000, "hop"))
        assert (cid_of("hop") in paid) == earns
        assert cid_of("good") in paid


def test_a_quarantined_ancestor_takes_no_share() -> None:
    world = paying_world()
    accept(world, "root", 450_000, author="voter")
    world.accept("suspect", "authority0", report=quality(400_000), task=PAYING, parents=(cid_of("root"),))
    world.accept("child", report=quality(300_000), task=PAYING, parents=(cid_of("suspect"),))
    copies = varied(confirmed=15)
    world.vote("suspect", dict.fromkeys(("voter", "trainer", "authority1", "authority2"), copies))
    assert world.checkpoint("suspect").status.value == "quarantined"
    paid = earned(close(world, "child"))
    # Measured from "suspect", whose own 50_000 stay in the pool.
    assert paid == {cid_of("child"): 100_000 - 25_000, cid_of("root"): 25_000}


def test_a_common_ancestor_counts_once_in_the_nearest_generation() -> None:
    world = paying_world()
    accept(world, "root", 450_000, author="voter")
    accept(world, "parent", 400_000, "root", author="authority0")
    paid = earned(accept(world, "child", 300_000, "parent", "root"))
    assert paid == {cid_of("child"): 75_000, cid_of("parent"): 12_500, cid_of("root"): 12_500}


def test_no_more_than_eight_generations_share() -> None:
    world = paying_world()
    for generation in range(11):
        parents = (f"g{generation - 1}",) if generation else ()
        accept(world, f"g{generation}", 450_000 - 20_000 * generation, *parents)
    paid = accept(world, "child", 100_000, "g10")
    assert {event.earned_by for event in paid} == {cid_of("child")} | {cid_of(f"g{i}") for i in range(3, 11)}
    assert sum(event.amount for event in paid) == 150_000


def test_a_bounded_number_of_ancestors_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdfedchain.state.lineage.REWARD_ANCESTORS_MAX", 2)
    world = paying_world()
    for name in ("a", "b", "c"):
        accept(world, name, 400_000, author="voter")
    paid = earned(accept(world, "child", 300_000, "a", "b", "c"))
    looked_at = sorted(cid_of(name) for name in ("a", "b", "c"))[:2]
    assert paid == {cid_of("child"): 75_000, **dict.fromkeys(looked_at, 12_500)}


@pytest.mark.parametrize(
    ("decay_micro", "shares"), [(0, (100_000, 0, 0)), (200_000, (80_800, 16_000, 3_200)), (10**6, (100_000, 0, 0))]
)
def test_the_decay_is_what_a_generation_passes_on(decay_micro: int, shares: tuple[int, int, int]) -> None:
    world = paying_world(replace(REWARDS, decay_micro=decay_micro))
    accept(world, "grandparent", 450_000, author="voter")
    accept(world, "parent", 400_000, "grandparent", author="authority0")
    paid = earned(accept(world, "child", 300_000, "parent"))
    assert tuple(paid.get(cid_of(name), 0) for name in ("child", "parent", "grandparent")) == shares


def test_rewards_go_to_the_reward_address() -> None:
    world = paying_world()
    world.block((key_of("trainer"), replace(registration("trainer"), reward_address=key_of("vault").address)))
    accept(world, "one", 400_000)
    assert (balance(world, "trainer"), balance(world, "vault")) == (1_000, 100_000)


def test_scorers_are_paid_at_the_settlement_for_early_commitments_that_agree() -> None:
    world = paying_world(authorities=7)
    world.submit("one", task=PAYING)
    world.start_scoring("one")
    liar = varied(confirmed=9)
    world.commit("one", {0: GOOD, 1: GOOD, 2: GOOD, 3: GOOD, 4: liar})
    world.commit("one", {5: GOOD})
    world.reveal("one", {0: GOOD, 1: GOOD, 2: GOOD, 3: GOOD, 4: liar, 5: GOOD})
    world.settle_all()
    earned_by = {i: balance(world, f"authority{i}") - 1_000 for i in range(7)}
    assert earned_by == {0: 100, 1: 100, 2: 100, 3: 100, 4: 0, 5: 0, 6: 0}


def test_scorers_are_paid_for_rejecting_too() -> None:
    world = paying_world(replace(REWARDS, scorers=403))
    world.submit("one", task=task_of(world))
    world.score("one", Unscorable(UnscorableReason.MALFORMED))
    assert {balance(world, f"authority{i}") for i in range(4)} == {1_100}
    assert pool_of(world) == POOL - 400


def test_voters_are_paid_whatever_they_found() -> None:
    for report in (varied(confirmed=15), varied(confirmed=0)):
        world = paying_world(replace(REWARDS, per_qn=0, scorers=0))
        world.accept("one", task=task_of(world))
        world.vote("one", {"voter": report, "authority0": report, "authority1": report, "authority2": None})
        assert balance(world, "voter") == 1_000 + 33
        assert balance(world, "authority2") == 1_000
        assert pool_of(world) == POOL - 99


def test_a_quarantined_checkpoint_earns_nothing_until_it_is_lifted() -> None:
    world = paying_world()
    world.accept("one", report=quality(400_000), task=PAYING)
    world.vote("one", dict.fromkeys(("voter", "authority0", "authority1", "authority2"), varied(confirmed=15)))
    assert balance(world, "trainer") == 1_000
    assert earned(accept(world, "two", 350_000, author="voter")) == {cid_of("two"): 50_000}
    world.block(*((key, LiftQuarantine(cid_of("one"))) for key in world.authorities[:3]))
    assert world.checkpoint("one").status.value == "accepted"
    assert balance(world, "trainer") == 101_000


def test_a_copy_takes_nothing_from_a_checkpoint_that_is_quarantined() -> None:
    world = paying_world()
    world.accept("one", report=quality(400_000), task=PAYING)
    copies, clean = varied(confirmed=15), varied(confirmed=0)
    world.vote("one", {"voter": copies, "authority0": copies, "authority1": clean, "authority2": clean})
    assert accept(world, "copy", 400_100, author="voter") == []
    world.block(*((key, LiftQuarantine(cid_of("one"))) for key in world.authorities[:3]))
    assert balance(world, "trainer") == 101_000


def test_the_distance_of_one_that_stays_quarantined_is_paid_to_nobody() -> None:
    world = paying_world()
    world.accept("one", report=quality(400_000), task=PAYING)
    world.vote("one", dict.fromkeys(("voter", "authority0", "authority1", "authority2"), varied(confirmed=15)))
    assert accept(world, "worse", 450_000) == []
    assert earned(accept(world, "better", 300_000)) == {cid_of("better"): 100_000}


def test_a_lifted_quarantine_pays() -> None:
    world = paying_world()
    world.accept("one", report=quality(400_000), task=PAYING)
    world.vote("one", dict.fromkeys(("voter", "authority0", "authority1", "authority2"), varied(confirmed=15)))
    world.block(*((key, LiftQuarantine(cid_of("one"))) for key in world.authorities[:3]))
    assert balance(world, "trainer") == 101_000


def test_a_pool_pays_what_it_has() -> None:
    world = paying_world(replace(REWARDS, scorers=0, voters=0), pool=60_000)
    assert earned(accept(world, "one", 400_000)) == {cid_of("one"): 60_000}
    assert pool_of(world) == 0
    assert accept(world, "two", 300_000) == []
    poorest = paying_world(pool=203)
    poorest.submit("one", task=PAYING)
    poorest.score("one", quality(400_000))
    assert (balance(poorest, "authority0"), pool_of(poorest)) == (1_050, 3)
    poor = paying_world(pool=403)
    poor.submit("one", task=PAYING)
    poor.score("one", quality(400_000))
    assert pool_of(poor) == 3
    assert close(poor, "one")[0].amount == 3


def test_anybody_funds_a_pool_and_an_authority_with_the_task() -> None:
    world = World()
    world.block((key_of("trainer"), FundTask(hash_of(TASK), 300)))
    assert (balance(world, "trainer"), pool_of(world)) == (700, 300)
    assert world.events == [TaskFunded(hash_of(TASK), key_of("trainer").address, 300)]
    with pytest.raises(InvalidBlock, match="pool"):
        world.block((key_of("trainer"), FundTask(hash_of(TASK), 701)))
    with pytest.raises(InvalidBlock, match="unknown-task"):
        world.block((key_of("trainer"), FundTask(hash_of(PAYING), 1)))
    other = replace(PAYING, name="other")
    with pytest.raises(InvalidBlock, match="pool"):
        world.block((world.authorities[0], CreateTask(other, 1_001)))
    world.block((world.authorities[0], CreateTask(other, 600)))
    assert world.view.task_record(hash_of(other)).pool == 600
    assert balance(world, "authority0") == 400
