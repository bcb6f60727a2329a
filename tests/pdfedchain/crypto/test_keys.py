"""Ed25519: the signatures of RFC 8032, and no key under which a signature means nothing."""

from __future__ import annotations

import pytest

from pdfedchain.crypto import SigningKey, check_address, verifies, verify
from pdfedchain.errors import SignatureError
from pdfedchain.ids import Address

#: The eight points of small order, and the other encodings of those whose y coordinate is not reduced.
SMALL_ORDER_Y = [
    "00" * 32,
    "01" + "00" * 31,
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]
#: RFC 8032, section 7.1: seed, public key, message, signature.
VECTORS = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
        "387b2eaeb4302aeeb00d291612bb0c00",
    ),
]
#: The group order L, little-endian: S and S + L are the same scalar.
ORDER = 2**252 + 27742317777372353535851937790883648493


@pytest.mark.parametrize(("seed", "public", "message", "signature"), VECTORS)
def test_the_vectors_of_the_rfc(seed: str, public: str, message: str, signature: str) -> None:
    key = SigningKey(bytes.fromhex(seed))
    assert key.address.hex() == public
    assert key.sign(bytes.fromhex(message)).hex() == signature
    assert key.seed.hex() == seed
    verify(key.address, bytes.fromhex(message), bytes.fromhex(signature))


def test_a_signature_is_for_one_message_and_one_key() -> None:
    key, other = SigningKey.generate(), SigningKey.generate()
    signature = key.sign(b"message")
    assert verifies(key.address, b"message", signature)
    for address, message, found in (
        (other.address, b"message", signature),
        (key.address, b"massage", signature),
        (key.address, b"message", bytes(64)),
        (key.address, b"message", signature[:-1]),
        (key.address, b"message", b""),
        (key.address, b"message", signature + b"\x00"),
    ):
        assert not verifies(address, message, found)
        with pytest.raises(SignatureError, match="does not verify"):
            verify(address, message, found)


def test_a_signature_has_one_spelling() -> None:
    key = SigningKey.generate()
    signature = key.sign(b"message")
    scalar = int.from_bytes(signature[32:], "little") + ORDER
    assert not verifies(key.address, b"message", signature[:32] + scalar.to_bytes(32, "little"))


@pytest.mark.parametrize("sign_bit", [0, 0x80])
@pytest.mark.parametrize("encoding", SMALL_ORDER_Y)
def test_points_of_small_order_are_no_keys(encoding: str, sign_bit: int) -> None:
    point = bytearray.fromhex(encoding)
    point[31] |= sign_bit
    address = Address(bytes(point))
    with pytest.raises(SignatureError, match="small order"):
        check_address(address)
    # The forgery they would allow: R the neutral element, S zero, for any message.
    forgery = b"\x01" + bytes(31) + bytes(32)
    assert not any(verifies(address, message, forgery) for message in (b"", b"a", b"b", b"c"))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_has_32_bytes(size: int) -> None:
    address = Address(b"\x02" * size)
    with pytest.raises(SignatureError, match="32 bytes"):
        check_address(address)
    assert not verifies(address, b"", bytes(64))


def test_bytes_that_are_no_point_verify_nothing() -> None:
    assert not verifies(Address(b"\x02" + bytes(31)), b"", bytes(64))


def test_a_key_does_not_show_its_seed() -> None:
    key = SigningKey(bytes(range(32)))
    assert key.seed.hex() not in repr(key)
    assert key.address.hex() in repr(key)
