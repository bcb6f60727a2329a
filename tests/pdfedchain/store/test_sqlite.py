"""What only the file can get wrong: damage, foreign files, crashes, other readers."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

from pdfedchain.crypto import StateTree
from pdfedchain.errors import NotFound, StateError
from pdfedchain.ids import Hash
from pdfedchain.store.sqlite import SqliteStore
from pdfedchain.types.transaction import transaction_hash
from tests.pdfedchain.chain_world import Maker


def filled(path: Path, blocks: int = 3) -> Maker:
    maker = Maker.start()
    store = SqliteStore(path)
    store.initialise(maker.genesis, maker.position.state)
    for i in range(blocks):
        store.commit(*maker.advance(b"key%d=value" % i))
    store.close()
    return maker


def edit(path: Path, statement: str, *arguments: object) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(statement, arguments)
    connection.close()


def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    maker = filled(tmp_path / "chain.db")
    store = SqliteStore(tmp_path / "chain.db")
    assert (store.genesis(), store.height()) == (maker.genesis, 3)
    assert store.state().root == maker.position.state.root
    assert store.next_authorities() == maker.position.authorities
    store.commit(*maker.advance(b"more=1"))
    assert store.height() == 4
    store.close()


def test_the_state_is_put_together_in_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maker = filled(tmp_path / "chain.db", blocks=40)
    sizes: list[int] = []
    update = StateTree.update

    def counted(tree: StateTree, changes: Mapping[bytes, bytes | None]) -> StateTree:
        sizes.append(len(changes))
        return update(tree, changes)

    monkeypatch.setattr(StateTree, "update", counted)
    store = SqliteStore(tmp_path / "chain.db")
    assert store.state().root == maker.position.state.root
    assert sizes == [len(dict(maker.position.state.items()))]
    store.close()


def test_a_file_made_but_not_filled_is_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "chain.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    filled(path)
    (tmp_path / "empty.db").touch()
    filled(tmp_path / "empty.db")


def test_foreign_newer_and_damaged_files_are_refused_in_a_sentence(tmp_path: Path) -> None:
    text = tmp_path / "text.db"
    text.write_text("this is not a database, but it is long enough to be looked at as if it were one" * 20)
    foreign = tmp_path / "foreign.db"
    edit(foreign, "CREATE TABLE t (x)")
    newer = tmp_path / "newer.db"
    filled(newer)
    edit(newer, "PRAGMA user_version=4")
    for path, message in ((text, "not a database"), (foreign, "not a chain database"), (newer, "schema version 4")):
        before = path.read_bytes()
        for opened in (SqliteStore, SqliteStore.open_read_only):
            with pytest.raises(StateError, match=message):
                opened(path)
        assert path.read_bytes() == before


def test_a_folder_or_a_missing_folder_cannot_be_opened(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing" / "chain.db"):
        with pytest.raises(StateError, match="cannot be opened"):
            SqliteStore(path)
    with pytest.raises(NotFound, match="no chain database"):
        SqliteStore.open_read_only(tmp_path / "chain.db")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE state SET value = x'00' WHERE key = CAST('key1' AS BLOB)",
        "DELETE FROM state WHERE key = CAST('key1' AS BLOB)",
        "INSERT INTO state VALUES (x'00', x'00')",
        "UPDATE meta SET value = zeroblob(32) WHERE name = 'genesis'",
        "DELETE FROM light_blocks WHERE height = 3",
        "UPDATE light_blocks SET light = x'90' WHERE height = 3",
        "DROP TABLE state",
    ],
)
def test_a_changed_state_is_noticed_on_opening(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "chain.db"
    filled(path)
    edit(path, statement)
    for opened in (SqliteStore, SqliteStore.open_read_only):
        with pytest.raises(StateError):
            opened(path)


def test_damage_is_named_with_block_and_roots(tmp_path: Path) -> None:
    path = tmp_path / "chain.db"
    maker = filled(path)
    edit(path, "DELETE FROM state WHERE key = CAST('key1' AS BLOB)")
    with pytest.raises(StateError, match=f"after block 3 has the root .* expected {maker.position.state.root.hex()}"):
        SqliteStore(path)


def test_overwritten_pages_are_an_error_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "chain.db"
    filled(path, blocks=40)
    data = bytearray(path.read_bytes())
    for start in range(4_096, len(data), 4_096):
        data[start : start + 64] = os.urandom(64)
    path.write_bytes(data)
    with pytest.raises(StateError, match=r"chain\.db"):
        SqliteStore(path)


def test_a_reader_follows_a_running_writer_and_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "chain.db"
    maker = Maker.start()
    writer = SqliteStore(path)
    early = SqliteStore.open_read_only(path)
    assert early.genesis() is None
    writer.initialise(maker.genesis, maker.position.state)
    reader = SqliteStore.open_read_only(path)
    for i in range(3):
        writer.commit(*maker.advance(b"key%d=value" % i))
        for follower in (early, reader):
            assert follower.height() == i + 1
            assert follower.state().root == maker.position.state.root
            assert follower.state_value(b"key%d" % i) == b"value"
    with pytest.raises(StateError, match="readonly"):
        reader.commit(*maker.advance(b"x=1"))
    with pytest.raises(StateError):
        reader.initialise(maker.genesis, maker.position.state)
    for store in (reader, early, writer):
        store.close()


def test_a_second_writer_cannot_tear_the_chain(tmp_path: Path) -> None:
    path = tmp_path / "chain.db"
    maker = Maker.start()
    one = SqliteStore(path)
    one.initialise(maker.genesis, maker.position.state)
    two = SqliteStore(path)
    first = maker.advance(b"a=1")
    one.commit(*first)
    with pytest.raises(StateError, match="does not follow"):
        two.commit(*first)
    two.commit(*maker.advance(b"b=2"))
    assert one.state().root == two.state().root == maker.position.state.root
    one.close()
    two.close()


def test_a_failed_write_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "chain.db"
    filled(path)
    store = SqliteStore(path)
    edit(path, "CREATE TRIGGER full BEFORE UPDATE ON meta BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    edit(path, "CREATE TRIGGER full2 BEFORE INSERT ON meta BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    maker = Maker.start()
    for i in range(3):
        maker.advance(b"key%d=value" % i)
    final, execution = maker.next(b"a=1")
    with pytest.raises(StateError, match="disk full"):
        store.commit(final, execution)
    assert (store.height(), store.state_value(b"a")) == (3, None)
    edit(path, "DROP TRIGGER full")
    edit(path, "DROP TRIGGER full2")
    store.commit(final, execution)
    assert (store.height(), store.state_value(b"a")) == (4, b"1")
    store.close()


def test_a_batch_that_cannot_be_written_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "chain.db"
    filled(path)
    store = SqliteStore(path)
    edit(path, "CREATE TRIGGER full BEFORE INSERT ON bodies WHEN NEW.height = 5 BEGIN SELECT RAISE(ABORT, 'full'); END")
    maker = Maker.start()
    for i in range(3):
        maker.advance(b"key%d=value" % i)
    blocks = [maker.advance(b"a=%d" % i) for i in range(3)]

    def commit_all(*, look: bool) -> None:
        with store.batch():
            for final, execution in blocks:
                store.commit(final, execution)
                assert store.height() == final.block.header.height
                if look:
                    assert store.state_value(b"a") is not None

    for look in (False, True):
        with pytest.raises(StateError, match="full"):
            commit_all(look=look)
        assert (store.height(), store.state_value(b"a"), store.transaction_height(transaction_hash(b"a=0"))) == (
            3,
            None,
            None,
        )
        assert list(store.events(from_height=4)) == []
    edit(path, "DROP TRIGGER full")
    commit_all(look=False)
    assert (store.height(), store.state().root) == (6, maker.position.state.root)
    store.close()


def test_a_batch_that_has_failed_takes_no_more(tmp_path: Path) -> None:
    path = tmp_path / "chain.db"
    filled(path)
    store = SqliteStore(path)
    edit(path, "CREATE TRIGGER full BEFORE INSERT ON bodies BEGIN SELECT RAISE(ABORT, 'full'); END")
    maker = Maker.start()
    for i in range(3):
        maker.advance(b"key%d=value" % i)
    block = maker.advance(b"a=1")

    def go_on_regardless() -> None:
        with store.batch():
            store.commit(*block)
            with pytest.raises(StateError, match="full"):
                store.transaction_height(transaction_hash(b"a=1"))
            with pytest.raises(StateError, match="could not be written"):
                store.commit(*block)

    with pytest.raises(StateError, match="could not be written"):
        go_on_regardless()
    edit(path, "DROP TRIGGER full")
    assert store.height() == 3
    store.commit(*block)
    assert (store.height(), store.state_value(b"a")) == (4, b"1")
    store.close()


def test_a_transaction_is_found_although_another_hash_begins_alike(tmp_path: Path) -> None:
    path = tmp_path / "chain.db"
    filled(path)
    name = transaction_hash(b"key0=value")
    prefix = int.from_bytes(name[:8], "big", signed=True)
    edit(path, "INSERT INTO transactions VALUES (?, 3)", prefix)
    store = SqliteStore(path)
    assert store.transaction_height(name) == 1
    assert store.transaction_height(Hash(name[:8] + bytes(24))) is None
    store.close()


def test_a_killed_writer_leaves_whole_blocks(tmp_path: Path) -> None:
    path = tmp_path / "chain.db"
    script = textwrap.dedent(
        """
        import sys
        from pdfedchain.store.sqlite import SqliteStore
        from tests.pdfedchain.chain_world import Maker
        maker = Maker.start()
        store = SqliteStore(sys.argv[1])
        store.initialise(maker.genesis, maker.position.state)
        while True:
            store.commit(*maker.advance(*[b"key%d=%d" % (i, maker.position.height) for i in range(50)]))
            print(store.height(), flush=True)
        """
    )
    root = Path(__file__).parents[3]
    process = subprocess.Popen([sys.executable, "-c", script, str(path)], cwd=root, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    seen = 0
    for line in process.stdout:
        seen = int(line)
        if seen == 7:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    store = SqliteStore(path)
    height = store.height()
    assert height >= seen
    assert store.state_value(b"key0") == b"%d" % height
    assert len(list(store.events(from_height=height))) == 50
    store.close()
