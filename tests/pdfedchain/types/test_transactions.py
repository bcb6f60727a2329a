"""Signed transactions, their hashes, and sealed ballots."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pdfedchain.codec import encode
from pdfedchain.errors import DecodeError, SignatureError
from pdfedchain.ids import Hash
from pdfedchain.types.ballot import BallotKind, commitment_of
from pdfedchain.types.ledger import Deadline
from pdfedchain.types.score import Unscorable, UnscorableReason
from pdfedchain.types.transaction import Transaction, Transfer, transaction_hash
from tests.pdfedchain.ledger_world import GOOD, SALT, cid_of, key_of, varied

KEY = key_of("trainer")
PAY = Transaction("chain", KEY.address, 0, Transfer(key_of("voter").address, 1))


def test_a_transaction_is_signed_by_its_sender_as_a_whole() -> None:
    signed = PAY.sign(KEY)
    signed.verify()
    for changed in (
        replace(PAY, chain_id="other"),
        replace(PAY, nonce=1),
        replace(PAY, sender=key_of("voter").address),
        replace(PAY, payload=Transfer(KEY.address, 1)),
    ):
        with pytest.raises(SignatureError):
            replace(signed, transaction=changed).verify()
    with pytest.raises(AssertionError, match="sender"):
        PAY.sign(key_of("voter"))


def test_what_is_signed_is_found_in_the_encoding() -> None:
    short = PAY.sign(KEY)
    longer = replace(PAY, chain_id="c" * 32, nonce=2**40).sign(KEY)
    for signed in (short, longer):
        signed.verify_encoded(encode(signed))
        forged = replace(signed, transaction=replace(signed.transaction, nonce=7))
        with pytest.raises(SignatureError):
            forged.verify_encoded(encode(forged))
        other = replace(signed, transaction=replace(signed.transaction, sender=key_of("voter").address))
        with pytest.raises(SignatureError):
            other.verify_encoded(encode(other))


def test_a_transaction_s_hash_needs_no_decoding() -> None:
    signed = PAY.sign(KEY)
    assert transaction_hash(encode(signed)) == signed.hash
    assert transaction_hash(b"another application's") != transaction_hash(b"another")


def test_a_commitment_seals_everything_about_a_ballot() -> None:
    voter = key_of("voter").address
    sealed = commitment_of("chain", cid_of("one"), voter, BallotKind.SCORE, GOOD, SALT)
    others = {
        commitment_of("other", cid_of("one"), voter, BallotKind.SCORE, GOOD, SALT),
        commitment_of("chain", cid_of("two"), voter, BallotKind.SCORE, GOOD, SALT),
        commitment_of("chain", cid_of("one"), KEY.address, BallotKind.SCORE, GOOD, SALT),
        commitment_of("chain", cid_of("one"), voter, BallotKind.PRIVATE, GOOD, SALT),
        commitment_of("chain", cid_of("one"), voter, BallotKind.SCORE, varied(confirmed=1), SALT),
        commitment_of(
            "chain", cid_of("one"), voter, BallotKind.SCORE, replace(GOOD, images_hash=Hash(b"i" * 32)), SALT
        ),
        commitment_of("chain", cid_of("one"), voter, BallotKind.SCORE, Unscorable(UnscorableReason.MALFORMED), SALT),
        commitment_of("chain", cid_of("one"), voter, BallotKind.SCORE, GOOD, SALT[:-1]),
    }
    assert len(others | {sealed}) == 9


@pytest.mark.parametrize("size", [0, 15, 33])
def test_a_salt_has_16_to_32_bytes(size: int) -> None:
    with pytest.raises(DecodeError, match="expected 16 to 32"):
        commitment_of("chain", cid_of("one"), KEY.address, BallotKind.SCORE, GOOD, bytes(size))


@pytest.mark.parametrize(
    ("blocks", "time_ms", "passed"), [(3, 1_000, True), (2, 10**9, False), (10**9, 999, False), (4, 1_001, True)]
)
def test_a_deadline_passes_when_blocks_and_time_both_have(blocks: int, time_ms: int, passed: bool) -> None:
    assert Deadline(3, 1_000).has_passed(blocks, time_ms) == passed
