"""Which accounts and checkpoints a transaction concerns, so that stores can list those of each.

The payload's own types say it: every field that is an `Address` or a `Cid`, or holds some, is a subject, and so is the
sender. A new kind of payload is indexed without being named here.
"""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from pdfedchain.ids import Address, Cid
from pdfedchain.types.transaction import SignedTransaction, Transfer

__all__ = ["subjects_of"]


def subjects_of(signed: SignedTransaction) -> tuple[bytes, ...]:
    """The sender, then the accounts and checkpoints the payload names, each once."""
    payload = signed.transaction.payload
    if type(payload) is Transfer:  # what follows, without the loop
        sender = signed.transaction.sender
        return (sender,) if payload.to == sender else (sender, payload.to)
    named: list[bytes] = [signed.transaction.sender]
    for name in _fields(type(payload)):
        value = getattr(payload, name)
        named += value if isinstance(value, tuple) else [value]
    return tuple(dict.fromkeys(each for each in named if each is not None))


_FIELDS: dict[type, tuple[str, ...]] = {}


def _fields(cls: Any) -> tuple[str, ...]:
    if cls not in _FIELDS:
        hints = typing.get_type_hints(cls)
        _FIELDS[cls] = tuple(field.name for field in dataclasses.fields(cls) if _holds_subjects(hints[field.name]))
    return _FIELDS[cls]


def _holds_subjects(hint: Any) -> bool:
    return hint in (Address, Cid) or any(inner in (Address, Cid) for inner in typing.get_args(hint))
