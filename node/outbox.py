"""Transactions that commands of this machine hand to the running node: files in the home directory.

::

    outbox/<hash>.tx        an encoded transaction, written under another name and renamed
    outbox/<hash>.refused   why it can never succeed; `pdfed tx` shows and removes it

A file needs no port and no second protocol; who may write into the home directory may sign with its key anyway. What
lies there while no node runs is sent when one does, and a transaction leaves the folder only when it is in a final
block or refused, so neither a restart of the node nor one of the command loses it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final, Protocol

import trio

from node.mempool import PoolFull
from pdfedchain.codec import decode
from pdfedchain.errors import DecodeError, InputError
from pdfedchain.ids import Hash
from pdfedchain.limits import TRANSACTION_SIZE_BYTES_MAX
from pdfedchain.store.durable import replace_file
from pdfedchain.store.interface import Store
from pdfedchain.types.transaction import SignedTransaction, transaction_hash

__all__ = ["Outbox", "OutboxDuty"]

log = logging.getLogger(__name__)

_LOOK_AGAIN_S: Final = 0.5

#: Files looked at in one go; more wait for their turn.
_FILES_MAX: Final = 256


class Outbox:
    """The folder, for both sides."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, transaction: bytes) -> Hash:
        """Hand a transaction over.

        Returns:
            Its hash.

        Raises:
            OSError: the disk refuses.
        """
        name = transaction_hash(transaction)
        self.path.mkdir(mode=0o700, exist_ok=True)
        self._refusal(name).unlink(missing_ok=True)
        replace_file(self._file(name), transaction)
        return name

    def waiting(self) -> list[tuple[Hash, bytes]]:
        """What lies there, by name; files that are no transactions of that name are left alone."""
        found = []
        for file in sorted(self.path.glob("*.tx"))[:_FILES_MAX]:
            try:
                with file.open("rb") as stream:
                    data = stream.read(TRANSACTION_SIZE_BYTES_MAX + 1)
            except FileNotFoundError:  # the node has sent it meanwhile
                continue
            name = transaction_hash(data)
            if file == self._file(name):
                found.append((name, data))
        return found

    def nonces(self, sender: bytes) -> list[int]:
        """Nonces of one sender's waiting transactions."""
        found = []
        for _, data in self.waiting():
            try:
                signed = decode(SignedTransaction, data, size_bytes_max=TRANSACTION_SIZE_BYTES_MAX)
            except DecodeError:
                continue
            if signed.transaction.sender == sender:
                found.append(signed.transaction.nonce)
        return found

    def forget(self, name: Hash) -> None:
        """It is in a final block."""
        self._file(name).unlink(missing_ok=True)

    def refuse(self, name: Hash, reason: str) -> None:
        """It never will be."""
        self._refusal(name).write_text(reason + "\n", encoding="utf-8")
        self._file(name).unlink(missing_ok=True)

    def take_refusal(self, name: Hash) -> str | None:
        """Why a transaction was refused, once."""
        try:
            reason = self._refusal(name).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return None
        self._refusal(name).unlink(missing_ok=True)
        return reason

    def _file(self, name: Hash) -> Path:
        return self.path / f"{name.hex()}.tx"

    def _refusal(self, name: Hash) -> Path:
        return self.path / f"{name.hex()}.refused"


class Spread(Protocol):
    """`Node.spread`: puts a transaction into the pool and gossips it; raises `InputError` if it is refused."""

    async def __call__(self, transaction: bytes) -> None: ...


class OutboxDuty:
    """The node's side: hands on what lies there, again until it is final."""

    def __init__(self, outbox: Outbox, store: Store, spread: Spread) -> None:
        self._outbox = outbox
        self._store = store
        self._spread = spread

    async def run(self) -> None:
        """Look again and again, for ever."""
        while True:
            try:
                await self._look()
            except OSError as error:
                log.warning("outbox: %s", error)
            await trio.sleep(_LOOK_AGAIN_S)

    async def _look(self) -> None:
        for name, data in self._outbox.waiting():
            if self._store.transaction_height(name) is not None:
                self._outbox.forget(name)
                continue
            try:
                await self._spread(data)
            except PoolFull as error:
                log.debug("%s waits: %s", name.hex(), error)
            except InputError as error:
                # A block may have taken it between the two looks.
                if self._store.transaction_height(name) is None:
                    log.warning("transaction %s of the outbox is refused: %s", name.hex(), error)
                    self._outbox.refuse(name, str(error))
                else:
                    self._outbox.forget(name)
