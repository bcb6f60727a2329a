"""What a store says about its blocks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pdfedchain.ids import Cid

__all__ = ["BadBlock", "Problem", "StoredBlock"]


class Problem(StrEnum):
    """What is wrong with a block of a stored folder."""

    MISSING = "missing"
    DAMAGED = "damaged"
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class BadBlock:
    """One finding of `WeightsStore.verify`.

    Attributes:
        cid: the block.
        path: file or directory it belongs to, relative to the folder; empty for the root.
        problem: what is wrong.
        detail: one sentence for people.
    """

    cid: Cid
    path: str
    problem: Problem
    detail: str


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """One block file: its size, and when it was written (seconds since the epoch)."""

    cid: Cid
    size_bytes: int
    written_at: float
