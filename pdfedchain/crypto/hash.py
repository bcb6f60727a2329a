"""SHA-256 with domain separation: equal bytes of two kinds never have equal hashes.

``tagged_hash(tag, data) = SHA-256(SHA-256(tag) || data)``. The inner digest has a fixed length, so no tag is a
prefix of another. BIP-340 does the same with the digest twice, to fill a block; we hash short strings more often
than we reuse a midstate, so once is enough.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any, Final

from pdfedchain.codec import encode, tag_of
from pdfedchain.ids import Hash

__all__ = ["hash_of", "hash_once", "hash_prefix", "tagged_hash"]

#: Objects whose hashes `hash_once` remembers.
_REMEMBERED_MAX: Final = 32

#: By identity; what is remembered is kept alive, so no other object can have it.
_remembered: dict[int, tuple[Any, Hash]] = {}


@lru_cache(maxsize=256)
def hash_prefix(tag: str) -> bytes:
    """What is hashed before the data under a domain tag, for those who hash many short strings under one."""
    return hashlib.sha256(tag.encode()).digest()


def tagged_hash(tag: str, *parts: bytes) -> Hash:
    """Hash of the concatenated parts under a domain tag. Parts must have fixed lengths or be self-delimiting."""
    return Hash(hashlib.sha256(hash_prefix(tag) + b"".join(parts)).digest())


def hash_of(value: Any) -> Hash:
    """Hash of a canonical dataclass: its own tag and its canonical encoding."""
    return tagged_hash(tag_of(type(value)), encode(value))


def hash_once(value: Any) -> Hash:
    """`hash_of` a small dataclass that is asked for again and again: the same object is hashed once, while it is among
    the last few. Equal objects are hashed each, so what is not canonical is never taken for what is.
    """
    known = _remembered.get(id(value))
    if known is not None:
        return known[1]
    hashed = hash_of(value)
    if len(_remembered) >= _REMEMBERED_MAX:
        _remembered.clear()
    _remembered[id(value)] = value, hashed
    return hashed
