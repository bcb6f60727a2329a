"""The durable store: one SQLite file, ``chain.db`` in a node's home.

Write-ahead logging with ``synchronous=FULL``: when `SqliteStore.commit` returns, the block survives a power cut, and
readers in other processes are never blocked. Only the changed keys of the state are written. The state after the last
block is also kept as a tree in memory; on opening it is built from the file and its root compared with the last
header's, so damage shows before a node votes on top of it.

The file names its kind and version in SQLite's own header fields, so a foreign or newer file is refused before
anything in it is believed.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pdfedchain.application import Execution
from pdfedchain.codec import decode, encode
from pdfedchain.crypto import StateTree
from pdfedchain.errors import DecodeError, NotFound, StateError
from pdfedchain.ids import Hash
from pdfedchain.store.checks import check_follows, empty_store, not_empty
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.block import FINAL_BLOCK_SIZE_BYTES_MAX, FinalBlock
from pdfedchain.types.event import Event, StoredEvent
from pdfedchain.types.genesis import Genesis
from pdfedchain.types.transaction import transaction_hash

__all__ = ["SqliteStore"]

#: "PDFC" in ASCII.
_APPLICATION_ID: Final = 0x50444643
_SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE blocks (height INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, final BLOB NOT NULL);
CREATE TABLE transactions (hash BLOB PRIMARY KEY, height INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE events (
    height INTEGER NOT NULL, position INTEGER NOT NULL, kind TEXT NOT NULL, event BLOB NOT NULL,
    PRIMARY KEY (height, position)
) WITHOUT ROWID;
CREATE INDEX events_by_kind ON events (kind, height, position);
CREATE TABLE event_subjects (
    subject BLOB NOT NULL, height INTEGER NOT NULL, position INTEGER NOT NULL,
    PRIMARY KEY (subject, height, position)
) WITHOUT ROWID;
CREATE TABLE state (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""

_GENESIS_SIZE_BYTES_MAX: Final = 2**26
_AUTHORITIES_SIZE_BYTES_MAX: Final = 65_536
_EVENT_SIZE_BYTES_MAX: Final = 131_072
_PAGE_ROWS: Final = 256
_BUSY_TIMEOUT_S: Final = 5.0
_HEIGHT_MAX: Final = 2**63 - 1


class SqliteStore:
    """See `pdfedchain.store.interface.Store`."""

    def __init__(self, path: Path | str) -> None:
        """Open or create the file.

        Raises:
            StateError: it is no chain database, a newer version's, damaged, or cannot be written.
        """
        self._open(Path(path), read_only=False)

    @classmethod
    def open_read_only(cls, path: Path | str, *, check_state: bool = True) -> SqliteStore:
        """Read a file that a running node may be writing. `height` and `state` follow what it commits.

        Args:
            check_state: whether to build the tree and compare its root at once. An audit wants to read damaged files
                too and say what is wrong with them; `state` checks in any case.

        Raises:
            NotFound: there is no such file, or a node is about to write the first things into it.
            StateError: it is no chain database, a newer version's, or damaged.
        """
        if not Path(path).exists():
            raise NotFound(f"there is no chain database {path}", hint="start the node once, or name another home")
        store = cls.__new__(cls)
        store._open(Path(path), read_only=True, check_state=check_state)
        return store

    def _open(self, path: Path, *, read_only: bool, check_state: bool = True) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._tree: tuple[int, StateTree] | None = None
        target = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        try:
            self._connection = sqlite3.connect(
                target, uri=True, isolation_level=None, check_same_thread=False, timeout=_BUSY_TIMEOUT_S
            )
        except sqlite3.Error as error:
            raise StateError(f"{path} cannot be opened: {error}") from error
        try:
            with self._reporting():
                if not read_only:
                    self._prepare()
                self._check_kind()
            if check_state and self.genesis() is not None:
                self.state()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        """Write the schema into a new file; leave every other file as it is.

        A crash after the first statement leaves a file with a header and no tables, which is still a new one.
        """
        tables = self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if tables == 0 and self._pragma("application_id") == 0:
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.executescript(
                f"BEGIN IMMEDIATE; PRAGMA application_id={_APPLICATION_ID}; PRAGMA user_version={_SCHEMA_VERSION};"
                f"{_SCHEMA} COMMIT;"
            )
        self._connection.execute("PRAGMA synchronous=FULL")

    def _check_kind(self) -> None:
        kind, version = self._pragma("application_id"), self._pragma("user_version")
        if kind == 0 and self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0:
            raise NotFound(f"{self._path} is still being made", hint="try again in a moment")
        if kind != _APPLICATION_ID:
            raise StateError(f"{self._path} is not a chain database", hint="name another file, or move this one away")
        if version != _SCHEMA_VERSION:
            raise StateError(
                f"{self._path} has schema version {version}; this program reads version {_SCHEMA_VERSION}",
                hint="use the program version that wrote it",
            )

    def _pragma(self, name: str) -> int:
        value: int = self._connection.execute(f"PRAGMA {name}").fetchone()[0]
        return value

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Serialise use of the connection and turn SQLite's errors into ours."""
        with self._lock:
            try:
                yield
            except (sqlite3.Error, DecodeError) as error:
                raise StateError(
                    f"{self._path} cannot be used: {error}", hint="fetch the chain anew into an empty home"
                ) from error

    @contextmanager
    def _transaction(self, mode: str) -> Iterator[None]:
        with self._reporting():
            self._connection.execute(f"BEGIN {mode}")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _row(self, sql: str, *arguments: Any) -> Any:
        with self._reporting():
            return self._connection.execute(sql, arguments).fetchone()

    # Writing

    def initialise(self, genesis: Genesis, state: StateTree) -> None:
        with self._transaction("IMMEDIATE"):
            present = self.genesis()
            if present is not None:
                raise not_empty(present)
            self._put_meta("genesis", encode(genesis))
            self._put_meta("genesis_root", state.root)
            self._put_meta("next_authorities", encode(genesis.authorities))
            self._connection.executemany("INSERT INTO state VALUES (?, ?)", state.items())
        self._tree = (0, state)

    def commit(self, final: FinalBlock, execution: Execution) -> None:
        before = self.state()
        height = final.block.header.height
        with self._transaction("IMMEDIATE"):
            last = self.height()
            check_follows(final, execution, self.genesis(), self.final_block(last) if last else None)
            self._connection.execute("INSERT INTO blocks VALUES (?, ?, ?)", (height, final.block.hash, encode(final)))
            self._connection.executemany(
                "INSERT OR REPLACE INTO transactions VALUES (?, ?)",
                ((transaction_hash(transaction), height) for transaction in final.block.body.transactions),
            )
            self._write_events(height, execution.events)
            self._write_state(before, execution.state)
            self._put_meta("next_authorities", encode(execution.next_authorities))
        self._tree = (height, execution.state)

    def _put_meta(self, name: str, value: bytes) -> None:
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def _write_events(self, height: int, events: tuple[Event, ...]) -> None:
        self._connection.executemany(
            "INSERT INTO events VALUES (?, ?, ?, ?)",
            ((height, position, event.kind, encode(event)) for position, event in enumerate(events)),
        )
        self._connection.executemany(
            "INSERT OR IGNORE INTO event_subjects VALUES (?, ?, ?)",
            ((subject, height, position) for position, event in enumerate(events) for subject in event.subjects),
        )

    def _write_state(self, before: StateTree, after: StateTree) -> None:
        for key, value in after.changes_since(before):
            if value is None:
                self._connection.execute("DELETE FROM state WHERE key = ?", (key,))
            else:
                self._connection.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (key, value))

    # Reading

    def genesis(self) -> Genesis | None:
        with self._reporting():
            row = self._row("SELECT value FROM meta WHERE name = 'genesis'")
            return None if row is None else decode(Genesis, row[0], size_bytes_max=_GENESIS_SIZE_BYTES_MAX)

    def height(self) -> int:
        return int(self._row("SELECT coalesce(max(height), 0) FROM blocks")[0])

    def final_block(self, height: int) -> FinalBlock:
        row = self._row("SELECT final FROM blocks WHERE height = ?", min(height, _HEIGHT_MAX))
        if row is None:
            raise NotFound(f"no block of height {height} is stored; the last one is {self.height()}")
        return self._final(row[0])

    def block_by_hash(self, block: Hash) -> FinalBlock:
        row = self._row("SELECT final FROM blocks WHERE hash = ?", block)
        if row is None:
            raise NotFound(f"no block {block.hex()} is stored")
        return self._final(row[0])

    def _final(self, data: bytes) -> FinalBlock:
        with self._reporting():
            return decode(FinalBlock, data, size_bytes_max=FINAL_BLOCK_SIZE_BYTES_MAX)

    def state(self) -> StateTree:
        with self._reporting():
            if self._tree is None or self._tree[0] != self.height():
                self._tree = self._load_tree()
            return self._tree[1]

    def _load_tree(self) -> tuple[int, StateTree]:
        """Build the tree from the file, all of it as of one moment."""
        with self._transaction("DEFERRED"):
            genesis_root = self._row("SELECT value FROM meta WHERE name = 'genesis_root'")
            if genesis_root is None:
                raise empty_store()
            height = self.height()
            expected = self.final_block(height).block.header.state_root if height else genesis_root[0]
            tree = StateTree()
            for key, value in self._connection.execute("SELECT key, value FROM state"):
                tree = tree.put(key, value)
        if tree.root != expected:
            raise StateError(
                f"{self._path} is damaged: the state after block {height} has the root {tree.root.hex()},"
                f" expected {expected.hex()}",
                hint="fetch the chain anew into an empty home; the other nodes have it",
            )
        return height, tree

    def next_authorities(self) -> AuthoritySet:
        with self._reporting():
            row = self._row("SELECT value FROM meta WHERE name = 'next_authorities'")
            if row is None:
                raise empty_store()
            return decode(AuthoritySet, row[0], size_bytes_max=_AUTHORITIES_SIZE_BYTES_MAX)

    def events(
        self, *, from_height: int, to_height: int | None = None, kind: str | None = None, subject: bytes | None = None
    ) -> Iterator[StoredEvent]:
        sql, arguments = "SELECT e.height, e.position, e.event FROM ", list[Any]()
        if subject is None:
            sql += "events e WHERE "
        else:
            sql += "event_subjects s JOIN events e USING (height, position) WHERE s.subject = ? AND "
            arguments.append(subject)
        if kind is not None:
            sql += "e.kind = ? AND "
            arguments.append(kind)
        sql += "e.height <= ? AND (e.height, e.position) > (?, ?) ORDER BY e.height, e.position LIMIT ?"
        arguments.append(_HEIGHT_MAX if to_height is None else min(to_height, _HEIGHT_MAX))
        height, position = from_height, -1
        while True:
            with self._reporting():
                page = self._connection.execute(sql, (*arguments, height, position, _PAGE_ROWS)).fetchall()
                stored = [StoredEvent(row[0], row[1], self._event(row[2])) for row in page]
            yield from stored
            if len(page) < _PAGE_ROWS:
                return
            height, position = page[-1][:2]

    def _event(self, data: bytes) -> Event:
        return decode(Event, data, size_bytes_max=_EVENT_SIZE_BYTES_MAX)

    def transaction_height(self, transaction: Hash) -> int | None:
        row = self._row("SELECT height FROM transactions WHERE hash = ?", transaction)
        return None if row is None else int(row[0])

    def state_value(self, key: bytes) -> bytes | None:
        row = self._row("SELECT value FROM state WHERE key = ?", key)
        return None if row is None else bytes(row[0])

    def state_items(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        after, sql = None, "SELECT key, value FROM state WHERE key >= ? ORDER BY key LIMIT ?"
        while True:
            with self._reporting():
                page = self._connection.execute(sql, (prefix if after is None else after, _PAGE_ROWS)).fetchall()
            for key, value in page:
                if not key.startswith(prefix):
                    return
                yield key, value
            if len(page) < _PAGE_ROWS:
                return
            after = page[-1][0] + b"\x00"  # the next key in order of bytes

    def close(self) -> None:
        with self._lock:
            self._connection.close()
