"""What is synced, and how, where ``fsync`` alone does not reach the medium."""

from __future__ import annotations

import ast
import errno
import os
from pathlib import Path

import pytest

import pdfedchain
from pdfedchain.crypto import SigningKey
from pdfedchain.store import durable
from pdfedchain.store.durable import replace_file, sync_file, sync_folder
from pdfedchain.store.signer import SqliteSigner
from pdfedchain.store.sqlite import SqliteStore
from pdfedchain.store.wal import FileLog

FULL_SYNC = 51


class Calls:
    """Stands in for the two system calls on a system that knows both."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, full_sync: int | None, refusal: int | None = None) -> None:
        self.made: list[str] = []
        self._refusal = refusal
        monkeypatch.setattr(durable, "_FULL_SYNC", full_sync)
        monkeypatch.setattr(durable.fcntl, "fcntl", self._fcntl)
        monkeypatch.setattr(durable.os, "fsync", lambda handle: self.made.append("fsync"))

    def _fcntl(self, handle: int, command: int) -> int:
        assert command == FULL_SYNC
        self.made.append("full")
        if self._refusal is not None:
            raise OSError(self._refusal, os.strerror(self._refusal))
        return 0


def test_where_a_full_sync_is_known_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch, full_sync=FULL_SYNC)
    sync_file(0)
    assert calls.made == ["full"]


def test_elsewhere_fsync_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch, full_sync=None)
    sync_file(0)
    assert calls.made == ["fsync"]


def test_a_file_system_that_does_not_know_it_gets_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch, full_sync=FULL_SYNC, refusal=errno.ENOTSUP)
    sync_file(0)
    assert calls.made == ["full", "fsync"]


def test_a_disk_that_fails_is_not_asked_again_in_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch, full_sync=FULL_SYNC, refusal=errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        sync_file(0)
    assert calls.made == ["full"]


def test_the_log_and_its_folder_are_synced_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = Calls(monkeypatch, full_sync=FULL_SYNC)
    log = FileLog(tmp_path / "log")
    log.begin(1)
    log.append(b"entry")
    log.sync()
    log.close()
    sync_folder(tmp_path)
    assert calls.made == ["full"] * 3


def test_both_databases_are_synced_so(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "chain.db")
    signer = SqliteSigner(tmp_path / "signer.db", chain_id="test", address=SigningKey(bytes(32)).address)
    for connection in (store._connection, signer._db):
        found = [
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("synchronous", "fullfsync", "checkpoint_fullfsync")
        ]
        assert found == [2, 1, 1]
    store.close()
    signer.close()


def test_a_file_is_replaced_so_and_its_folder_synced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = Calls(monkeypatch, full_sync=FULL_SYNC)
    replace_file(tmp_path / "file.json", b"first")
    replace_file(tmp_path / "file.json", b"second")
    assert calls.made == ["full"] * 4
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file.json", b"second")]


def test_a_file_that_cannot_be_replaced_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file.json").write_bytes(b"first")
    Calls(monkeypatch, full_sync=FULL_SYNC, refusal=errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        replace_file(tmp_path / "file.json", b"second")
    assert (tmp_path / "file.json").read_bytes() == b"first"


def test_nothing_else_of_a_node_syncs_by_itself() -> None:
    root = Path(pdfedchain.__file__).parent.parent
    found = [
        str(path.relative_to(root))
        for package in ("pdfedchain", "node")
        for path in sorted((root / package).rglob("*.py"))
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Attribute) and call.attr in ("fsync", "fdatasync", "F_FULLFSYNC")
    ]
    assert found == ["pdfedchain/store/durable.py"]
