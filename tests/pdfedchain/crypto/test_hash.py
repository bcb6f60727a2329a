"""Domain separation: a hash says what it is a hash of."""

from __future__ import annotations

import hashlib

import pytest

from pdfedchain.codec import encode
from pdfedchain.crypto import hash_of, tagged_hash
from pdfedchain.crypto.hash import hash_once
from pdfedchain.types.checkpoint import Account
from pdfedchain.types.ledger import OpenCount


def test_a_tagged_hash_is_what_its_text_says() -> None:
    expected = hashlib.sha256(hashlib.sha256(b"tag").digest() + b"onetwo").digest()
    assert tagged_hash("tag", b"one", b"two") == tagged_hash("tag", b"onetwo") == expected


def test_equal_bytes_under_different_tags_have_different_hashes() -> None:
    tags = ("a", "b", "ab", "")
    assert len({tagged_hash(tag, b"b") for tag in tags}) == len(tags)
    assert tagged_hash("a", b"b") != tagged_hash("ab")


def test_a_value_s_hash_is_of_its_own_tag_and_encoding() -> None:
    account = Account(1, 2)
    assert hash_of(account) == tagged_hash("pdfed/account/v1", encode(account))
    assert hash_of(account) != hash_of(Account(2, 1))
    assert hash_of(OpenCount(1)) != tagged_hash("pdfed/account/v1", encode(OpenCount(1)))
    with pytest.raises(TypeError):
        hash_of(5)


def test_hashing_once_gives_what_hashing_gives() -> None:
    accounts = [Account(balance, balance % 3) for balance in range(100)]
    for _ in range(2):
        assert [hash_once(account) for account in accounts] == [hash_of(account) for account in accounts]
    assert [hash_once(Account(balance, 1)) for balance in range(100)] == [
        hash_of(Account(balance, 1)) for balance in range(100)
    ]
