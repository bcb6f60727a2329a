"""Ed25519 keys (RFC 8032) through one library, ``cryptography``.

Libraries disagree about small-order public keys: a signature under one can verify for every message in one
library and not in another, which on a chain is a fork. Such keys are refused before they verify anything.
"""

from __future__ import annotations

from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from pdfedchain.errors import SignatureError
from pdfedchain.ids import Address
from pdfedchain.limits import PUBLIC_KEY_SIZE_BYTES

__all__ = ["SigningKey", "check_address", "verifies", "verify"]

# The y coordinates of the eight points of small order, and the non-canonical encodings of two of them, each with both
# sign bits: the same list as libsodium's ge25519_has_small_order.
_SMALL_ORDER = frozenset(
    bytes.fromhex(text)[:31] + bytes([bytes.fromhex(text)[31] | sign])
    for sign in (0, 0x80)
    for text in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)


class SigningKey:
    """A private key. It never leaves the object except through `seed`, for the key file."""

    __slots__ = ("_key", "address")

    def __init__(self, seed: bytes) -> None:
        """Args: seed: the 32 secret bytes of RFC 8032, section 5.1.5."""
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.address = Address(self._key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> SigningKey:
        """A fresh key from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate().private_bytes_raw())

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes."""
        return self._key.private_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """The 64-byte deterministic signature of ``message``."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"SigningKey(address={self.address.hex()})"


def check_address(address: Address) -> None:
    """Refuse a public key that must not be used.

    Raises:
        SignatureError: wrong length, or a point of small order.
    """
    if len(address) != PUBLIC_KEY_SIZE_BYTES:
        raise SignatureError(f"a public key has {PUBLIC_KEY_SIZE_BYTES} bytes, not {len(address)}")
    if address in _SMALL_ORDER:
        raise SignatureError(f"public key {address.hex()} has small order")


@lru_cache(maxsize=4_096)
def _public_key(address: Address) -> Ed25519PublicKey:
    check_address(address)
    return Ed25519PublicKey.from_public_bytes(address)


def verify(address: Address, message: bytes, signature: bytes) -> None:
    """Check a signature.

    Raises:
        SignatureError: it does not verify, or the key must not be used.
    """
    try:
        _public_key(address).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise SignatureError(f"signature by {address.hex()} does not verify") from error


def verifies(address: Address, message: bytes, signature: bytes) -> bool:
    """Whether the signature verifies (`verify` without the exception)."""
    try:
        verify(address, message, signature)
    except SignatureError:
        return False
    return True
