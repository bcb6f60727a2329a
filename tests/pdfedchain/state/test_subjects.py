"""Which accounts and checkpoints transactions are indexed by."""

from __future__ import annotations

from pdfedchain.state.subjects import subjects_of
from pdfedchain.types.ballot import BallotKind
from pdfedchain.types.transaction import Have, Payload, SignedTransaction, Transaction, Transfer
from tests.pdfedchain.ledger_world import CHAIN_ID, GOOD, TASK, World, cid_of, key_of, offer, registration

SENDER = key_of("trainer")


def of(payload: Payload) -> tuple[bytes, ...]:
    return subjects_of(SignedTransaction(Transaction(CHAIN_ID, SENDER.address, 0, payload), bytes(64)))


def test_the_sender_and_whatever_the_payload_names_are_subjects() -> None:
    sender, voter = SENDER.address, key_of("voter").address
    assert of(Transfer(voter, 1)) == (sender, voter)
    assert of(Transfer(sender, 1)) == (sender,)
    assert of(registration("voter")) == (sender, voter)
    assert of(offer("child", parents=(cid_of("one"), cid_of("two")))) == (
        sender,
        cid_of("child"),
        cid_of("one"),
        cid_of("two"),
    )
    assert of(Have(cid_of("one"), 1)) == (sender, cid_of("one"))
    world = World()
    for _, payload in (world.commitment("one", SENDER, GOOD), world.opening("one", SENDER, GOOD, BallotKind.PRIVATE)):
        assert of(payload) == (sender, cid_of("one"))


def test_executing_a_block_tells_the_subjects_of_each_transaction() -> None:
    world = World()
    transfer = Transfer(key_of("voter").address, 1)
    execution = world.block((SENDER, transfer), (key_of("voter"), offer("one", TASK)))
    assert execution.transaction_subjects == (
        (SENDER.address, key_of("voter").address),
        (key_of("voter").address, cid_of("one")),
    )
