"""Signing this node's transactions and getting them into a block.

Sending is idempotent: Ed25519 signatures are deterministic, so the same payload gives the same bytes, which every
pool knows already. Duties therefore send again for as long as the chain does not show the effect.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pdfedchain.codec import encode
from pdfedchain.crypto import SigningKey
from pdfedchain.ids import Address
from pdfedchain.types.transaction import Payload, Transaction, WithoutNonce

__all__ = ["Submitter"]


class Submitter:
    """Signs with one key and hands the bytes on."""

    def __init__(self, chain_id: str, key: SigningKey, spread: Callable[[bytes], Awaitable[None]]) -> None:
        """
        Args:
            spread: puts an encoded transaction into the own pool and gossips it; raises `InputError` if refused.
        """
        self._chain_id = chain_id
        self._key = key
        self._spread = spread

    @property
    def address(self) -> Address:
        """The account that signs."""
        return self._key.address

    async def send(self, payload: Payload, *, nonce: int = 0) -> None:
        """Sign and spread a payload.

        Args:
            nonce: the account's, for payloads that are ordered by it; 0 for those `WithoutNonce`.

        Raises:
            InputError: the own pool refuses it.
        """
        assert nonce == 0 or not isinstance(payload, WithoutNonce)
        transaction = Transaction(self._chain_id, self._key.address, nonce, payload)
        await self._spread(encode(transaction.sign(self._key)))
