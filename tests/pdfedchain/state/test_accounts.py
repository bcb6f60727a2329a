"""Fees, and who may join without a unit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pdfedchain.crypto import SigningKey, hash_of
from pdfedchain.errors import InvalidBlock
from pdfedchain.ids import Address
from pdfedchain.state.events import Admitted
from pdfedchain.types.checkpoint import NO_DATA_COMMITMENT
from pdfedchain.types.economy import Economy
from pdfedchain.types.transaction import Admit, FundTask, Payload, Transfer
from tests.pdfedchain.ledger_world import PARAMETERS, TASK, World, key_of, offer, registration

TRAINER, VOTER, STRANGER = key_of("trainer"), key_of("voter"), key_of("stranger")
FEE, FEE_PER_BYTE = 5, 1
FEES = replace(PARAMETERS, economy=Economy(fee=FEE, fee_per_byte=FEE_PER_BYTE))


def proposer_of_next(world: World) -> Address:
    return world.context().proposer


@pytest.mark.parametrize(
    ("key", "payload"),
    [
        (TRAINER, Transfer(TRAINER.address, 1)),
        (TRAINER, FundTask(hash_of(TASK), 1)),
        (TRAINER, registration("trainer", data=b"other")),
        (TRAINER, offer("one")),
    ],
    ids=["transfer", "fund", "register again", "submit"],
)
def test_a_fee_goes_from_the_sender_to_the_proposer(key: SigningKey, payload: Payload) -> None:
    world = World(parameters=FEES)
    data = world.sign(key, payload)
    proposer = proposer_of_next(world)
    spent = payload.amount if isinstance(payload, FundTask) else 0
    world.block(data)
    fee = FEE + FEE_PER_BYTE * len(data)
    assert world.view.account(key.address).balance == 1_000 - fee - spent
    assert world.view.account(proposer).balance == 1_000 + fee


def test_who_cannot_pay_the_fee_is_refused() -> None:
    world = World(parameters=replace(PARAMETERS, economy=Economy(fee=1_001)))
    with pytest.raises(InvalidBlock, match="fee"):
        world.block((TRAINER, offer("one")))
    with pytest.raises(InvalidBlock, match="balance"):
        World(parameters=replace(PARAMETERS, economy=Economy(fee=1))).block((TRAINER, Transfer(VOTER.address, 1_000)))


def test_what_a_node_owes_to_others_is_free() -> None:
    world = World(parameters=FEES)
    world.submit("one")
    before = world.view.account(world.authorities[0].address).balance
    world.block()
    proposer = proposer_of_next(world)
    world.block((world.authorities[0], world.have("one")), (world.authorities[0], Admit(STRANGER.address)))
    assert proposer != world.authorities[0].address
    assert world.view.account(world.authorities[0].address).balance == before


def test_the_first_registration_is_free_and_a_placeholder_of_genesis_is_none() -> None:
    world = World(parameters=FEES)
    world.block((world.authorities[0], Admit(STRANGER.address)))
    placeholder = replace(registration("stranger"), data_commitment=NO_DATA_COMMITMENT)
    world.block((STRANGER, placeholder))
    with pytest.raises(InvalidBlock, match="fee"):
        world.block((STRANGER, replace(placeholder, name="renamed")))
    world.block((STRANGER, registration("stranger")))
    with pytest.raises(InvalidBlock, match="fee"):
        world.block((STRANGER, registration("stranger", data=b"more")))


def test_an_authority_admits_whom_closed_registration_keeps_out_once() -> None:
    world = World()
    with pytest.raises(InvalidBlock, match="registration"):
        world.block((STRANGER, registration("stranger")))
    with pytest.raises(InvalidBlock, match="not-an-authority"):
        world.block((TRAINER, Admit(STRANGER.address)))
    world.block((world.authorities[1], Admit(STRANGER.address)))
    assert world.events == [Admitted(STRANGER.address, world.authorities[1].address)]
    with pytest.raises(InvalidBlock, match="admitted"):
        world.block((world.authorities[2], Admit(STRANGER.address)))
    world.block((STRANGER, registration("stranger")))
    assert world.view.participant(STRANGER.address) is not None
    assert world.view.admission(STRANGER.address) is None
    with pytest.raises(InvalidBlock, match="admitted"):
        world.block((world.authorities[1], Admit(STRANGER.address)))
    with pytest.raises(InvalidBlock, match="address"):
        world.block((world.authorities[1], Admit(Address(bytes(32)))))


def test_open_registration_has_room_for_a_bounded_number_that_nobody_admitted() -> None:
    world = World(parameters=replace(PARAMETERS, open_registration=True, open_registrations_max=2))
    for name in ("first", "second"):
        world.block((key_of(name), registration(name)))
    assert world.view.totals.open_registrations == 2
    with pytest.raises(InvalidBlock, match="registration"):
        world.block((STRANGER, registration("stranger")))
    world.block((key_of("first"), registration("first", data=b"changed")))
    world.block((world.authorities[0], Admit(STRANGER.address)), (world.authorities[1], registration("authority")))
    world.block((STRANGER, registration("stranger")))
    assert world.view.totals.open_registrations == 2


def test_a_transfer_that_makes_an_account_burns_its_price() -> None:
    world = World(parameters=replace(PARAMETERS, economy=Economy(account_price=300)))
    world.block((TRAINER, Transfer(STRANGER.address, 100)))
    assert [world.view.account(key.address).balance for key in (TRAINER, STRANGER)] == [600, 100]
    assert world.view.totals.burned == 300
    world.block((TRAINER, Transfer(STRANGER.address, 100)), (VOTER, Transfer(TRAINER.address, 1_000)))
    assert [world.view.account(key.address).balance for key in (TRAINER, STRANGER)] == [1_500, 200]
    assert world.view.totals.burned == 300
    with pytest.raises(InvalidBlock, match="account-price"):
        world.block((STRANGER, Transfer(key_of("nobody").address, 100)))
