"""Which transactions were opened here: decoded, and their signatures verified.

The same bytes are opened when they enter a pool, after every block, for a proposal and for execution; Ed25519 is by
far the dearest part of that, decoding the second. Bytes decode always or never, and a signature over the same bytes by
the same key verifies always or never, so what is remembered is nothing but time saved: an empty memory gives the same
answers.
"""

from __future__ import annotations

import hashlib
from typing import Final

from pdfedchain.codec import decode
from pdfedchain.limits import TRANSACTION_SIZE_BYTES_MAX
from pdfedchain.types.transaction import SignedTransaction

__all__ = ["VERIFIED_MAX", "VerifiedTransactions"]

#: More than a full pool and a full block together, or every block would verify the pool again; about 20 MB.
VERIFIED_MAX: Final = 32_768

#: Larger ones are decoded again: decoded, a task of a megabyte takes many.
_KEPT_SIZE_BYTES_MAX: Final = 1_024


class VerifiedTransactions:
    """Opened transactions by their encoding, long ones by its SHA-256 digest; the least recently used are forgotten."""

    __slots__ = ("_count_max", "_opened")

    def __init__(self, count_max: int = VERIFIED_MAX) -> None:
        self._count_max = count_max
        #: ``None`` for those whose signature is good but which are too large to keep.
        self._opened: dict[bytes, SignedTransaction | None] = {}

    def open(self, data: bytes) -> SignedTransaction:
        """Decode a transaction and check its signature, unless these bytes were opened before.

        Raises:
            DecodeError: it is no transaction of this ledger; that is not remembered.
            SignatureError: its sender did not sign it; likewise.
        """
        opened = self._opened
        # A digest is too short to be a transaction, so it is no other's key.
        is_kept = len(data) <= _KEPT_SIZE_BYTES_MAX
        key = data if is_kept else hashlib.sha256(data).digest()
        known = key in opened
        signed = opened.pop(key, None)
        if signed is None:
            signed = decode(SignedTransaction, data, size_bytes_max=TRANSACTION_SIZE_BYTES_MAX)
            if not known:
                signed.verify_encoded(data)
        opened[key] = signed if is_kept else None
        if len(opened) > self._count_max:
            del opened[next(iter(opened))]
        return signed
