"""Which transactions were opened here: decoded, and their signatures verified.

The same bytes are opened when they enter a pool, after every block, for a proposal and for execution; Ed25519 is by
far the dearest part of that, decoding the second. Bytes decode always or never, and a signature over the same bytes by
the same key verifies always or never, so what is remembered is nothing but time saved: an empty memory gives the same
answers.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
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

    __slots__ = ("_count_max", "_opened", "_read")

    def __init__(self, count_max: int = VERIFIED_MAX) -> None:
        self._count_max = count_max
        #: ``None`` for those whose signature is good but which are too large to keep.
        #: A plain dictionary would look for its oldest entry among the places of all that were forgotten before.
        self._opened: OrderedDict[bytes, SignedTransaction | None] = OrderedDict()
        #: What was decoded last, its signature not looked at.
        self._read: tuple[bytes, SignedTransaction] | None = None

    def read(self, data: bytes) -> SignedTransaction:
        """Decode a transaction and do not look at its signature. `open` of it next does not decode it again.

        Raises:
            DecodeError: it is no transaction of this ledger.
        """
        signed = self._opened.get(data)
        if signed is not None:
            return signed
        if self._read is None or self._read[0] != data:
            self._read = data, decode(SignedTransaction, data, size_bytes_max=TRANSACTION_SIZE_BYTES_MAX)
        return self._read[1]

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
        signed = opened.get(key)
        if signed is None:
            signed, self._read = self.read(data), None
            if key not in opened:
                signed.verify_encoded(data)
            opened[key] = signed if is_kept else None
        opened.move_to_end(key)
        if len(opened) > self._count_max:
            opened.popitem(last=False)
        return signed
