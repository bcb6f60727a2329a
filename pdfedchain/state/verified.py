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
    """Opened transactions by the SHA-256 digest of their encoding; the least recently used ones are forgotten."""

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
        digest = hashlib.sha256(data).digest()
        known = digest in self._opened
        signed = self._opened.pop(digest, None)
        if signed is None:
            signed = decode(SignedTransaction, data, size_bytes_max=TRANSACTION_SIZE_BYTES_MAX)
            if not known:
                signed.verify_encoded(data)
        self._opened[digest] = signed if len(data) <= _KEPT_SIZE_BYTES_MAX else None
        if len(self._opened) > self._count_max:
            del self._opened[next(iter(self._opened))]
        return signed
