"""What votes and certificates prove, and what they do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pdfedchain.crypto import SigningKey
from pdfedchain.errors import InvalidProof, SignatureError
from pdfedchain.ids import Hash
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.vote import Certificate, Vote, VoteKind
from tests.pdfedchain.ledger_world import key_of

KEYS = [key_of(f"authority{i}") for i in range(4)]
AUTHORITIES = AuthoritySet(3, tuple(key.address for key in KEYS))
BLOCK = Hash(b"b" * 32)


def vote(key: SigningKey, **changes: object) -> Vote:
    unsigned = Vote("chain", 3, 7, 1, VoteKind.PRECOMMIT, BLOCK, key.address, bytes(64))
    unsigned = replace(unsigned, **changes)  # type: ignore[arg-type]
    return replace(unsigned, signature=key.sign(unsigned.signing_bytes()))


def test_a_vote_is_signed_for_one_place_and_one_block() -> None:
    signed = vote(KEYS[0])
    signed.verify()
    for changes in (
        {"chain_id": "other"},
        {"set_id": 4},
        {"height": 8},
        {"round": 2},
        {"kind": VoteKind.PREVOTE},
        {"block": None},
        {"block": Hash(b"c" * 32)},
        {"voter": KEYS[1].address},
        {"signature": bytes(64)},
    ):
        with pytest.raises(SignatureError):
            replace(signed, **changes).verify()  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [3, 4])
def test_a_quorum_of_equal_votes_is_a_certificate_in_any_order(count: int) -> None:
    votes = [vote(key) for key in KEYS[:count]]
    certificate = Certificate.of(votes)
    certificate.verify("chain", AUTHORITIES)
    assert certificate == Certificate.of(reversed(votes))
    assert set(certificate.votes()) == set(votes)


def test_what_is_no_certificate() -> None:
    certificate = Certificate.of([vote(key) for key in KEYS[:3]])
    signatures = certificate.signatures
    strangers = [vote(key) for key in (*KEYS[:2], key_of("stranger"))]
    wrong = [
        (Certificate.of([vote(key) for key in KEYS[:2]]), "no quorum"),
        (Certificate.of(strangers), "no authority"),
        (replace(certificate, signatures=(signatures[0], *signatures)), "sorted and distinct"),
        (replace(certificate, signatures=signatures[::-1]), "sorted and distinct"),
        (replace(certificate, block=Hash(b"c" * 32)), "does not verify"),
        (replace(certificate, round=2), "does not verify"),
        (replace(certificate, kind=VoteKind.PREVOTE), "does not verify"),
        (replace(certificate, chain_id="other"), "chain 'other'"),
        (replace(certificate, set_id=2), "set 2"),
    ]
    for forged, message in wrong:
        with pytest.raises(InvalidProof, match=message):
            forged.verify("chain", AUTHORITIES)
    with pytest.raises(InvalidProof):
        certificate.verify("other", AUTHORITIES)


@pytest.mark.parametrize(
    ("n", "quorum", "faults_max"),
    [(1, 1, 0), (2, 2, 0), (3, 3, 0), (4, 3, 1), (5, 4, 1), (6, 5, 1), (7, 5, 2), (10, 7, 3)],
)
def test_quorums_are_more_than_two_thirds_and_faults_less_than_one(n: int, quorum: int, faults_max: int) -> None:
    authorities = AuthoritySet(0, tuple(key_of(str(i)).address for i in range(n)))
    assert min(count for count in range(n + 1) if authorities.is_quorum(count)) == quorum
    assert authorities.faults_max == faults_max
    assert 3 * quorum > 2 * n
    assert 3 * faults_max < n


def test_turns_rotate_by_height_and_by_round() -> None:
    turns = [AUTHORITIES.proposer(height, 0) for height in range(8)]
    assert turns == list(AUTHORITIES.members) * 2
    assert [AUTHORITIES.proposer(2, round_) for round_ in range(4)] == turns[2:6]


def test_an_authority_is_listed_once() -> None:
    with pytest.raises(ValueError, match="twice"):
        AuthoritySet(0, (KEYS[0].address, KEYS[0].address))
