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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pdfedchain.application import Execution
from pdfedchain.codec import decode, encode
from pdfedchain.crypto import StateTree
from pdfedchain.errors import NotFound, StateError
from pdfedchain.ids import Hash
from pdfedchain.limits import BLOCK_SIZE_BYTES_MAX, LIGHT_BLOCK_SIZE_BYTES_MAX
from pdfedchain.store.checks import (
    check_follows,
    check_restored,
    empty_store,
    light_block_of,
    not_empty,
    not_here,
)
from pdfedchain.store.sqlite_file import SqliteFile
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.block import Block, BlockBody, FinalBlock
from pdfedchain.types.event import Event, StoredEvent, StoredTransaction
from pdfedchain.types.genesis import Genesis
from pdfedchain.types.light import LightBlock
from pdfedchain.types.transaction import transaction_hash

__all__ = ["SqliteStore"]

_GENESIS_SIZE_BYTES_MAX: Final = 2**26
_AUTHORITIES_SIZE_BYTES_MAX: Final = 65_536
_EVENT_SIZE_BYTES_MAX: Final = 131_072
_PAGE_ROWS: Final = 256
_HEIGHT_MAX: Final = 2**63 - 1


class SqliteStore(SqliteFile):
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
        self._tree: tuple[int, StateTree] | None = None
        self._genesis: Genesis | None = None
        self._last: tuple[LightBlock, AuthoritySet] | None = None
        self._open_file(path, read_only=read_only)
        try:
            if check_state and self.genesis() is not None:
                self.state()
        except BaseException:
            self._connection.close()
            raise

    # Writing

    def initialise(self, genesis: Genesis, state: StateTree) -> None:
        with self._transaction("IMMEDIATE"):
            present = self.genesis()
            if present is not None:
                raise not_empty(present)
            self._begin(genesis, state, genesis.authorities)
        self._tree = (0, state)

    def restore(
        self,
        genesis: Genesis,
        handovers: Sequence[LightBlock],
        last: LightBlock,
        state: StateTree,
        authorities: AuthoritySet,
    ) -> None:
        with self._transaction("IMMEDIATE"):
            check_restored(self.genesis(), last, state, authorities)
            for block in (*handovers, last):
                self._write_light(block)
            self._begin(genesis, state, authorities)
            self._put_height("headers_from", last.header.height)
            self._put_height("events_from", last.header.height + 1)
        self._tree = (last.header.height, state)

    def _begin(self, genesis: Genesis, state: StateTree, authorities: AuthoritySet) -> None:
        self._put_meta("genesis", encode(genesis))
        self._put_meta("first_root", state.root)
        self._put_meta("next_authorities", encode(authorities))
        self._connection.executemany("INSERT INTO state VALUES (?, ?)", state.items())

    def commit(self, final: FinalBlock, execution: Execution) -> None:
        before = self.state()
        height, body = final.block.header.height, final.block.body
        with self._transaction("IMMEDIATE"):
            last, authorities = self._newest()
            check_follows(final, execution, self.genesis(), last)
            light = light_block_of(final, execution)
            self._write_light(light)
            self._connection.execute("INSERT INTO bodies VALUES (?, ?)", (height, body.encoded))
            self._write_transactions(height, body, execution.transaction_subjects)
            self._write_events(height, execution.events)
            self._write_state(before, execution.state)
            if execution.next_authorities is not authorities:
                self._put_meta("next_authorities", encode(execution.next_authorities))
        self._tree, self._last = (height, execution.state), (light, execution.next_authorities)

    def _newest(self) -> tuple[LightBlock | None, AuthoritySet | None]:
        """The last block, and the set that votes on the next one if it is known without reading it."""
        height = self.height()
        if self._last is not None and self._last[0].header.height == height:
            return self._last
        return (self.light_block(height) if height else None), None

    @contextmanager
    def batch(self) -> Iterator[None]:
        with self._reporting():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            finally:
                try:
                    self._connection.execute("COMMIT")
                except sqlite3.Error:
                    # What was committed in the batch is not in the file.
                    self._tree = self._last = None
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise

    def _put_meta(self, name: str, value: bytes) -> None:
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def _put_height(self, name: str, height: int) -> None:
        self._put_meta(name, height.to_bytes(8, "big"))

    def _write_light(self, block: LightBlock) -> None:
        height = block.header.height
        self._connection.execute("INSERT INTO light_blocks VALUES (?, ?, ?)", (height, block.hash, encode(block)))
        if block.is_handover:
            self._connection.execute("INSERT INTO handovers VALUES (?)", (height,))

    # Rows are written in the order of their keys, so that neighbours are found in one page.

    def _write_transactions(self, height: int, body: BlockBody, subjects: tuple[tuple[bytes, ...], ...]) -> None:
        hashes = [transaction_hash(transaction) for transaction in body.transactions]
        self._connection.executemany(
            "INSERT OR REPLACE INTO transactions VALUES (?, ?)", [(each, height) for each in sorted(hashes)]
        )
        self._connection.executemany(
            "INSERT OR IGNORE INTO transaction_subjects VALUES (?, ?, ?, ?)",
            sorted(
                (subject, height, position, hashes[position])
                for position, about in enumerate(subjects)
                for subject in about
            ),
        )

    def prune(self, *, below_height: int, events: bool = False) -> int:
        with self._transaction("IMMEDIATE"):
            below = min(below_height, self.height())
            pruned = self._connection.execute("DELETE FROM bodies WHERE height < ?", (below,)).rowcount
            if events:
                self._connection.execute("DELETE FROM events WHERE height < ?", (below,))
                self._connection.execute("DELETE FROM event_subjects WHERE height < ?", (below,))
                if below > self.events_from():
                    self._put_height("events_from", below)
        return pruned

    def _write_events(self, height: int, events: tuple[Event, ...]) -> None:
        self._connection.executemany(
            "INSERT INTO events VALUES (?, ?, ?, ?)",
            ((height, position, event.kind, encode(event)) for position, event in enumerate(events)),
        )
        self._connection.executemany(
            "INSERT OR IGNORE INTO event_subjects VALUES (?, ?, ?)",
            sorted((subject, height, position) for position, event in enumerate(events) for subject in event.subjects),
        )

    def _write_state(self, before: StateTree, after: StateTree) -> None:
        changes = sorted(after.changes_since(before))
        self._connection.executemany(
            "DELETE FROM state WHERE key = ?", [(key,) for key, value in changes if value is None]
        )
        self._connection.executemany(
            "INSERT OR REPLACE INTO state VALUES (?, ?)", [change for change in changes if change[1] is not None]
        )

    # Reading

    def genesis(self) -> Genesis | None:
        # It may list 100,000 accounts, never changes, and is looked at with every block.
        if self._genesis is None:
            with self._reporting():
                row = self._row("SELECT value FROM meta WHERE name = 'genesis'")
                if row is not None:
                    self._genesis = decode(Genesis, row[0], size_bytes_max=_GENESIS_SIZE_BYTES_MAX)
        return self._genesis

    def height(self) -> int:
        return int(self._row("SELECT coalesce(max(height), 0) FROM light_blocks")[0])

    def final_block(self, height: int) -> FinalBlock:
        row = self._row(
            "SELECT light, body FROM bodies JOIN light_blocks USING (height) WHERE height = ?", min(height, _HEIGHT_MAX)
        )
        if row is None:
            raise not_here("block", height, kept_from=self.bodies_from(), last=self.height())
        with self._reporting():
            light = self._light(row[0])
            body = decode(BlockBody, row[1], size_bytes_max=BLOCK_SIZE_BYTES_MAX)
        return FinalBlock(Block(light.header, body), light.certificate)

    def block_by_hash(self, block: Hash) -> FinalBlock:
        row = self._row("SELECT height FROM light_blocks WHERE hash = ?", block)
        if row is None:
            raise NotFound(f"no block {block.hex()} is stored")
        return self.final_block(row[0])

    def light_block(self, height: int) -> LightBlock:
        row = self._row("SELECT light FROM light_blocks WHERE height = ?", min(height, _HEIGHT_MAX))
        if row is None:
            raise not_here("header", height, kept_from=self.headers_from(), last=self.height())
        with self._reporting():
            return self._light(row[0])

    def handovers(self, *, from_height: int = 1, to_height: int | None = None) -> Iterator[LightBlock]:
        sql = (
            "SELECT light, height FROM handovers JOIN light_blocks USING (height)"
            " WHERE height BETWEEN ? AND ? ORDER BY height LIMIT ?"
        )
        last = _HEIGHT_MAX if to_height is None else min(to_height, _HEIGHT_MAX)
        while True:
            with self._reporting():
                page = self._connection.execute(sql, (from_height, last, _PAGE_ROWS)).fetchall()
                blocks = [self._light(row[0]) for row in page]
            yield from blocks
            if len(page) < _PAGE_ROWS:
                return
            from_height = page[-1][1] + 1

    def headers_from(self) -> int:
        return self._height_named("headers_from")

    def events_from(self) -> int:
        return self._height_named("events_from")

    def _height_named(self, name: str) -> int:
        row = self._row("SELECT value FROM meta WHERE name = ?", name)
        return 1 if row is None else int.from_bytes(row[0], "big")

    def bodies_from(self) -> int:
        row = self._row("SELECT (SELECT min(height) FROM bodies), (SELECT max(height) FROM light_blocks)")
        return int(row[0] if row[0] is not None else (row[1] or 0) + 1)

    def _light(self, data: bytes) -> LightBlock:
        return decode(LightBlock, data, size_bytes_max=LIGHT_BLOCK_SIZE_BYTES_MAX)

    def state(self) -> StateTree:
        with self._reporting():
            if self._tree is None or self._tree[0] != self.height():
                self._tree = self._load_tree()
            return self._tree[1]

    def _load_tree(self) -> tuple[int, StateTree]:
        """Build the tree from the file, all of it as of one moment."""
        with self._transaction("DEFERRED"):
            first_root = self._row("SELECT value FROM meta WHERE name = 'first_root'")
            if first_root is None:
                raise empty_store()
            height = self.height()
            expected = self.light_block(height).header.state_root if height else first_root[0]
            tree = StateTree().update(dict(self._connection.execute("SELECT key, value FROM state")))
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

    def transactions_about(
        self, subject: bytes, *, from_height: int = 1, to_height: int | None = None
    ) -> Iterator[StoredTransaction]:
        sql = (
            "SELECT height, position, hash FROM transaction_subjects WHERE subject = ? AND height <= ?"
            " AND (height, position) > (?, ?) ORDER BY height, position LIMIT ?"
        )
        last = _HEIGHT_MAX if to_height is None else min(to_height, _HEIGHT_MAX)
        height, position = from_height, -1
        while True:
            with self._reporting():
                page = self._connection.execute(sql, (subject, last, height, position, _PAGE_ROWS)).fetchall()
            yield from (StoredTransaction(row[0], row[1], Hash(row[2])) for row in page)
            if len(page) < _PAGE_ROWS:
                return
            height, position = page[-1][:2]

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
