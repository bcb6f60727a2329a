"""libp2p peer ids without libp2p.

The peer id of an Ed25519 key is the base58 text of an identity multihash around the protobuf-encoded public key
(libp2p specification, "Peer Ids and Keys"). Knowing it must not cost the import of a network stack: the command line
prints addresses, and genesis may name them.
"""

from __future__ import annotations

from typing import Final

from pdfedchain.crypto import SigningKey
from pdfedchain.errors import DecodeError
from pdfedchain.limits import PUBLIC_KEY_SIZE_BYTES

__all__ = ["check_peer_id", "peer_id_of_public_key", "peer_id_of_seed"]

_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

# multihash: identity (0x00), 36 bytes; protobuf: field 1 = Ed25519 (1), field 2 = 32 bytes.
_PREFIX: Final = bytes.fromhex("002408011220")

_TEXT_LENGTH_MAX: Final = 64


def peer_id_of_public_key(public_key: bytes) -> str:
    """Text form (``12D3Koo...``) of the peer id of a 32-byte Ed25519 public key."""
    assert len(public_key) == PUBLIC_KEY_SIZE_BYTES
    data = _PREFIX + public_key
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _ALPHABET[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def peer_id_of_seed(seed: bytes) -> str:
    """Peer id of the key with this 32-byte seed."""
    return peer_id_of_public_key(SigningKey(seed).address)


def check_peer_id(text: str) -> str:
    """Return ``text`` if it is the peer id of an Ed25519 key.

    Raises:
        DecodeError: it is not; other key types are not used here.
    """
    number = 0
    for letter in text[:_TEXT_LENGTH_MAX]:
        digit = _ALPHABET.find(letter)
        if digit < 0:
            raise DecodeError(f"not a peer id: {text[:_TEXT_LENGTH_MAX]!r}")
        number = number * 58 + digit
    size_bytes = len(_PREFIX) + PUBLIC_KEY_SIZE_BYTES
    if number.bit_length() <= size_bytes * 8:
        data = number.to_bytes(size_bytes, "big")
        if data.startswith(_PREFIX) and peer_id_of_public_key(data[len(_PREFIX) :]) == text:
            return text
    raise DecodeError(f"not the peer id of an Ed25519 key: {text[:_TEXT_LENGTH_MAX]!r}")
