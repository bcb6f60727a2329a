"""The write-ahead log: order, torn tails, foreign files, failing disks; and its twin in memory."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdfedchain.errors import StateError
from pdfedchain.store.wal import FileLog, MemoryLog

Reopen = Callable[[], FileLog | MemoryLog]


@pytest.fixture(params=["file", "memory"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Reopen:
    """Opens the same log again and again, as after an orderly restart."""
    memory = MemoryLog()
    return (lambda: FileLog(tmp_path / "consensus.wal")) if request.param == "file" else (lambda: memory)


def write(path: Path, height: int, *entries: bytes) -> None:
    log = FileLog(path)
    log.begin(height)
    for entry in entries:
        log.append(entry)
    log.sync()
    log.close()


def read(path: Path) -> tuple[int | None, tuple[bytes, ...]]:
    log = FileLog(path)
    log.close()
    return log.height, log.entries()


def test_a_new_log_belongs_to_no_height(reopen: Reopen) -> None:
    log = reopen()
    assert (log.height, log.entries()) == (None, ())
    log.close()


def test_entries_come_back_in_order(reopen: Reopen) -> None:
    log = reopen()
    log.begin(7)
    for entry in (b"one", b"", b"three"):
        log.append(entry)
    log.sync()
    log.close()
    again = reopen()
    assert (again.height, again.entries()) == (7, (b"one", b"", b"three"))
    again.append(b"four")
    again.close()
    assert reopen().entries() == (b"one", b"", b"three", b"four")


def test_a_new_height_forgets_the_old_one(reopen: Reopen) -> None:
    log = reopen()
    log.begin(7)
    log.append(b"long" * 100)
    log.begin(8)
    log.append(b"short")
    log.close()
    again = reopen()
    assert (again.height, again.entries()) == (8, (b"short",))
    again.close()


def test_the_memory_twin_loses_what_was_not_synced() -> None:
    log = MemoryLog()
    log.begin(1)
    log.append(b"a")
    log.sync()
    log.append(b"b")
    log.append(b"c")
    log.crash(kept=1)
    assert log.entries() == (b"a", b"b")
    log.begin(2)
    log.append(b"d")
    log.crash()
    assert (log.height, log.entries()) == (1, (b"a", b"b"))


@settings(max_examples=40)
@given(cut=st.integers(min_value=0, max_value=200))
def test_a_log_cut_anywhere_yields_a_prefix_and_can_be_continued(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("wal") / "consensus.wal"
    entries = (b"first", b"second entry", b"x" * 40)
    write(path, 3, *entries)
    data = path.read_bytes()
    path.write_bytes(data[:cut])
    log = FileLog(path)
    count = len(log.entries())
    assert log.entries() == entries[:count]
    assert (count == len(entries)) == (cut >= len(data))
    if log.height is None:
        log.begin(4)
    log.append(b"more")
    log.close()
    assert read(path)[1] == (*entries[:count], b"more")


@settings(max_examples=40)
@given(at=st.integers(min_value=0, max_value=104), bit=st.integers(min_value=0, max_value=7))
def test_a_flipped_bit_never_yields_a_changed_entry(
    at: int, bit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("wal") / "consensus.wal"
    entries = (b"first", b"second entry", b"x" * 40)
    write(path, 3, *entries)
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1 << bit
    path.write_bytes(bytes(data))
    if at % len(data) < 8:
        with pytest.raises(StateError, match="no"):
            FileLog(path)
        return
    height, found = read(path)
    assert height in (3, None)
    assert found == entries[: len(found)]
    assert len(found) < len(entries)


def test_the_torn_part_is_cut_off_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "consensus.wal"
    write(path, 3, b"sound")
    size_bytes = path.stat().st_size
    path.write_bytes(path.read_bytes() + b"\x00\x00\x00\x05torn")
    log = FileLog(path)
    log.close()
    assert (log.entries(), log.torn_size_bytes, path.stat().st_size) == ((b"sound",), 8, size_bytes)


def test_what_is_left_of_a_longer_old_file_is_no_continuation(tmp_path: Path) -> None:
    path = tmp_path / "consensus.wal"
    write(path, 3, b"aaaa", b"bbbb", b"cccc")
    old = path.read_bytes()
    write(path, 4, b"dddd")
    new = path.read_bytes()
    path.write_bytes(new + old[len(new) :])
    assert read(path) == (4, (b"dddd",))


def test_a_foreign_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "consensus.wal"
    path.write_bytes(b"SQLite format 3\x00")
    with pytest.raises(StateError, match="is not a consensus log"):
        FileLog(path)
    assert path.read_bytes() == b"SQLite format 3\x00"


def test_a_folder_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot open the consensus log"):
        FileLog(tmp_path / "missing" / "consensus.wal")


@pytest.mark.parametrize("failing", ["write", "fsync", "ftruncate"])
def test_a_failing_disk_is_final(failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = FileLog(tmp_path / "consensus.wal")
    log.begin(1)
    log.append(b"before")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, failing, refuse)
    calls = {"ftruncate": lambda: log.begin(2), "write": lambda: log.append(b"x"), "fsync": log.sync}
    with pytest.raises(StateError, match="No space left on device"):
        calls[failing]()
    monkeypatch.undo()
    for call in (lambda: log.append(b"y"), log.sync, lambda: log.begin(2)):
        with pytest.raises(StateError, match="has failed before"):
            call()
    log.close()


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    FileLog(tmp_path / "consensus.wal").close()
    assert (tmp_path / "consensus.wal").stat().st_mode & 0o777 == 0o600


def test_closing_twice_is_harmless(reopen: Reopen) -> None:
    log = reopen()
    log.close()
    log.close()
