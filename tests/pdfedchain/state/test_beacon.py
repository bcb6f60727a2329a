"""The beacon: contributions fixed beforehand, accounted for by the state alone."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from pdfedchain.codec import encode
from pdfedchain.errors import InvalidBlock, StateError
from pdfedchain.ids import Hash
from pdfedchain.state.beacon import due_onion, first_beacon
from pdfedchain.state.governance_events import OnionExhausted, OnionRenewed
from pdfedchain.state.ledger import Ledger
from pdfedchain.state.onion import OnionSecrets, new_onion, next_layer
from pdfedchain.state.view import LedgerView
from pdfedchain.types.block import BlockBody
from pdfedchain.types.checkpoint import CheckpointStatus
from pdfedchain.types.governance import AddAuthority, AuthorityOnion, Onion, OnionAnchor, RemoveAuthority
from pdfedchain.types.ledger import Extension
from pdfedchain.types.transaction import ApproveChange, ProposeChange, RenewOnion, Transfer, transaction_hash
from tests.pdfedchain.ledger_world import World, cid_of, key_of

SALTS = [Hash(hashlib.sha256(bytes((number,))).digest()) for number in range(8)]
NEWCOMER = key_of("newcomer")


def anchor(name: str, salt: int = 0, length: int = 40) -> OnionAnchor:
    return OnionSecrets(key_of(name)).anchor(SALTS[salt], length)


def world_with_onions(authorities: int = 4, length: int = 40) -> World:
    anchors = [
        AuthorityOnion(key_of(f"authority{i}").address, anchor(f"authority{i}", length=length))
        for i in range(authorities)
    ]
    return World(authorities, onions=anchors)


def onion_of(world: World, authority: int) -> Onion:
    onion = world.view.onion(world.authorities[authority].address)
    assert onion is not None
    return onion


# Secrets


def test_layers_are_plain_hashes_from_the_anchor_inwards() -> None:
    key = key_of("authority0")
    public = OnionSecrets(key).anchor(SALTS[0], 3_000)
    onion, secrets = Onion(public.salt, 0, 3_000, public.anchor, None), OnionSecrets(key)
    for _ in range(1_500):
        preimage = secrets.preimage(onion)
        assert next_layer(preimage) == onion.last
        onion = replace(onion, last=preimage, remaining=onion.remaining - 1)
    assert secrets.owns(onion)
    assert not OnionSecrets(key_of("authority1")).owns(onion)


def test_a_new_onion_is_never_the_same() -> None:
    key = key_of("authority0")
    one, two = new_onion(key, 10), new_onion(key, 10)
    assert one.salt != two.salt
    assert one.anchor != two.anchor


# Blocks


def test_every_block_mixes_in_its_proposers_next_layer() -> None:
    world = world_with_onions()
    beacons = [world.view.beacon]
    for _ in range(8):
        proposer = world.context().proposer
        before = world.view.onion(proposer)
        world.block()
        after = world.view.onion(proposer)
        assert before is not None
        assert after is not None
        assert (after.remaining, next_layer(after.last)) == (before.remaining - 1, before.last)
        beacons.append(world.view.beacon)
    assert len(set(beacons)) == 9
    assert beacons[0] == first_beacon(world.genesis.hash)


def test_the_beacon_does_not_depend_on_what_a_proposer_puts_into_its_block() -> None:
    one, other = world_with_onions(), world_with_onions()
    one.block()
    other.block((key_of("trainer"), Transfer(NEWCOMER.address, 1)), advance_ms=7_000)
    assert one.view.beacon == other.view.beacon


def test_a_contribution_that_is_not_the_next_one_makes_a_block_invalid() -> None:
    world = world_with_onions()
    context = world.context()
    secrets, onion = world.onions[context.proposer], due_onion(world.view, context.proposer)
    assert onion is not None
    later = secrets.preimage(replace(onion, remaining=onion.remaining - 1))
    others = world.onions[world.authorities[0].address].preimage(onion_of(world, 0))
    for preimage in (None, later, others, Hash(bytes(32))):
        body = BlockBody((), b"" if preimage is None else encode(Extension((), preimage)))
        with pytest.raises(InvalidBlock, match="contribution to the beacon"):
            world.ledger.execute(world.state, context, body)


def test_who_has_no_onion_contributes_nothing() -> None:
    world = World()
    before = world.view.beacon
    world.block()
    assert world.view.beacon != before
    body = BlockBody((), encode(Extension((), SALTS[0])))
    with pytest.raises(InvalidBlock, match="none to make"):
        world.ledger.execute(world.state, world.context(), body)


def test_an_empty_extension_has_one_form() -> None:
    world = World()
    with pytest.raises(InvalidBlock, match="says nothing"):
        world.ledger.execute(world.state, world.context(), BlockBody((), encode(Extension((), None))))


def test_proposing_again_shows_the_same_contribution() -> None:
    world = world_with_onions()
    context = world.context()
    key = next(key for key in world.authorities if key.address == context.proposer)
    # A proposer that was killed has a new ledger and the same state.
    bodies = [Ledger(onions=OnionSecrets(key)).propose(world.state, context, ()) for _ in range(2)]
    assert bodies[0] == bodies[1]
    assert world.ledger.execute(world.state, context, bodies[0]).next_authorities == world.voting


def test_a_value_decided_in_a_later_round_uses_its_first_proposers_onion() -> None:
    world = world_with_onions()
    context = world.context(round_=0)
    first = context.proposer
    world.block(round_=0)
    used = world.view.onion(first)
    assert used is not None
    assert used.remaining == 39
    assert [onion_of(world, i).remaining for i in range(4) if world.authorities[i].address != first] == [40] * 3


def test_a_round_that_failed_uses_up_nothing() -> None:
    world = world_with_onions()
    failed, decided = world.context(round_=0).proposer, world.context(round_=1).proposer
    world.block(round_=1)
    remaining = {key.address: onion_of(world, i).remaining for i, key in enumerate(world.authorities)}
    assert (remaining[failed], remaining[decided]) == (40, 39)


def test_a_node_with_another_key_says_so_instead_of_proposing_nonsense() -> None:
    world = world_with_onions()
    for ledger in (Ledger(), Ledger(onions=OnionSecrets(NEWCOMER))):
        with pytest.raises(StateError, match="owes the beacon"):
            ledger.propose(world.state, world.context(), ())


# Renewal


def renewal(authority: int, salt: int, number: int = 0, length: int = 40) -> RenewOnion:
    return RenewOnion(number, anchor(f"authority{authority}", salt, length))


def test_a_renewal_follows_when_nothing_remains() -> None:
    world = world_with_onions(1, length=3)
    (key,) = world.authorities
    world.block((key, renewal(0, 1, length=2)))
    assert world.events[-1] == OnionRenewed(key.address, 1)
    remaining = []
    for _ in range(3):
        remaining.append((onion_of(world, 0).number, onion_of(world, 0).remaining))
        world.block()
    assert remaining == [(0, 2), (0, 1), (1, 2)]


def test_an_onion_runs_out_and_can_still_be_renewed() -> None:
    world = world_with_onions(1, length=2)
    (key,) = world.authorities
    world.block()
    world.block()
    assert world.events == [OnionExhausted(key.address)]
    world.block()
    world.block((key, renewal(0, 1)))
    assert (onion_of(world, 0).number, onion_of(world, 0).remaining) == (1, 40)
    world.block()
    assert onion_of(world, 0).remaining == 39


def test_a_renewal_cannot_be_changed_repeated_or_made_by_others() -> None:
    world = world_with_onions(1, length=3)
    (key,) = world.authorities
    first = world.sign(key, renewal(0, 1, length=2))
    world.block(first)
    for data, wanted in (
        (world.sign(key, renewal(0, 2)), "cannot be changed"),
        (world.sign(key_of("trainer"), renewal(0, 2)), "no authority with an onion"),
        (world.sign(key, renewal(0, 2, number=1)), "follows number"),
    ):
        with pytest.raises(InvalidBlock, match=wanted):
            world.block(data)
    for _ in range(3):
        world.block()
    with pytest.raises(InvalidBlock, match="follows number"):
        world.block(first)
    with pytest.raises(InvalidBlock, match="everybody knows"):
        world.block((key, renewal(0, 1, number=1)))


# Membership


def test_a_newcomers_anchor_comes_with_its_admission_and_leaves_with_it() -> None:
    world = world_with_onions()
    world.onions[NEWCOMER.address] = OnionSecrets(NEWCOMER)
    for change in (AddAuthority(NEWCOMER.address, anchor("newcomer")), RemoveAuthority(NEWCOMER.address)):
        data = world.sign(world.authorities[0], ProposeChange(change))
        world.block(data)
        needed = 2 * len(world.voting) // 3
        world.block(*((world.authorities[i + 1], ApproveChange(transaction_hash(data))) for i in range(needed)))
        for _ in range(6):
            world.block()
        left = world.view.onion(NEWCOMER.address)
        assert (left is not None and left.remaining < 40) == isinstance(change, AddAuthority)
        assert (NEWCOMER.address in world.voting) == isinstance(change, AddAuthority)
    again = world.sign(world.authorities[0], ProposeChange(AddAuthority(NEWCOMER.address, anchor("newcomer"))))
    with pytest.raises(InvalidBlock, match="used this onion before"):
        world.block(again)
    world.block((world.authorities[0], ProposeChange(AddAuthority(NEWCOMER.address, anchor("newcomer", 1)))))


def test_who_leaves_on_its_turn_still_contributes() -> None:
    world = world_with_onions(2)
    while world.voting.proposer(world.height + 3, 0) != world.authorities[1].address:
        world.block()
    data = world.sign(world.authorities[0], ProposeChange(RemoveAuthority(world.authorities[1].address)))
    world.block(data)
    world.block((world.authorities[1], ApproveChange(transaction_hash(data))))
    context = world.context()
    assert context.proposer == world.authorities[1].address
    world.block()
    assert world.view.onion(world.authorities[1].address) is None
    world.block()
    assert world.voting.members == (world.authorities[0].address,)


# Seeds


def world_where_one_has_no_onion() -> World:
    """The next block but one is a turn of the fourth authority, which has no onion; a checkpoint waits for a quorum."""
    anchors = [AuthorityOnion(key_of(f"authority{i}").address, anchor(f"authority{i}")) for i in range(3)]
    world = World(4, onions=anchors)
    world.submit("one")
    while world.voting.proposer(world.height + 2, 0) != world.authorities[3].address:
        world.block()
    return world


def test_no_seed_depends_on_the_block_before_one_that_contributes_nothing() -> None:
    world = world_where_one_has_no_onion()
    world.block(*((key, world.have("one")) for key in world.authorities[:3]))
    before = world.view.beacon
    for number in range(4):
        context = replace(world.context(), parent=SALTS[number])
        view = LedgerView(world.ledger.execute(world.state, context, BlockBody((), b"")).state)
        checkpoint = view.checkpoint(cid_of("one"))
        assert checkpoint is not None
        assert (view.beacon, checkpoint.status) == (before, CheckpointStatus.HELD)
    world.block()
    world.block()
    assert world.view.beacon != before
    assert world.checkpoint("one").status is CheckpointStatus.SCORING


def test_scoring_starts_after_a_whole_turn_though_nobody_contributes() -> None:
    world = world_where_one_has_no_onion()
    world.block(*((key, world.have("one")) for key in world.authorities[:3]))
    statuses = []
    for _ in range(4):
        rounds = range(4)
        absent = world.authorities[3].address
        world.block(round_=next(one for one in rounds if world.voting.proposer(world.height + 1, one) == absent))
        statuses.append(world.checkpoint("one").status)
    assert statuses == [CheckpointStatus.HELD] * 3 + [CheckpointStatus.SCORING]


def test_where_nobody_contributes_a_seed_does_not_wait() -> None:
    world = World()
    world.submit("one")
    world.start_scoring("one")
    assert world.checkpoint("one").status is CheckpointStatus.SCORING
