"""Refusals of the ledger. `NotYet` is every application's (`pdfedchain.application`), hence defined below."""

from __future__ import annotations

from pdfedchain.errors import NotYet

__all__ = ["NotYet"]
