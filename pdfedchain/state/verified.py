"""Which transactions' signatures have been verified here.

The same bytes are opened when they enter a pool, after every block, for a proposal and for execution; Ed25519 is by
far the dearest part of that. A signature over the same bytes by the same key verifies always or never, so what is
remembered is nothing but time saved: an empty memory gives the same answers.
"""

from __future__ import annotations

import hashlib
from typing import Final

from pdfedchain.types.transaction import SignedTransaction

__all__ = ["VERIFIED_MAX", "VerifiedTransactions"]

#: Six full blocks; about 10 MB.
VERIFIED_MAX: Final = 65_536


class VerifiedTransactions:
    """SHA-256 digests of encoded transactions with good signatures; the least recently used ones are forgotten."""

    __slots__ = ("_count_max", "_digests")

    def __init__(self, count_max: int = VERIFIED_MAX) -> None:
        self._count_max = count_max
        self._digests: dict[bytes, None] = {}

    def verify(self, data: bytes, signed: SignedTransaction) -> None:
        """Check the signature, unless these bytes had a good one before.

        Args:
            data: the encoding of ``signed``, signature included.

        Raises:
            SignatureError: it does not verify; that is not remembered.
        """
        digest = hashlib.sha256(data).digest()
        if digest not in self._digests:
            signed.verify()
        self._digests.pop(digest, None)
        self._digests[digest] = None
        if len(self._digests) > self._count_max:
            del self._digests[next(iter(self._digests))]
