"""The durable store: one SQLite file, ``chain.db`` in a node's home.

Write-ahead logging with ``synchronous=FULL``: when `SqliteStore.commit` returns, the block survives a power cut, and
readers in other processes are never blocked. Only the changed keys of the state are written. The state after the last
block is also kept as a tree in memory; on opening it is built from the file and its root compared with the last
header's, so damage shows before a node votes on top of it.

The file names its kind and version in SQLite's own header fields, so a foreign or newer file is refused before
anything in it is believed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

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
from pdfedchain.store.rows import (
    BlockRows,
    hash_prefix,
    unpack_events,
    unpack_hashes,
    unpack_positions,
    write_light,
)
from pdfedchain.store.schema import EVENTS, EVENTS_ABOUT, EVENTS_OF_KIND, FORGET_EVENTS, TRANSACTIONS_ABOUT
from pdfedchain.store.sqlite_file import SqliteFile
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.block import Block, BlockBody, FinalBlock
from pdfedchain.types.event import Event, StoredEvent, StoredTransaction
from pdfedchain.types.genesis import Genesis
from pdfedchain.types.light import LightBlock

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
        #: Blocks of a batch that are not written yet; outside a batch there are none.
        self._batch: BlockRows | None = None
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
                write_light(self._connection, block)
            self._begin(genesis, state, authorities)
            self._put_height("headers_from", last.header.height)
            self._put_height("events_from", last.header.height + 1)
        self._tree = (last.header.height, state)

    def _begin(self, genesis: Genesis, state: StateTree, authorities: AuthoritySet) -> None:
        self._put_meta("genesis", encode(genesis))
        self._put_meta("first_root", state.root)
        self._put_meta("next_authorities", encode(authorities))
        self._connection.executemany("INSERT INTO state VALUES (?, ?)", state.items())

    def _put_meta(self, name: str, value: bytes) -> None:
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def _put_height(self, name: str, height: int) -> None:
        self._put_meta(name, height.to_bytes(8, "big"))

    def commit(self, final: FinalBlock, execution: Execution) -> None:
        with self._reporting():
            if self._batch is not None:
                self._check_batch()
                self._add(self._batch, final, execution)
                if self._batch.is_full:
                    self._settle()
                return
            rows, tree, last = BlockRows(), self._tree, self._last
            try:
                with self._transaction("IMMEDIATE"):
                    self._add(rows, final, execution)
                    rows.write(self._connection)
            except BaseException:
                self._tree, self._last = tree, last
                raise

    def _add(self, rows: BlockRows, final: FinalBlock, execution: Execution) -> None:
        before, height, written = self.state(), self.height(), None
        if self._last is not None and self._last[0].header.height == height:
            written = self._last[1]
        check_follows(final, execution, self.genesis(), self.light_block(height) if height else None)
        light = light_block_of(final, execution)
        rows.add(light, final.block.body, execution, before=before, authorities=written)
        self._tree, self._last = (light.header.height, execution.state), (light, execution.next_authorities)

    @contextmanager
    def batch(self) -> Iterator[None]:
        with self._reporting():
            self._connection.execute("BEGIN IMMEDIATE")
            self._batch = BlockRows()
            try:
                yield
                self._check_batch()
            finally:
                try:
                    if self._connection.in_transaction:
                        self._settle()
                        self._connection.execute("COMMIT")
                except BaseException:
                    self._give_up()
                    raise
                finally:
                    self._batch = None

    def _check_batch(self) -> None:
        if not self._connection.in_transaction:
            raise StateError(f"{self._path}: what this batch committed before could not be written")

    def _settle(self) -> None:
        """Write what the batch has gathered, or give up all of the batch."""
        if self._batch:
            rows, self._batch = self._batch, BlockRows()
            try:
                rows.write(self._connection)
            except BaseException:
                self._give_up()
                raise

    def _give_up(self) -> None:
        """Nothing that was committed in the batch is in the file."""
        self._tree = self._last = None
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def prune(self, *, below_height: int, events: bool = False) -> int:
        with self._reading(), self._transaction("IMMEDIATE"):
            below = min(below_height, self.height())
            pruned = self._connection.execute("DELETE FROM bodies WHERE height < ?", (below,)).rowcount
            if events:
                for statement in FORGET_EVENTS:
                    self._connection.execute(statement, (below,))
                if below > self.events_from():
                    self._put_height("events_from", below)
        return pruned

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
        if self._batch and self._last is not None:
            return self._last[0].header.height
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
        last = self._last
        if last is not None and last[0].header.height == height:
            return last[0]
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
            with self._reading():
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
        if subject is not None:
            places = self._places(EVENTS_ABOUT, subject, from_height, to_height)
        elif kind is not None:
            places = self._places(EVENTS_OF_KIND, kind, from_height, to_height)
        else:
            places = self._places(EVENTS, None, from_height, to_height)
        for height, packed in places:
            with self._reading():
                row = self._row("SELECT events FROM events WHERE height = ?", height)
                # Pruned meanwhile, there is none.
                encoded = [] if row is None else unpack_events(row[0])
                positions = range(len(encoded)) if packed is None else unpack_positions(packed, len(encoded))
                stored = [StoredEvent(height, position, self._event(encoded[position])) for position in positions]
            yield from (each for each in stored if kind is None or each.event.kind == kind)

    def _event(self, data: bytes) -> Event:
        return decode(Event, data, size_bytes_max=_EVENT_SIZE_BYTES_MAX)

    def _places(
        self, sql: str, key: object, from_height: int, to_height: int | None
    ) -> Iterator[tuple[int, bytes | None]]:
        """Heights and packed positions, page by page."""
        last = _HEIGHT_MAX if to_height is None else min(to_height, _HEIGHT_MAX)
        while True:
            page = self._rows(sql, {"key": key, "from": from_height, "to": last, "limit": _PAGE_ROWS})
            yield from page
            if len(page) < _PAGE_ROWS:
                return
            from_height = page[-1][0] + 1

    def transaction_height(self, transaction: Hash) -> int | None:
        sql = "SELECT height FROM transactions WHERE hash_prefix = ? ORDER BY height DESC"
        for (height,) in self._rows(sql, (hash_prefix(transaction),)):
            if transaction in self._hashes(height):
                return int(height)
        return None

    def _hashes(self, height: int) -> Sequence[Hash]:
        """Of the transactions of a block."""
        row = self._row("SELECT hashes FROM transaction_hashes WHERE height = ?", height)
        return () if row is None else unpack_hashes(row[0])

    def transactions_about(
        self, subject: bytes, *, from_height: int = 1, to_height: int | None = None
    ) -> Iterator[StoredTransaction]:
        for height, packed in self._places(TRANSACTIONS_ABOUT, subject, from_height, to_height):
            with self._reading():
                hashes = self._hashes(height)
                positions = unpack_positions(packed or b"", len(hashes))
            yield from (StoredTransaction(height, position, hashes[position]) for position in positions)

    def state_value(self, key: bytes) -> bytes | None:
        row = self._row("SELECT value FROM state WHERE key = ?", key)
        return None if row is None else bytes(row[0])

    def state_items(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        after, sql = None, "SELECT key, value FROM state WHERE key >= ? ORDER BY key LIMIT ?"
        while True:
            page = self._rows(sql, (prefix if after is None else after, _PAGE_ROWS))
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
