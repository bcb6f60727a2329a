"""Blocks written past the page cache, and files that need not be hashed again."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from node.weights import hashed
from node.weights.cid import Block, Codec
from node.weights.direct import DIRECT
from node.weights.errors import BlockDamaged
from node.weights.files import Scratch
from node.weights.store import WeightsStore


@pytest.mark.parametrize("size_bytes", [0, 1, 511, 4_096, 4_097, 1_048_575, 1_048_576])
def test_what_is_written_past_the_page_cache_reads_back(tmp_path: Path, size_bytes: int) -> None:
    data = os.urandom(size_bytes)
    Scratch(tmp_path / "tmp").write(data, tmp_path / "block", sync=False, direct=True)
    assert (tmp_path / "block").read_bytes() == data
    assert not any((tmp_path / "tmp").iterdir())


def test_where_the_disk_refuses_it_the_block_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = os.open

    def refuse(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & DIRECT:
            os.close(usual(path, flags & ~DIRECT, mode))
            raise OSError(errno.EINVAL, "no direct writing here")
        return usual(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    Scratch(tmp_path / "tmp").write(b"block", tmp_path / "block", sync=False, direct=True)
    assert (tmp_path / "block").read_bytes() == b"block"


def test_where_the_disk_refuses_it_only_when_it_is_written_to_the_block_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = os.write

    def refuse(descriptor: int, data: memoryview) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & DIRECT:
            raise OSError(errno.EINVAL, "no direct writing here")
        return usual(descriptor, data)

    monkeypatch.setattr(os, "write", refuse)
    Scratch(tmp_path / "tmp").write(b"block", tmp_path / "block", sync=False, direct=True)
    assert (tmp_path / "block").read_bytes() == b"block"


def stored(tmp_path: Path) -> tuple[WeightsStore, Block, Path]:
    """A store with one block whose file has been as it is for long."""
    store = WeightsStore(tmp_path)
    block = Block.of(Codec.RAW, b"block")
    store.put_block(block)
    path = next(path for path in (tmp_path / "blocks").rglob("*") if path.is_file())
    return store, block, path


def test_a_block_that_is_unchanged_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashed, "_SETTLED_NS", -1)
    store, block, _ = stored(tmp_path)
    hashes = []

    def check(cid: bytes, data: bytes) -> Block:
        hashes.append(cid)
        return block

    monkeypatch.setattr(Block, "check", check)
    for _ in range(3):
        assert store.get_block(block.cid, trust_s=600.0) == block
    assert len(hashes) == 1
    store.get_block(block.cid)
    store.get_block(block.cid, trust_s=0.0)
    assert len(hashes) == 3


def test_a_changed_file_is_hashed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashed, "_SETTLED_NS", -1)
    store, block, path = stored(tmp_path)
    store.get_block(block.cid, trust_s=600.0)
    path.write_bytes(b"other")
    os.utime(path, ns=(1, 1))
    with pytest.raises(BlockDamaged):
        store.get_block(block.cid, trust_s=600.0)


def test_a_file_written_a_moment_ago_is_not_trusted(tmp_path: Path) -> None:
    store, block, path = stored(tmp_path)
    store.get_block(block.cid, trust_s=600.0)
    state = path.stat()
    assert not store._hashed.knows(block.cid, state, 600.0)
