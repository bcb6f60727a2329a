"""Every rule refuses what it is there for, by its name, and a refused transaction changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pdfedchain.codec import encode
from pdfedchain.crypto import SigningKey, hash_of
from pdfedchain.errors import DecodeError, InvalidBlock, InvalidTransaction, SignatureError
from pdfedchain.ids import Address
from pdfedchain.state.draft import Draft
from pdfedchain.state.errors import NotYet
from pdfedchain.state.transition import apply_transaction, open_transaction
from pdfedchain.types.ballot import BallotKind
from pdfedchain.types.block import BlockBody
from pdfedchain.types.score import Unscorable, UnscorableReason
from pdfedchain.types.transaction import CreateTask, Have, Payload, Register, Transaction, Transfer
from tests.pdfedchain.ledger_world import (
    GOOD,
    PARAMETERS,
    TASK,
    World,
    cid_of,
    key_of,
    offer,
    registration,
    varied,
)

SMALL_ORDER = Address(bytes(32))
TRAINER, VOTER, STRANGER, AUTHORITY = key_of("trainer"), key_of("voter"), key_of("stranger"), key_of("authority0")


def refusal(world: World, key: SigningKey, payload: Payload, **signing: object) -> InvalidTransaction:
    """The refusal of one transaction in the next block; the state and the draft's tree must be as before."""
    root = world.state.root
    data = world.sign(key, payload, **signing)  # type: ignore[arg-type]
    draft = Draft(world.state)
    with pytest.raises(InvalidTransaction) as caught, draft.attempt():
        apply_transaction(draft, world.context(), open_transaction(data, world.genesis.chain_id))
    assert (draft.commit().root, draft.events) == (root, ())
    with pytest.raises(InvalidBlock, match=caught.value.rule):
        world.block(data)
    assert world.state.root == root
    return caught.value


def scoring() -> World:
    world = World()
    world.submit("one")
    world.start_scoring("one")
    return world


def sealed() -> World:
    world = scoring()
    world.commit("one", dict.fromkeys(range(3), GOOD))
    return world


def accepted() -> World:
    world = World()
    world.accept("one")
    return world


def queued() -> World:
    world = World()
    for name, author in (("a", "trainer"), ("b", "trainer"), ("one", "voter")):
        world.submit(name, author)
    return world


def test_nonces_are_used_once_and_in_order() -> None:
    world = World()
    pay = Transfer(VOTER.address, 1)
    data = world.sign(TRAINER, pay)
    world.block(data)
    with pytest.raises(InvalidBlock, match="nonce"):
        world.block(data)
    assert not isinstance(refusal(world, TRAINER, pay, nonce=0), NotYet)
    assert isinstance(refusal(world, TRAINER, pay, nonce=2), NotYet)
    assert not isinstance(refusal(world, TRAINER, pay, nonce=1 + 65), NotYet)
    assert refusal(world, AUTHORITY, Have(cid_of("one"), 1), nonce=1).rule == "nonce"


def test_a_transaction_is_for_one_chain_and_signed_by_its_sender() -> None:
    world = World()
    elsewhere = world.sign(TRAINER, Transfer(VOTER.address, 1), chain_id="other")
    with pytest.raises(InvalidTransaction, match="chain"):
        open_transaction(elsewhere, world.genesis.chain_id)
    signed = Transaction(world.genesis.chain_id, TRAINER.address, 0, Transfer(VOTER.address, 1)).sign(TRAINER)
    forged = encode(replace(signed, transaction=replace(signed.transaction, payload=Transfer(VOTER.address, 999))))
    with pytest.raises(SignatureError):
        open_transaction(forged, world.genesis.chain_id)
    with pytest.raises(DecodeError):
        open_transaction(b"\x93nonsense", world.genesis.chain_id)
    for data in (elsewhere, forged, b"\x93nonsense"):
        with pytest.raises(InvalidBlock, match="transaction 0"):
            world.block(data)


def test_an_account_cannot_spend_more_than_it_has_nor_pay_a_weak_key() -> None:
    world = World()
    assert refusal(world, TRAINER, Transfer(VOTER.address, 1_001)).rule == "balance"
    assert refusal(world, STRANGER, Transfer(VOTER.address, 1)).rule == "balance"
    assert refusal(world, TRAINER, Transfer(SMALL_ORDER, 1)).rule == "address"
    world.block((TRAINER, Transfer(TRAINER.address, 1_000)))
    assert world.view.account(TRAINER.address).balance == 1_000


def test_closed_registration_admits_authorities_and_those_of_genesis() -> None:
    world = World()
    assert refusal(world, STRANGER, registration("stranger")).rule == "registration"
    world.block((TRAINER, registration("renamed")), (AUTHORITY, registration("authority")))
    participant = world.view.participant(TRAINER.address)
    assert participant is not None
    assert participant.name == "renamed"


def test_open_registration_admits_anybody_with_a_usable_reward_address() -> None:
    world = World(parameters=replace(PARAMETERS, open_registration=True))
    weak = replace(registration("stranger"), reward_address=SMALL_ORDER)
    assert refusal(world, STRANGER, weak).rule == "address"
    world.block((STRANGER, registration("stranger")))
    assert world.view.participant(STRANGER.address) is not None


def test_a_new_data_commitment_makes_a_registration_new() -> None:
    world = World()
    world.block((TRAINER, registration("trainer")))
    same = world.view.participant(TRAINER.address)
    assert same is not None
    assert same.registered_height == 0
    world.block((TRAINER, registration("trainer", data=b"more")))
    changed = world.view.participant(TRAINER.address)
    assert changed is not None
    assert changed.registered_height == world.height


def test_tasks_are_deployed_by_authorities_under_new_names() -> None:
    world = World()
    other = replace(TASK, name="other")
    assert refusal(world, TRAINER, CreateTask(other)).rule == "not-an-authority"
    assert refusal(world, AUTHORITY, CreateTask(replace(other, name="digits"))).rule == "task-name"
    tensors = tuple(reversed(TASK.model.tensors))
    unsorted = replace(other, model=replace(TASK.model, tensors=tensors))
    assert refusal(world, AUTHORITY, CreateTask(unsorted)).rule == "task"
    world.block((AUTHORITY, CreateTask(other)))
    assert [task.name for task in world.view.tasks()] == ["digits", "other"]
    assert world.view.task(hash_of(other)) == other


@pytest.mark.parametrize(
    ("key", "payload", "rule"),
    [
        (TRAINER, replace(offer("one"), task=hash_of(GOOD)), "unknown-task"),
        (STRANGER, offer("one"), "not-a-trainer"),
        (TRAINER, replace(offer("one"), size_bytes=1_000_001), "size"),
        (TRAINER, replace(offer("one"), size_bytes=0), "size"),
        (TRAINER, offer("one", parents=(cid_of("one"),)), "parents"),
    ],
    ids=["task", "stranger", "too large", "empty", "own parent"],
)
def test_submissions_that_can_never_be_taken(key: SigningKey, payload: Payload, rule: str) -> None:
    refused = refusal(World(), key, payload)
    assert refused.rule == rule
    assert not isinstance(refused, NotYet)


def test_an_evaluator_does_not_submit() -> None:
    world = World()
    world.block((TRAINER, registration("trainer", roles=2)))
    assert refusal(world, TRAINER, offer("one")).rule == "not-a-trainer"


@pytest.mark.parametrize("make", [queued, scoring, accepted])
def test_weights_are_submitted_once(make: Callable[[], World]) -> None:
    assert refusal(make(), TRAINER if make is not queued else VOTER, offer("one")).rule == "weights-seen"


def test_one_account_has_a_bounded_number_of_open_submissions() -> None:
    world = World()
    world.submit("one")
    world.submit("two")
    refused = refusal(world, TRAINER, offer("three"))
    assert (refused.rule, type(refused)) == ("open-per-account", NotYet)
    world.score("one")
    world.submit("three")


def test_have_is_for_authorities_once_while_the_weights_are_fetched() -> None:
    assert refusal(World(), AUTHORITY, Have(cid_of("one"), 1)).rule == "unknown-checkpoint"
    world = queued()
    assert isinstance(refusal(world, AUTHORITY, world.have("one")), NotYet)
    world = scoring()
    assert refusal(world, key_of("authority3"), world.have("one")).rule == "held"
    world = World()
    world.submit("one")
    have = world.have("one")
    assert refusal(world, TRAINER, have).rule == "not-an-authority"
    world.block((AUTHORITY, have))
    assert refusal(world, AUTHORITY, have).rule == "held"


def test_score_commitments_are_the_electorate_s_once_while_scoring_is_open() -> None:
    world = World()
    assert refusal(world, *world.commitment("one", AUTHORITY, GOOD)).rule == "unknown-checkpoint"
    world.submit("one")
    assert isinstance(refusal(world, *world.commitment("one", AUTHORITY, GOOD)), NotYet)
    assert refusal(world, *world.commitment("one", VOTER, GOOD)).rule == "not-an-elector"
    world.start_scoring("one")
    assert refusal(world, *world.commitment("one", VOTER, GOOD)).rule == "not-an-elector"
    world.block(world.commitment("one", AUTHORITY, GOOD))
    assert refusal(world, *world.commitment("one", AUTHORITY, GOOD, salt=b"t" * 32)).rule == "committed"
    world = accepted()
    assert refusal(world, *world.commitment("one", key_of("authority3"), GOOD)).rule == "not-scoring"


def test_ballots_come_too_late_when_the_scoring_deadline_has_passed() -> None:
    world = sealed()
    for _ in range(9):
        world.block(advance_ms=6_000)
    # All but one have opened in time, so the checkpoint is agreed on and stays in scoring.
    world.reveal("one", dict.fromkeys(range(3), GOOD))
    for _ in range(2):
        world.block(advance_ms=60_000)
    assert world.checkpoint("one").status.value == "scoring"
    assert refusal(world, *world.commitment("one", key_of("authority3"), GOOD)).rule == "scoring-closed"
    assert refusal(world, *world.opening("one", key_of("authority3"), GOOD)).rule == "scoring-closed"


def test_score_reveals_wait_for_a_final_quorum_of_commitments() -> None:
    world = scoring()
    world.commit("one", {0: GOOD, 1: GOOD})
    refused = refusal(world, *world.opening("one", AUTHORITY, GOOD))
    assert (refused.rule, type(refused)) == ("sealed", NotYet)
    with pytest.raises(InvalidBlock, match="sealed"):
        world.block(
            world.commitment("one", key_of("authority2"), GOOD), world.opening("one", key_of("authority0"), GOOD)
        )


def test_a_reveal_opens_exactly_what_was_sealed_and_once() -> None:
    world = sealed()
    assert refusal(world, *world.opening("one", AUTHORITY, varied(confirmed=1))).rule == "commitment"
    assert refusal(world, *world.opening("one", AUTHORITY, GOOD, salt=b"t" * 32)).rule == "commitment"
    assert refusal(world, *world.opening("one", AUTHORITY, Unscorable(UnscorableReason.DIVERGED))).rule == "commitment"
    assert refusal(world, *world.opening("one", AUTHORITY, varied(n=99))).rule == "report"
    assert isinstance(refusal(world, *world.opening("one", key_of("authority3"), GOOD)), NotYet)
    world.block(world.opening("one", AUTHORITY, GOOD))
    assert refusal(world, *world.opening("one", AUTHORITY, GOOD)).rule == "revealed"


def test_a_commitment_cannot_be_copied_by_another_voter() -> None:
    world = scoring()
    copied = world.commitment("one", key_of("authority0"), GOOD)[1]
    world.block(
        (key_of("authority0"), copied),
        (key_of("authority1"), copied),
        world.commitment("one", key_of("authority2"), GOOD),
    )
    assert refusal(world, *world.opening("one", key_of("authority1"), GOOD)).rule == "commitment"


def private(world: World, key: SigningKey, *, opening: bool = False) -> tuple[SigningKey, Payload]:
    make = world.opening if opening else world.commitment
    return make("one", key, GOOD.coarse(), kind=BallotKind.PRIVATE)


def test_private_ballots_are_sealed_then_opened_in_their_windows() -> None:
    world = accepted()
    refused = refusal(world, *private(world, VOTER, opening=True))
    assert (refused.rule, type(refused)) == ("sealed", NotYet)
    world.block(private(world, VOTER), private(world, AUTHORITY))
    assert refusal(world, *private(world, VOTER)).rule == "committed"
    for _ in range(4):
        world.block(advance_ms=5_000)
    assert refusal(world, *private(world, key_of("authority1"))).rule == "window-closed"
    world.block(private(world, VOTER, opening=True))
    ballot = world.view.ballot(cid_of("one"), BallotKind.PRIVATE, VOTER.address)
    assert ballot is not None
    assert ballot.report == GOOD.coarse()
    for _ in range(3):
        world.block(advance_ms=5_000)
    assert refusal(world, *private(world, AUTHORITY, opening=True)).rule == "window-closed"


def test_a_private_report_may_rest_on_fewer_images() -> None:
    world = accepted()
    report = varied(n=50).coarse()
    world.block(world.commitment("one", VOTER, report, kind=BallotKind.PRIVATE))
    for _ in range(4):
        world.block(advance_ms=5_000)
    world.block(world.opening("one", VOTER, report, kind=BallotKind.PRIVATE))
    ballot = world.view.ballot(cid_of("one"), BallotKind.PRIVATE, VOTER.address)
    assert ballot is not None
    assert ballot.report == report


def test_private_ballots_are_not_for_authors_strangers_and_late_comers() -> None:
    world = World(parameters=replace(PARAMETERS, open_registration=True))
    world.submit("one")
    world.block((STRANGER, registration("stranger")))
    assert isinstance(refusal(world, *private(world, VOTER)), NotYet)
    world.score("one")
    assert refusal(world, *private(world, TRAINER)).rule == "own-checkpoint"
    assert refusal(world, *private(world, key_of("nobody"))).rule == "not-a-participant"
    assert refusal(world, *private(world, STRANGER)).rule == "registered-late"
    world.block((VOTER, registration("voter", data=b"chosen to fit")))
    assert refusal(world, *private(world, VOTER)).rule == "registered-late"


def test_rejected_checkpoints_have_no_private_ballots() -> None:
    world = World()
    world.submit("one")
    world.score("one", Unscorable(UnscorableReason.MALFORMED))
    assert refusal(world, *private(world, VOTER)).rule == "not-accepted"


@pytest.mark.parametrize("extension", [b"\x00", b"garbage", encode(GOOD)])
def test_an_extension_is_a_list_of_settlements_or_empty(extension: bytes) -> None:
    world = World()
    with pytest.raises(InvalidBlock, match="extension"):
        world.ledger.execute(world.state, world.context(), BlockBody((), extension))


def test_a_block_with_one_bad_transaction_is_refused_as_a_whole() -> None:
    world = World()
    root = world.state.root
    with pytest.raises(InvalidBlock, match="transaction 1"):
        world.block((TRAINER, Transfer(VOTER.address, 1)), (VOTER, Transfer(TRAINER.address, 10**6)))
    assert world.state.root == root


def test_registration_replaces_name_and_roles() -> None:
    world = World()
    world.block((TRAINER, Register("new", 2, registration("trainer").data_commitment, VOTER.address, "text")))
    participant = world.view.participant(TRAINER.address)
    assert participant is not None
    assert (participant.name, participant.roles, participant.reward_address) == ("new", 2, VOTER.address)
