"""Whose word counts for one checkpoint while the authority set changes."""

from __future__ import annotations

import pytest

from pdfedchain.errors import InvalidBlock
from pdfedchain.types.checkpoint import CheckpointStatus
from pdfedchain.types.governance import AddAuthority, Change, RemoveAuthority
from pdfedchain.types.transaction import ApproveChange, LiftQuarantine, ProposeChange, transaction_hash
from tests.pdfedchain.ledger_world import GOOD, World, cid_of, key_of, varied

NEWCOMER = key_of("newcomer")


def enact(world: World, change: Change) -> None:
    """Proposed and approved by three authorities, and in effect for the next block."""
    data = world.sign(world.authorities[0], ProposeChange(change))
    world.block(data)
    world.block(*((key, ApproveChange(transaction_hash(data))) for key in world.authorities[1:3]))
    world.block()


def haves(world: World, *authorities: int) -> None:
    world.block(*((world.authorities[i], world.have("one")) for i in authorities))


def test_the_electorate_is_that_of_the_have_quorum_whoever_leaves_or_joins_later() -> None:
    world = World()
    world.submit("one")
    haves(world, 0, 1, 2)
    electorate = world.checkpoint("one").electorate
    enact(world, RemoveAuthority(world.authorities[3].address))
    assert world.authorities[3].address not in world.voting
    assert world.checkpoint("one").electorate == electorate
    with pytest.raises(InvalidBlock, match="not-an-elector"):
        world.block(world.commitment("one", NEWCOMER, GOOD))
    # The one who left is one of the three that agree.
    world.commit("one", {0: GOOD, 1: varied(confirmed=7), 2: GOOD, 3: GOOD})
    world.reveal("one", {0: GOOD, 2: GOOD, 3: GOOD})
    assert world.settle_all() == (cid_of("one"),)
    assert world.checkpoint("one").report == GOOD


def test_a_newcomer_of_the_set_scores_what_is_held_from_then_on() -> None:
    world = World()
    world.submit("one")
    haves(world, 0, 1)
    enact(world, AddAuthority(NEWCOMER.address, None))
    # Three of four would have been a quorum; of five it takes four.
    haves(world, 2)
    assert world.checkpoint("one").status is CheckpointStatus.SUBMITTED
    world.block((NEWCOMER, world.have("one")))
    held = world.checkpoint("one")
    assert held.status is CheckpointStatus.HELD
    assert NEWCOMER.address in held.electorate


def test_the_word_of_who_has_left_is_not_counted_among_holders() -> None:
    world = World()
    world.submit("one")
    haves(world, 0, 3)
    enact(world, RemoveAuthority(world.authorities[3].address))
    haves(world, 1)
    assert world.checkpoint("one").status is CheckpointStatus.SUBMITTED
    haves(world, 2)
    assert world.checkpoint("one").electorate == tuple(key.address for key in world.authorities[:3])


def test_a_quarantine_is_lifted_by_those_in_office() -> None:
    world = World()
    world.accept("one")
    copies = varied(confirmed=15)
    world.vote("one", dict.fromkeys(("voter", "authority0", "authority1", "authority2"), copies))
    lift = LiftQuarantine(cid_of("one"))
    world.block((world.authorities[3], lift))
    enact(world, RemoveAuthority(world.authorities[3].address))
    world.block((world.authorities[0], lift), (world.authorities[1], lift))
    assert world.checkpoint("one").status is CheckpointStatus.QUARANTINED
    world.block((world.authorities[2], lift))
    assert world.checkpoint("one").status is CheckpointStatus.ACCEPTED


def test_a_late_commitment_counts_for_the_quorum_beside_enough_early_ones() -> None:
    world = World(7)
    world.submit("one")
    world.start_scoring("one")
    liar = varied(confirmed=9)
    world.commit("one", {0: GOOD, 1: GOOD, 2: GOOD, 3: GOOD, 4: liar})
    world.reveal("one", {0: GOOD, 1: GOOD, 2: GOOD, 3: GOOD, 4: liar})
    assert world.settle_all() == ()
    world.commit("one", {5: GOOD})
    world.reveal("one", {5: GOOD})
    assert world.settle_all() == (cid_of("one"),)


def test_the_early_ones_of_a_deciding_group_are_more_than_the_liars_could_be() -> None:
    world = World(4)
    world.submit("one")
    world.start_scoring("one")
    # A quorum seals three different scores; then three copy the first.
    world.commit("one", {0: GOOD, 1: varied(confirmed=3), 2: varied(confirmed=4)})
    world.commit("one", {3: GOOD})
    world.reveal("one", {0: GOOD, 1: varied(confirmed=3), 2: varied(confirmed=4), 3: GOOD})
    assert world.settle_all() == ()
