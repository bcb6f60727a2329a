"""What nodes say to each other and keep in files has one encoding, and it stays."""

from __future__ import annotations

import json

import pytest

from pdfedchain.codec import decode, encode, from_plain, to_plain
from pdfedchain.errors import DecodeError
from pdfedchain.testing.strategies import example_of
from tests.node.canonical_types import PINS_FILE, node_types
from tests.pdfedchain.codec.canonical_types import canonical_types, pin_of

TYPES = node_types()


def test_encodings_are_the_pinned_ones() -> None:
    pinned = json.loads(PINS_FILE.read_text())
    assert {tag: pin_of(cls) for tag, cls in TYPES.items()} == pinned


@pytest.mark.parametrize("cls", TYPES.values(), ids=TYPES.keys())
def test_one_value_has_one_encoding_and_one_type(cls: type) -> None:
    value = example_of(cls)
    encoded = encode(value)
    assert decode(cls, encoded, size_bytes_max=2**20) == value
    assert from_plain(cls, json.loads(json.dumps(to_plain(value)))) == value
    for other in (encoded + b"\x00", encoded[:-1]):
        with pytest.raises(DecodeError):
            decode(cls, other, size_bytes_max=2**20)


def test_no_tag_is_used_twice() -> None:
    assert set(TYPES).isdisjoint(canonical_types())
