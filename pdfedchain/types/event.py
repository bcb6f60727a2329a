"""Events: what an application tells those who follow the chain; and where transactions are found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pdfedchain.codec import canonical
from pdfedchain.ids import Hash, Height, Name, Size, UInt

__all__ = ["Event", "StoredEvent", "StoredTransaction"]


@canonical("pdfed/event/v1")
@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened while a block was executed.

    Attributes:
        kind: what happened, for example ``"checkpoint-accepted"``; stores index it.
        subjects: accounts, checkpoints or hashes it concerns; stores index each.
        data: the typed event in canonical encoding; the application's types decode it.
    """

    kind: Name
    subjects: Annotated[tuple[Annotated[bytes, Size(64)], ...], Size(16)]
    data: Annotated[bytes, Size(65_536)]


@canonical("pdfed/stored-event/v1")
@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event and where it happened."""

    height: Height
    index: UInt
    event: Event


@canonical("pdfed/stored-transaction/v1")
@dataclass(frozen=True, slots=True)
class StoredTransaction:
    """Where a transaction was executed.

    Attributes:
        index: its place in the block's body.
        transaction: its hash (`pdfedchain.types.transaction.transaction_hash`).
    """

    height: Height
    index: UInt
    transaction: Hash
