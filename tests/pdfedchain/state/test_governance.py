"""Proposals and approvals: who decides, when it is in effect, and what becomes impossible on the way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pdfedchain.application import rules_of
from pdfedchain.crypto import SigningKey
from pdfedchain.errors import InvalidBlock
from pdfedchain.ids import Address, Hash
from pdfedchain.limits import PROPOSALS_PER_AUTHORITY_MAX
from pdfedchain.state.governance_events import (
    AuthoritiesChanged,
    ChangeApproved,
    ChangeEnacted,
    ChangeExpired,
    ChangeProposed,
    ChangeRefused,
    RulesChanged,
)
from pdfedchain.state.ledger import Ledger
from pdfedchain.state.membership import set_at
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.genesis import ChainParameters
from pdfedchain.types.governance import (
    AddAuthority,
    Change,
    RemoveAuthority,
    SetChainParameters,
    SetLedgerParameters,
    UpgradeVersion,
)
from pdfedchain.types.parameters import Deadline
from pdfedchain.types.transaction import ApproveChange, ProposeChange, Transfer, transaction_hash
from tests.pdfedchain.ledger_world import PARAMETERS, World, key_of

NEWCOMER, SECOND = key_of("newcomer"), key_of("second newcomer")


def proposing(world: World, change: Change, by: int = 0) -> tuple[bytes, Hash]:
    """A transaction that proposes a change, and the proposal's name."""
    data = world.sign(world.authorities[by], ProposeChange(change))
    return data, transaction_hash(data)


def opened(world: World, change: Change, by: int = 0) -> Hash:
    """Propose in a block of its own."""
    data, proposal = proposing(world, change, by)
    world.block(data)
    return proposal


def approvals(world: World, proposal: Hash, *by: int) -> tuple[tuple[SigningKey, ApproveChange], ...]:
    return tuple((world.authorities[i], ApproveChange(proposal)) for i in by)


def enact(world: World, change: Change) -> None:
    """Propose, and approve by a quorum of four."""
    proposal = opened(world, change)
    world.block(*approvals(world, proposal, 1, 2))


def refused(world: World, *transactions: bytes | tuple[SigningKey, ProposeChange | ApproveChange]) -> str:
    with pytest.raises(InvalidBlock) as caught:
        world.block(*transactions)
    return str(caught.value)


def members(world: World) -> tuple[Address, ...]:
    return tuple(key.address for key in world.authorities)


# Who decides


def test_a_quorum_of_the_authorities_adds_a_member_two_blocks_later() -> None:
    world = World()
    proposal = opened(world, AddAuthority(NEWCOMER.address, None))
    assert world.events == [ChangeProposed(proposal, world.authorities[0].address)]
    world.block(*approvals(world, proposal, 1))
    assert world.events == [ChangeApproved(proposal, world.authorities[1].address)]
    world.block(*approvals(world, proposal, 2))
    grown = AuthoritySet(1, (*members(world), NEWCOMER.address))
    assert world.events[-1] == ChangeEnacted(proposal, world.height + 2)
    assert (world.voting, world.view.governance.following) == (world.genesis.authorities, grown)
    approved_height = world.height
    assert world.block().next_authorities == grown
    assert world.events == [AuthoritiesChanged(approved_height + 2, grown)]
    assert set_at(world.view, approved_height + 1) == world.genesis.authorities
    assert set_at(world.view, approved_height + 2) == grown


def test_a_single_authority_decides_alone_and_at_once() -> None:
    world = World(1)
    opened(world, AddAuthority(NEWCOMER.address, None))
    assert world.view.governance.following.members == (*members(world), NEWCOMER.address)
    assert world.view.governance.proposals == ()


def test_only_authorities_propose_and_approve_and_each_once() -> None:
    world = World()
    proposal = opened(world, RemoveAuthority(world.authorities[3].address))
    trainer = key_of("trainer")
    assert "not-an-authority" in refused(world, (trainer, ProposeChange(AddAuthority(trainer.address, None))))
    assert "not-an-authority" in refused(world, (trainer, ApproveChange(proposal)))
    assert "approved" in refused(world, *approvals(world, proposal, 0))
    assert "no proposal" in refused(world, *approvals(world, Hash(bytes(32)), 1))


def test_an_approval_of_somebody_on_the_way_out_does_not_count() -> None:
    world = World()
    removal = opened(world, RemoveAuthority(world.authorities[3].address))
    addition, proposal = proposing(world, AddAuthority(NEWCOMER.address, None), by=1)
    world.block(*approvals(world, removal, 1, 2), addition, *approvals(world, proposal, 2, 3))
    assert [one.proposal for one in world.view.governance.proposals] == [proposal]
    # In the next block the one on the way out may still vote on blocks, but not on what comes after.
    assert world.authorities[3].address in world.voting
    world.block(*approvals(world, proposal, 0))
    assert world.events[-1] == ChangeEnacted(proposal, world.height + 2)


def test_open_proposals_are_counted_again_when_the_set_changes() -> None:
    world = World()
    proposal = opened(world, SetLedgerParameters(replace(PARAMETERS, open_registration=True)), by=1)
    world.block(*approvals(world, proposal, 2))
    # Two of four are no quorum; nor are two of three; two of two are one.
    for leaver in (3, 0):
        removal = opened(world, RemoveAuthority(world.authorities[leaver].address), by=1)
        world.block(*approvals(world, removal, 2, 0))
        assert world.view.proposal(proposal) is not None
        world.block()
    assert world.view.proposal(proposal) is not None
    world.block()
    assert ChangeEnacted(proposal, world.height + 2) in world.events


def test_a_newcomer_has_no_say_before_its_first_block() -> None:
    world = World(1)
    opened(world, AddAuthority(NEWCOMER.address, None))
    proposal = opened(world, AddAuthority(SECOND.address, None))
    assert world.view.proposal(proposal) is None, "one of one is a quorum until the newcomer votes"
    assert world.voting.members == (*members(world), NEWCOMER.address)
    third = opened(world, AddAuthority(key_of("third").address, None))
    assert world.view.proposal(third) is not None
    world.block((NEWCOMER, ApproveChange(third)))
    assert len(world.voting) == 3


# Composition and bounds


def test_changes_enacted_by_one_block_apply_one_after_the_other() -> None:
    world = World()
    first, addition = proposing(world, AddAuthority(NEWCOMER.address, None), by=0)
    second, again = proposing(world, AddAuthority(NEWCOMER.address, None), by=1)
    third, removal = proposing(world, RemoveAuthority(world.authorities[0].address), by=2)
    world.block(first, second, third)
    world.block(
        *approvals(world, addition, 1, 2),
        *approvals(world, removal, 1, 3),
        *approvals(world, again, 2, 3),
    )
    (refusal,) = (event for event in world.events if isinstance(event, ChangeRefused))
    assert refusal.proposal == again
    assert "already" in refusal.reason
    world.block()
    assert world.voting == AuthoritySet(2, (*members(world)[1:], NEWCOMER.address))


def test_the_last_authority_cannot_be_removed() -> None:
    world = World(1)
    proposal = opened(world, RemoveAuthority(world.authorities[0].address))
    assert world.events[-1] == ChangeRefused(proposal, "the last authority cannot be removed")
    assert world.view.governance.following == world.genesis.authorities


def test_a_member_is_not_added_twice_and_a_stranger_not_removed() -> None:
    world = World()
    assert "already" in refused(world, proposing(world, AddAuthority(members(world)[1], None))[0])
    assert "no authority" in refused(world, proposing(world, RemoveAuthority(NEWCOMER.address))[0])
    assert "small order" in refused(world, proposing(world, AddAuthority(Address(bytes(32)), None))[0])


def test_the_open_proposals_of_one_authority_are_bounded() -> None:
    world = World()
    for number in range(PROPOSALS_PER_AUTHORITY_MAX):
        opened(world, AddAuthority(key_of(f"newcomer {number}").address, None))
    assert "proposals" in refused(world, proposing(world, AddAuthority(NEWCOMER.address, None))[0])
    opened(world, AddAuthority(NEWCOMER.address, None), by=1)


def test_a_proposal_expires_when_blocks_and_time_have_passed() -> None:
    world = World(parameters=replace(PARAMETERS, proposal=Deadline(2, 10_000)))
    proposal = opened(world, AddAuthority(NEWCOMER.address, None))
    world.block(advance_ms=20_000)
    assert world.view.proposal(proposal) is not None
    world.block()
    assert world.events == [ChangeExpired(proposal)]
    assert (world.view.proposal(proposal), world.view.governance.proposals) == (None, ())
    assert "no proposal" in refused(world, *approvals(world, proposal, 1))


# Parameters and version


def test_ledger_parameters_change_two_blocks_later() -> None:
    world = World()
    enact(world, SetLedgerParameters(replace(PARAMETERS, open_registration=True)))
    world.block()
    assert world.view.parameters.open_registration is False
    world.block()
    assert world.view.parameters.open_registration is True
    (changed,) = (event for event in world.events if isinstance(event, RulesChanged))
    assert (changed.version, changed.parameters.open_registration) == (1, True)


def test_the_pace_of_the_chain_changes_two_blocks_later() -> None:
    world = World()
    quick = ChainParameters(block_interval_min_ms=50)
    enact(world, SetChainParameters(quick))
    intervals = []
    for _ in range(3):
        rules = rules_of(world.ledger, world.genesis, world.state, world.height + 1)
        intervals.append(rules.parameters.block_interval_min_ms)
        world.block()
    assert intervals == [500, 50, 50]
    assert world.view.chain_parameters == quick


def test_blocks_cannot_be_made_too_small_to_repeal_it() -> None:
    world = World()
    tiny = ChainParameters(block_size_bytes_max=1_024)
    assert "repeal" in refused(world, proposing(world, SetChainParameters(tiny))[0])


class LaterLedger(Ledger):
    """A release that executes three versions."""

    version = 3
    versions = range(1, 4)


class NextLedger(Ledger):
    """A release that executes two versions."""

    version = 2
    versions = range(1, 3)


def test_the_version_changes_at_the_height_it_was_scheduled_for() -> None:
    world = World(ledger=NextLedger())
    height = world.height + 5
    enact(world, UpgradeVersion(2, height))
    versions = []
    while world.height < height:
        versions.append((world.context().height, world.context().version))
        world.block()
    assert [version for at, version in versions] == [1, 1, 2]
    assert versions[-1][0] == height
    assert (world.view.governance.version, world.view.governance.scheduled) == (2, ())


def test_an_upgrade_is_not_scheduled_too_near_nor_backwards() -> None:
    world = World(ledger=NextLedger())
    assert "too near" in refused(world, proposing(world, UpgradeVersion(2, world.height + 2))[0])
    assert "older" in refused(world, proposing(world, UpgradeVersion(0, world.height + 9))[0])
    proposal = opened(world, UpgradeVersion(2, world.height + 3))
    world.block()
    world.block(*approvals(world, proposal, 1, 2))
    (refusal,) = (event for event in world.events if isinstance(event, ChangeRefused))
    assert "too near" in refusal.reason


def test_an_upgrade_below_one_that_can_no_longer_be_replaced_is_refused() -> None:
    world = World(ledger=LaterLedger())
    # The proposals' blocks are `world.height + 1`; approvals enact in the next.
    later, earlier = opened(world, UpgradeVersion(2, 6)), opened(world, UpgradeVersion(3, 5), by=1)
    world.block(*approvals(world, earlier, 0, 2))
    assert world.height == 3
    assert "older than 3" in refused(world, proposing(world, UpgradeVersion(2, 9), by=2)[0])
    world.block(*approvals(world, later, 1, 2))
    (refusal,) = (event for event in world.events if isinstance(event, ChangeRefused))
    assert "older than 3" in refusal.reason
    for _ in range(4):
        world.block()
    assert world.view.governance.version == 3


def test_an_upgrade_can_be_called_off() -> None:
    world = World(ledger=NextLedger())
    enact(world, UpgradeVersion(2, world.height + 20))
    enact(world, UpgradeVersion(1, world.height + 30))
    assert [one.change for one in world.view.governance.scheduled] == [UpgradeVersion(1, world.height + 28)]


def test_votes_of_a_block_do_not_depend_on_what_it_enacts() -> None:
    """Execution names the set of the next block, which what this block enacts must not touch."""
    world = World()
    proposal = opened(world, RemoveAuthority(members(world)[3]))
    execution = world.block(*approvals(world, proposal, 1, 2), (world.authorities[3], Transfer(members(world)[0], 1)))
    assert execution.next_authorities == world.genesis.authorities
