"""Canonical MessagePack: one value has one encoding, and one encoding is one value.

`decode` unpacks, checks every type and bound, packs what it unpacked and compares: MessagePack itself allows several
spellings of one integer or string, and a second spelling of a signed message would be a second message with the same
meaning. It is the array that is packed again, not the value: a schema turns an array into a value only where it would
turn the value into that array. Left-over bytes are an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgpack

from pdfedchain.codec.schema import schema_of
from pdfedchain.errors import DecodeError

T = TypeVar("T")

_pack_array = msgpack.Packer(use_bin_type=True).pack


#: By type, a call less than `schema_of`.
_packs: dict[type, Callable[[Any], Any]] = {}


def _pack_of(cls: type) -> Callable[[Any], Any]:
    pack = _packs[cls] = schema_of(cls).pack
    return pack


def encode(value: Any) -> bytes:
    """The canonical encoding of a canonical dataclass.

    Raises:
        DecodeError: a field's value is outside its type's bounds: it could not be decoded again.
    """
    cls = type(value)
    packed: bytes = _pack_array((_packs.get(cls) or _pack_of(cls))(value))
    return packed


def decode(cls: type[T], data: bytes, *, size_bytes_max: int) -> T:
    """The value whose canonical encoding is ``data``.

    Raises:
        DecodeError: too long, not MessagePack, not this type, out of bounds, or not canonical.
    """
    if len(data) > size_bytes_max:
        raise DecodeError(f"{len(data)} bytes, at most {size_bytes_max} allowed")
    try:
        raw = msgpack.unpackb(
            data,
            raw=False,
            use_list=True,
            strict_map_key=True,
            max_ext_len=0,
            max_map_len=0,
            unicode_errors="strict",
        )
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError, OverflowError) as error:
        raise DecodeError(f"not MessagePack: {error}") from error
    value: T = schema_of(cls).unpack(raw)
    if _pack_array(raw) != data:
        raise DecodeError("not the canonical encoding")
    return value
