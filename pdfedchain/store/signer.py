"""The signer record: what a key has signed, so that it never contradicts itself, across any crash.

Slots are (height, round, step), step 0 a proposal, 1 a prevote, 2 a precommit. They only grow: what is asked for
below the last slot is refused unless it is there already with the same bytes, and then the same signature is given
again (Ed25519 is deterministic, and it is stored besides). The record is durable before the signature exists for
anybody else.

It is a file of its own, `signer.db`, bound to one chain and one key, and it must never be restored from a copy:
an old copy would allow what has been signed since. An old copy of the chain's database, on the other hand, harms
nothing, because this file stays. Two processes cannot use it at once.

The slots of the last height stay with the block they were for and the signature: should the consensus log be lost,
votes and lock are found here (`pdfedchain.consensus.height`).
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from pdfedchain.crypto import SigningKey
from pdfedchain.errors import StateError, WouldDoubleSign
from pdfedchain.ids import Address, Hash, address_text
from pdfedchain.store.durable import sync_fully

__all__ = ["MemorySigner", "SqliteSigner"]

_VERSION: Final = 1
_APPLICATION_ID: Final = 0x70647369  # "pdsi"
_SCHEMA: Final = """
CREATE TABLE owner (chain_id TEXT NOT NULL, address BLOB NOT NULL) STRICT;
CREATE TABLE signed (
    height INTEGER NOT NULL, round INTEGER NOT NULL, step INTEGER NOT NULL,
    block BLOB, message BLOB NOT NULL, signature BLOB NOT NULL,
    PRIMARY KEY (height, round, step)
) STRICT, WITHOUT ROWID;
"""

_Slot = tuple[int, int, int]


def _refusal(slot: _Slot, last: _Slot) -> WouldDoubleSign:
    return WouldDoubleSign(
        f"refused to sign at height {slot[0]}, round {slot[1]}, step {slot[2]}:"
        f" the record stands at {last[0]}, {last[1]}, {last[2]} with something else",
        hint="make sure that no other node runs with this key; otherwise the node goes on by itself at a later round",
    )


class SqliteSigner:
    """The record in an SQLite file, synced on every signature.

    Args:
        path: made when missing, readable by its owner only.
        chain_id, address: whose record it is; another's is refused.

    Raises:
        StateError: the file is another chain's or key's, no signer record, damaged, or in use.
    """

    def __init__(self, path: Path, *, chain_id: str, address: Address) -> None:
        self._path = path
        try:
            path.touch(mode=0o600, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0.2)
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error
        try:
            self._open(chain_id, address)
        except sqlite3.Error as error:
            self._db.close()
            raise self._unusable(error) from error
        except BaseException:
            self._db.close()
            raise

    def sign(
        self, height: int, round_: int, step: int, *, block: Hash | None, message: bytes, key: SigningKey
    ) -> bytes:
        """Record durably, then sign; the same message again gives the same signature.

        Raises:
            WouldDoubleSign: another message was signed here, or a later slot was.
            StateError: the record could not be written; nothing was signed.
        """
        slot = (height, round_, step)
        try:
            found = self._db.execute(
                "SELECT message, signature FROM signed WHERE (height, round, step) = (?, ?, ?)", slot
            ).fetchone()
            if found is not None and found[0] == message:
                return bytes(found[1])
            last = self._last()
            if last is not None and slot <= last:
                raise _refusal(slot, last)
            signature = key.sign(message)
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("DELETE FROM signed WHERE height < ?", (height,))
            self._db.execute("INSERT INTO signed VALUES (?, ?, ?, ?, ?, ?)", (*slot, block, message, signature))
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise self._unusable(error) from error
        return signature

    def signed(self, height: int) -> tuple[tuple[int, int, Hash | None, bytes], ...]:
        """(round, step, block, signature) of all that was signed at this height, in order.

        Raises:
            StateError: the record cannot be read.
        """
        try:
            rows = self._db.execute(
                "SELECT round, step, block, signature FROM signed WHERE height = ? ORDER BY round, step", (height,)
            ).fetchall()
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        return tuple((row[0], row[1], None if row[2] is None else Hash(row[2]), row[3]) for row in rows)

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    def _last(self) -> _Slot | None:
        row = self._db.execute(
            "SELECT height, round, step FROM signed ORDER BY height DESC, round DESC, step DESC LIMIT 1"
        ).fetchone()
        return None if row is None else (row[0], row[1], row[2])

    def _open(self, chain_id: str, address: Address) -> None:
        db = self._db
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        sync_fully(db)
        db.execute("BEGIN EXCLUSIVE")
        kind, version = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables == 0:
            for statement in filter(str.strip, _SCHEMA.split(";")):
                db.execute(statement)
            db.execute("INSERT INTO owner VALUES (?, ?)", (chain_id, address))
            db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {_VERSION}")
            kind, version = _APPLICATION_ID, _VERSION
        db.execute("COMMIT")
        if (kind, version) != (_APPLICATION_ID, _VERSION):
            raise StateError(
                f"{self._path} is no signer record of version {_VERSION}", hint="never replace it; check the path"
            )
        owner = db.execute("SELECT chain_id, address FROM owner").fetchone()
        if owner != (chain_id, address):
            raise StateError(
                f"{self._path} belongs to chain {owner[0]!r} and key {address_text(owner[1])},"
                f" not to {chain_id!r} and {address_text(address)}",
                hint="every chain and every key has a home folder of its own",
            )

    def _unusable(self, error: Exception) -> StateError:
        return StateError(
            f"the signer record {self._path} cannot be used: {error}",
            hint="stop any other node that uses this home folder; never replace the file by a copy",
        )


class MemorySigner:
    """The twin of `SqliteSigner` in memory; it survives simulated crashes by being kept."""

    def __init__(self) -> None:
        self._signed: dict[_Slot, tuple[Hash | None, bytes, bytes]] = {}

    def sign(
        self, height: int, round_: int, step: int, *, block: Hash | None, message: bytes, key: SigningKey
    ) -> bytes:
        slot = (height, round_, step)
        found = self._signed.get(slot)
        if found is not None and found[1] == message:
            return found[2]
        last = max(self._signed, default=None)
        if last is not None and slot <= last:
            raise _refusal(slot, last)
        self._signed = {held: value for held, value in self._signed.items() if held[0] >= height}
        self._signed[slot] = (block, message, key.sign(message))
        return self._signed[slot][2]

    def signed(self, height: int) -> tuple[tuple[int, int, Hash | None, bytes], ...]:
        found = ((slot, held) for slot, held in sorted(self._signed.items()) if slot[0] == height)
        return tuple((slot[1], slot[2], block, signature) for slot, (block, _, signature) in found)

    def close(self) -> None:
        """Nothing to release."""
