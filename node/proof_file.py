"""What people ask to be proven, and how a proven value reads.

A subject is what people type; it stands for the keys of the ledger's state that say something about it.
"""

from __future__ import annotations

from typing import Any, Final

from node.reader import ChainReader
from pdfedchain.codec import decode, to_plain
from pdfedchain.errors import DecodeError, UsageError
from pdfedchain.ids import Address, Cid, address_text, cid_text, parse_address, parse_cid
from pdfedchain.limits import STATE_VALUE_SIZE_BYTES_MAX
from pdfedchain.state.view import ACCOUNT_PREFIX, CHECKPOINT_PREFIX, PARTICIPANT_PREFIX
from pdfedchain.types.checkpoint import Account, Checkpoint, Participant

__all__ = ["keys_of", "value_plain"]

_TYPES: Final[dict[bytes, type]] = {
    CHECKPOINT_PREFIX: Checkpoint,
    ACCOUNT_PREFIX: Account,
    PARTICIPANT_PREFIX: Participant,
}


def keys_of(reader: ChainReader, subject: str) -> tuple[bytes, ...]:
    """The keys that a subject stands for.

    Args:
        subject: a checkpoint's identifier or its ending, an address (its account and its registration), or
            ``key:`` and a key of the state in hexadecimal.

    Raises:
        UsageError: it is none of these.
    """
    hint = "name a checkpoint, an address of 64 hexadecimal digits, or key: and a key in hexadecimal"
    if subject.startswith("key:"):
        try:
            return (bytes.fromhex(subject.removeprefix("key:")),)
        except ValueError as error:
            raise UsageError(f"{subject[:80]!r} is no key", hint=hint) from error
    try:
        address = parse_address(subject)
    except DecodeError:
        pass
    else:
        return ACCOUNT_PREFIX + address, PARTICIPANT_PREFIX + address
    try:
        return (CHECKPOINT_PREFIX + parse_cid(subject),)  # it may be absent: that is proven too
    except DecodeError:
        return (CHECKPOINT_PREFIX + reader.checkpoint_named(subject).weights,)


def value_plain(key: bytes, value: bytes | None) -> dict[str, Any]:
    """A proven value for people and programs; ``value`` is ``None`` where the key is proven to have none."""
    for prefix, cls in _TYPES.items():
        if key.startswith(prefix):
            rest = key.removeprefix(prefix)
            subject = cid_text(Cid(rest)) if prefix == CHECKPOINT_PREFIX else address_text(Address(rest))
            plain = None if value is None else to_plain(decode(cls, value, size_bytes_max=STATE_VALUE_SIZE_BYTES_MAX))
            return {"what": prefix.decode().rstrip("/"), "subject": subject, "value": plain}
    return {"what": "key", "subject": key.hex(), "value": None if value is None else value.hex()}
