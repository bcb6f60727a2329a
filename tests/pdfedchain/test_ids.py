"""Text forms of identifiers have one spelling."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdfedchain.errors import DecodeError
from pdfedchain.ids import Address, Cid, address_text, check_cid, cid_digest, cid_text, parse_address, parse_cid
from pdfedchain.testing.strategies import cids

#: The empty UnixFS directory, and the raw block "hello\n": identifiers that IPFS gives.
KNOWN = {
    "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354": "01701220599484390"
    "65f29619ef41280cbb932be52c56d99c5966b65e0111239f098bbef",
    "bafkreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am": "01551220"
    "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
}


@pytest.mark.parametrize(("text", "value"), KNOWN.items())
def test_known_identifiers(text: str, value: str) -> None:
    cid = parse_cid(text)
    assert cid.hex() == value
    assert cid_text(cid) == text
    assert cid_digest(cid) == cid[4:]
    assert check_cid(bytes.fromhex(value)) == cid


@given(cid=cids)
def test_parsing_a_cid_is_the_inverse_of_its_text(cid: Cid) -> None:
    text = cid_text(cid)
    assert parse_cid(text) == cid
    assert text == text.lower()
    assert len(text) == 59


GOOD = next(iter(KNOWN))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        "bb",
        GOOD.upper(),
        "B" + GOOD[1:],
        "f" + GOOD[1:],
        GOOD[1:],
        GOOD[:-1],
        GOOD + "a",
        GOOD + "======",
        GOOD[:-1] + "5",
        GOOD + " ",
        " " + GOOD,
        "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn",
        "b" + base64.b32encode(b"\x01\x71\x12\x20" + bytes(32)).decode().lower().rstrip("="),
        "b" + base64.b32encode(b"\x00" + bytes(35)).decode().lower().rstrip("="),
        "bäöü",
        "b1890",
        "\x00" * 59,
    ],
)
def test_other_spellings_of_a_cid_are_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        parse_cid(text)


@given(text=st.text(max_size=70))
def test_arbitrary_text_is_no_cid_and_no_address(text: str) -> None:
    for parse in (parse_cid, parse_address):
        with pytest.raises(DecodeError):
            parse(text)


@pytest.mark.parametrize("value", [b"", bytes(36), b"\x01\x70\x12\x20" + bytes(31), b"\x01\x70\x12\x20" + bytes(33)])
def test_other_bytes_are_no_cid(value: bytes) -> None:
    with pytest.raises(DecodeError):
        check_cid(value)


@given(value=st.binary(min_size=32, max_size=32))
def test_parsing_an_address_is_the_inverse_of_its_text(value: bytes) -> None:
    assert parse_address(address_text(Address(value))) == value


@pytest.mark.parametrize("text", ["", "00", "0" * 63, "0" * 66, "G" * 64, "AB" * 32, "ab " * 32, "0x" + "ab" * 31])
def test_other_spellings_of_an_address_are_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        parse_address(text)
