"""Names for the quantities everybody passes around.

`Hash`, `Address` and `Cid` are distinct types over ``bytes`` for the type checker and plain ``bytes`` at run
time. Their text forms (lower-case hexadecimal, and base32 for a CID) exist for people and JSON only.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, NewType

from pdfedchain.errors import DecodeError
from pdfedchain.limits import CID_SIZE_BYTES, NAME_LENGTH_MAX, PUBLIC_KEY_SIZE_BYTES, UINT_MAX

__all__ = [
    "Address",
    "Cid",
    "Hash",
    "Height",
    "Name",
    "Range",
    "Round",
    "Size",
    "TimeMs",
    "UInt",
    "address_text",
    "check_cid",
    "cid_digest",
    "cid_text",
    "parse_address",
    "parse_cid",
]


class Range:
    """Bound on an encoded integer, both ends included (metadata for ``Annotated``)."""

    __slots__ = ("high", "low")

    def __init__(self, low: int, high: int) -> None:
        self.low = low
        self.high = high


class Size:
    """Bound on the length of encoded bytes, text (in UTF-8 bytes) or a tuple (metadata for ``Annotated``)."""

    __slots__ = ("high", "low")

    def __init__(self, high: int, *, low: int = 0) -> None:
        self.low = low
        self.high = high

    @classmethod
    def exactly(cls, size: int) -> Size:
        return cls(size, low=size)


#: SHA-256 digest with a domain tag (`pdfedchain.crypto.hash`).
Hash = NewType("Hash", bytes)

#: An account, an authority or a participant: its Ed25519 public key itself.
Address = NewType("Address", bytes)

#: CIDv1 in binary form, sha2-256: the identifier IPFS gives the same bytes.
Cid = NewType("Cid", bytes)

UInt = Annotated[int, Range(0, UINT_MAX)]
Name = Annotated[str, Size(NAME_LENGTH_MAX, low=1)]

#: Genesis has height 0; the first block has height 1.
Height = UInt
#: Rounds of one height count from 0.
Round = UInt
#: Milliseconds since the Unix epoch, chain time.
TimeMs = UInt

_CID_PREFIXES = (b"\x01\x70\x12\x20", b"\x01\x55\x12\x20")  # dag-pb and raw, sha2-256, 32 bytes


def check_cid(value: bytes) -> Cid:
    """Return ``value`` as a `Cid`.

    Raises:
        DecodeError: it is not a binary CIDv1 of dag-pb or raw codec with a sha2-256 digest.
    """
    if len(value) != CID_SIZE_BYTES or value[:4] not in _CID_PREFIXES:
        raise DecodeError(f"not a CIDv1 with sha2-256: {value[:40].hex()}")
    return Cid(value)


def cid_text(cid: Cid) -> str:
    """Text form: multibase prefix ``b`` and lower-case base32 without padding."""
    return "b" + base64.b32encode(cid).decode("ascii").lower().rstrip("=")


def cid_digest(cid: Cid) -> bytes:
    """The 32-byte SHA-256 digest inside a CID."""
    return cid[4:]


def parse_cid(text: str) -> Cid:
    """Inverse of `cid_text`; refuses every other spelling.

    Raises:
        DecodeError: the text is not the canonical base32 form of a CIDv1 with sha2-256.
    """
    body = text[1:].upper()
    try:
        value = base64.b32decode(body + "=" * (-len(body) % 8))
    except (binascii.Error, ValueError) as error:
        raise DecodeError(f"not a base32 CID: {text[:80]!r}") from error
    cid = check_cid(value)
    if cid_text(cid) != text:
        raise DecodeError(f"not the canonical form of a CID: {text[:80]!r}")
    return cid


def address_text(address: Address) -> str:
    """Text form of an address: 64 lower-case hexadecimal digits."""
    return address.hex()


def parse_address(text: str) -> Address:
    """Inverse of `address_text`.

    Raises:
        DecodeError: the text is not 64 lower-case hexadecimal digits.
    """
    try:
        value = bytes.fromhex(text)
    except ValueError as error:
        raise DecodeError(f"not an address: {text[:80]!r}") from error
    if len(value) != PUBLIC_KEY_SIZE_BYTES or value.hex() != text:
        raise DecodeError(f"an address has 64 lower-case hexadecimal digits: {text[:80]!r}")
    return Address(value)
