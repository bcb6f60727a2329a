"""Canonical dataclasses as JSON-able values, for people: genesis files, ``--json`` output, the HTTP API.

The same annotations drive it, so there is no second schema to keep in step. Bytes become hexadecimal, CIDs their
base32 text, enums their value; a member of a union carries its tag under ``"type"``.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pdfedchain.codec.schema import schema_of, tag_of
from pdfedchain.errors import DecodeError
from pdfedchain.ids import Cid, cid_text, parse_cid

T = TypeVar("T")


def to_plain(value: Any) -> dict[str, Any]:
    """A canonical dataclass as a dict of JSON-able values."""
    schema = schema_of(type(value))
    return {name: _out(getattr(value, name), hint) for name, hint in zip(schema.names, schema.hints, strict=True)}


def from_plain(cls: type[T], plain: Any) -> T:
    """Inverse of `to_plain`; every bound is checked.

    Raises:
        DecodeError: a key is missing or unknown, or a value has the wrong type or is out of bounds.
    """
    schema = schema_of(cls)
    if not isinstance(plain, dict):
        raise DecodeError(f"{cls.__name__}: expected an object, found {type(plain).__name__}")
    unknown = sorted(set(plain) - set(schema.names) - {"type"})
    missing = sorted(set(schema.names) - set(plain))
    if unknown or missing:
        raise DecodeError(f"{cls.__name__}: unknown keys {unknown}, missing keys {missing}")
    values = {}
    for name, hint in zip(schema.names, schema.hints, strict=True):
        try:
            values[name] = _in(plain[name], hint)
        except (DecodeError, ValueError, TypeError) as error:
            raise DecodeError(f"{cls.__name__}.{name}: {error}") from error
    try:
        result = cls(**values)
    except (ValueError, TypeError) as error:  # the dataclass's own rule, on values whose types are not checked yet
        raise DecodeError(f"{cls.__name__}: {error}") from error
    schema.pack(result)  # the bounds
    return result


def _strip(hint: Any) -> Any:
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return hint


def _out(value: Any, hint: Any) -> Any:
    hint = _strip(hint)
    if value is None:
        return None
    if hint is Cid:
        return cid_text(value)
    if isinstance(hint, typing.NewType):
        return _out(value, hint.__supertype__)
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        members = [member for member in get_args(hint) if member is not type(None)]
        if len(members) == 1:
            return _out(value, members[0])
        return {"type": tag_of(type(value)), **to_plain(value)}
    if origin is tuple:
        return [_out(item, get_args(hint)[0]) for item in value]
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, bytes):
        return value.hex()
    if dataclasses.is_dataclass(value):
        return to_plain(value)
    return value


def _in(plain: Any, hint: Any) -> Any:
    hint = _strip(hint)
    if hint is Cid:
        if not isinstance(plain, str):
            raise DecodeError(f"expected the text of a CID, found {type(plain).__name__}")
        return parse_cid(plain)
    if isinstance(hint, typing.NewType):
        return _in(plain, hint.__supertype__)
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        members = [member for member in get_args(hint) if member is not type(None)]
        if plain is None and len(members) < len(get_args(hint)):
            return None
        if len(members) == 1:
            return _in(plain, members[0])
        by_tag = {tag_of(member): member for member in members}
        tag = plain.get("type") if isinstance(plain, dict) else None
        if tag not in by_tag:
            raise DecodeError(f"expected one of {sorted(by_tag)} under 'type', found {tag!r}")
        return from_plain(by_tag[tag], plain)
    if origin is tuple:
        if not isinstance(plain, list):
            raise DecodeError(f"expected a list, found {type(plain).__name__}")
        return tuple(_in(item, get_args(hint)[0]) for item in plain)
    if hint is bytes:
        if not isinstance(plain, str):
            raise DecodeError(f"expected hexadecimal text, found {type(plain).__name__}")
        return bytes.fromhex(plain)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint(plain)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return from_plain(hint, plain)
    return plain
