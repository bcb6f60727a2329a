"""One value has one encoding, one encoding is one value, for every canonical type there is."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pdfedchain.codec import decode, encode, from_plain, tag_of, to_plain
from pdfedchain.errors import DecodeError
from pdfedchain.testing.strategies import example_of, values_of
from tests.pdfedchain.codec.canonical_types import PINS_FILE, canonical_types, pin_of

TYPES = canonical_types()
EVERY = pytest.mark.parametrize("cls", TYPES.values(), ids=TYPES.keys())
SIZE_BYTES_MAX = 2**24


@EVERY
@given(data=st.data())
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_decode_and_from_plain_are_inverse_to_encode_and_to_plain(cls: type, data: st.DataObject) -> None:
    value = data.draw(values_of(cls))
    encoded = encode(value)
    assert decode(cls, encoded, size_bytes_max=SIZE_BYTES_MAX) == value
    plain = json.loads(json.dumps(to_plain(value)))
    assert from_plain(cls, plain) == value


@EVERY
def test_no_other_bytes_mean_the_same_value(cls: type) -> None:
    """Every changed, missing or added byte gives an error or another value."""
    value = example_of(cls)
    encoded = encode(value)
    step = max(1, len(encoded) // 200)
    changed = [
        encoded[:i] + bytes([encoded[i] ^ flip]) + encoded[i + 1 :]
        for i in range(0, len(encoded), step)
        for flip in (1, 0x80)
    ]
    changed += [encoded[:i] for i in range(0, len(encoded), step)] + [encoded + b"\x00", encoded + encoded]
    for other in changed:
        try:
            decoded = decode(cls, other, size_bytes_max=SIZE_BYTES_MAX)
        except DecodeError:
            continue
        assert decoded != value
        assert encode(decoded) == other


@EVERY
def test_an_encoding_is_of_one_type(cls: type) -> None:
    encoded = encode(example_of(cls))
    other = next(candidate for candidate in TYPES.values() if candidate is not cls)
    with pytest.raises(DecodeError, match=tag_of(other)):
        decode(other, encoded, size_bytes_max=SIZE_BYTES_MAX)


@given(data=st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_arbitrary_bytes_are_refused_by_a_decode_error_only(data: bytes) -> None:
    for cls in list(TYPES.values())[::7]:
        with pytest.raises(DecodeError):
            decode(cls, data, size_bytes_max=SIZE_BYTES_MAX)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@EVERY
@given(data=st.data())
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_wrong_json_is_refused_by_a_decode_error_only(cls: type, data: st.DataObject) -> None:
    plain = to_plain(example_of(cls))
    name = data.draw(st.sampled_from([*sorted(plain), "unexpected"]))
    plain[name] = data.draw(PLAIN)
    try:
        value = from_plain(cls, plain)
    except DecodeError:
        return
    assert decode(cls, encode(value), size_bytes_max=SIZE_BYTES_MAX) == value


def test_encodings_are_the_pinned_ones() -> None:
    pinned = json.loads(PINS_FILE.read_text())
    assert {tag: pin_of(cls) for tag, cls in TYPES.items()} == pinned
