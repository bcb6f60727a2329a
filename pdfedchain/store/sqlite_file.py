"""One SQLite file that names its kind and version: opening, locking, transactions, and errors in our words.

What lies in it is `pdfedchain.store.sqlite`'s.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pdfedchain.errors import DecodeError, NotFound, StateError
from pdfedchain.store.durable import sync_fully
from pdfedchain.store.schema import SCHEMA, SCHEMA_VERSION

__all__ = ["SqliteFile"]

#: "PDFC" in ASCII.
_APPLICATION_ID: Final = 0x50444643

_BUSY_TIMEOUT_S: Final = 5.0

#: Pages kept by the writing connection. A full block touches pages all over the indices; SQLite's own 2 MB are too few.
_CACHE_SIZE_KIB: Final = 65_536

#: Pages in the write-ahead log before it is copied back into the file: one written by many blocks is copied once.
_LOG_PAGES: Final = 8_192


class SqliteFile:
    """A connection to one file, used by one caller at a time."""

    def _open_file(self, path: Path, *, read_only: bool) -> None:
        self._path = path
        self._lock = threading.RLock()
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
                f"BEGIN IMMEDIATE; PRAGMA application_id={_APPLICATION_ID}; PRAGMA user_version={SCHEMA_VERSION};"
                f"{SCHEMA} COMMIT;"
            )
        sync_fully(self._connection)
        self._connection.execute(f"PRAGMA cache_size={-_CACHE_SIZE_KIB}")
        self._connection.execute(f"PRAGMA wal_autocheckpoint={_LOG_PAGES}")

    def _check_kind(self) -> None:
        kind, version = self._pragma("application_id"), self._pragma("user_version")
        if kind == 0 and self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0:
            raise NotFound(f"{self._path} is still being made", hint="try again in a moment")
        if kind != _APPLICATION_ID:
            raise StateError(f"{self._path} is not a chain database", hint="name another file, or move this one away")
        if version != SCHEMA_VERSION:
            raise StateError(
                f"{self._path} has schema version {version}; this program reads version {SCHEMA_VERSION}",
                hint="use the program version that wrote it, or fetch the chain anew into an empty home",
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
        """All or nothing; inside a transaction a part of it."""
        with self._reporting():
            inner = self._connection.in_transaction
            self._connection.execute("SAVEPOINT part" if inner else f"BEGIN {mode}")
            try:
                yield
                self._connection.execute("RELEASE part" if inner else "COMMIT")
            except BaseException:
                # Some errors of SQLite have ended the transaction already.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK TO part" if inner else "ROLLBACK")
                    if inner:
                        self._connection.execute("RELEASE part")
                raise

    def _settle(self) -> None:
        """Write what waits to be written, since somebody is about to read."""

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """`_reporting`, and nothing waits to be written."""
        with self._reporting():
            self._settle()
            yield

    def _row(self, sql: str, *arguments: Any) -> Any:
        with self._reading():
            return self._connection.execute(sql, arguments).fetchone()

    def _rows(self, sql: str, arguments: tuple[Any, ...] | dict[str, Any]) -> list[Any]:
        with self._reading():
            return self._connection.execute(sql, arguments).fetchall()
