"""Weights on disk: blocks by content, in files named after their identifiers.

::

    root/blocks/<xx>/<cid>   one block; xx are the two letters before the last, as IPFS' own flatfs shards
    root/pins/<cid>          an empty file: this folder is to be kept
    root/tmp/<random>        a block or folder being written

A block is written to a temporary name and renamed: a name under ``blocks`` has its whole content, whenever a process
is killed. Against a power cut blocks are synced too, many at a time (`WeightsStore.sync_blocks`), before anybody is
told that a folder is here. Since disks lose things all the same, every read that leaves this module is hashed; a
damaged block is deleted when it is met, which makes it missing, which makes the next transfer fetch it. Temporary
files belong to whoever holds their lock (`flock`), so what a killed process left behind is told apart from what
another process is writing now, and cleared when a store is opened.

Goals: any size in bounded memory; several processes on one store; no state in memory, hence safe in threads.
Not goals: a database of folders (the chain knows them), compression (measured: little to gain), hard links into
exported folders (a program that writes into its copy would damage ours).

Every method blocks on the disk; call them in a thread from the event loop.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from node.weights.adding import Adding
from node.weights.cid import Block
from node.weights.dag import check_name, join_path
from node.weights.errors import BlockDamaged, BlockMismatch, BlockMissing, MalformedWeights, WeightsTooLarge
from node.weights.files import Scratch, make_directory, read_file, sync_files, write_new, write_out
from node.weights.hashed import Hashed
from node.weights.limits import (
    BLOCK_SIZE_BYTES_MAX,
    BLOCKS_MAX,
    ENTRIES_MAX,
    FOLDER_SIZE_BYTES_MAX,
    SYNC_COUNT,
)
from node.weights.pins import Pins
from node.weights.quota import Quota
from node.weights.reports import BadBlock, Problem, StoredBlock
from node.weights.tree import PROFILE, Expected, Layout, children, tree_size_bytes
from pdfedchain.errors import DecodeError, StateError, UsageError
from pdfedchain.ids import Cid, cid_text, parse_cid
from pdfedchain.store.durable import sync_folder

__all__ = ["BadBlock", "Problem", "WeightsStore"]


class WeightsStore:
    """Blocks of weights in a directory, which is made if need be.

    Args:
        root: the directory; nobody else writes into it.
        layout: how files are cut. Another one gives other identifiers than the rest of the world: for tests.
        size_bytes_max: most bytes of all blocks together; None leaves it to the disk.

    Attributes:
        pins: folders to keep, whatever the chain needs.
    """

    def __init__(self, root: Path, *, layout: Layout = PROFILE, size_bytes_max: int | None = None) -> None:
        self._blocks = root / "blocks"
        self._scratch = Scratch(root / "tmp")
        self._layout = layout
        self._hashed = Hashed()
        self._blocks.mkdir(parents=True, exist_ok=True)
        self._scratch.clear()
        self._quota = Quota(size_bytes_max, lambda: sum(block.size_bytes for block in self.stored()))
        self.pins = Pins(root / "pins")

    @property
    def layout(self) -> Layout:
        """How files are cut."""
        return self._layout

    # Blocks

    def has_block(self, cid: Cid) -> bool:
        """Whether a file for the block exists; its content is not looked at."""
        return self._path(cid).is_file()

    def get_block(self, cid: Cid, *, trust_s: float = 0.0) -> Block:
        """The block, hashed, unless its file was found right so lately and is unchanged (`node.weights.hashed`).

        Raises:
            BlockMissing: not stored.
            BlockDamaged: stored bytes have changed; they are deleted, so that the block is missing from now on.
        """
        try:
            return self._read(cid, trust_s)
        except BlockDamaged:
            self.delete_block(cid)
            raise

    def put_fetched(self, block: Block) -> None:
        """Store a block that is not here, nor will be read soon; `sync_blocks` has to follow. Raises as `put_block`."""
        self._quota.take(len(block.data))
        path = self._path(block.cid)
        make_directory(path.parent, sync=False)
        self._scratch.write(block.data, path, sync=False, direct=True)

    def put_block(self, block: Block, *, sync: bool = True) -> bool:
        """Store a block.

        Args:
            sync: also against a power cut; who says no calls `sync_blocks` later.

        Returns:
            Whether it had to be written: False when the same bytes are there already.

        Raises:
            StoreFull: the quota is used up.
            OSError: the disk is full or refuses; the store is as before.
        """
        path = self._path(block.cid)
        try:
            if path.read_bytes() == block.data:
                os.utime(path)  # somebody counts on it again: as young as one just written (`node.weights.keeping`)
                return False
        except FileNotFoundError:
            make_directory(path.parent, sync=sync)
        self._quota.take(len(block.data))
        self._scratch.write(block.data, path, sync=sync)
        return True

    def sync_blocks(self, cids: Iterable[Cid]) -> None:
        """Keep blocks that were put without a sync through a power cut. Many at once cost little more than one."""
        sync_files(map(self._path, cids))
        sync_folder(self._blocks)

    # Folders and files

    def add_folder(self, path: Path, *, size_bytes_max: int = FOLDER_SIZE_BYTES_MAX) -> Cid:
        """Store a folder with all its files, hidden ones too.

        Args:
            path: the folder. Empty folders inside are kept; modes and times are not.
            size_bytes_max: most bytes of its files and nodes together.

        Returns:
            Its identifier: the one IPFS gives it with profile ``unixfs-v1-2025``.

        Raises:
            UsageError: there is no such folder, or it holds links or special files.
            MalformedWeights: a name is not safe.
            WeightsTooLarge: too large, too deep, or too many entries. What is stored already stays until collected.
        """
        if not path.is_dir():
            raise UsageError(f"{path} is not a folder; give the folder that holds model_index.json")
        with self._synced_puts() as put:
            return Adding(put, self._layout, size_bytes_max).directory(path).cid

    def add_file(self, path: Path, *, size_bytes_max: int = FOLDER_SIZE_BYTES_MAX) -> Cid:
        """Store one file on its own, for example a manifest; like `add_folder`."""
        if path.is_symlink() or not path.is_file():
            raise UsageError(f"{path} is not a regular file; give a file to store")
        with self._synced_puts() as put:
            return Adding(put, self._layout, size_bytes_max).file(path).cid

    def read_file(self, cid: Cid, *, size_bytes_max: int) -> bytes:
        """The bytes of a small file stored on its own.

        Raises:
            BlockMissing, BlockDamaged: see `get_block`.
            MalformedWeights: it is a folder, or not a well-formed file.
            WeightsTooLarge: more than ``size_bytes_max``.
        """
        root = self.get_block(cid)
        if tree_size_bytes(root) > size_bytes_max:
            raise WeightsTooLarge(f"file {cid_text(cid)} has more than {size_bytes_max} bytes")
        return b"".join(self._file_chunks(Expected(cid)))

    def total_size(self, cid: Cid) -> int:
        """Bytes of all blocks of a folder, repetitions counted; only its root has to be here."""
        return tree_size_bytes(self.get_block(cid))

    def missing(self, cid: Cid) -> tuple[Cid, ...]:
        """Blocks a transfer would have to fetch, as far as is known: what lies below a missing node is not.

        Every block that is here is hashed, and deleted if damaged.

        Raises:
            MalformedWeights: the folder is malformed; no transfer will help.
        """
        found: dict[Cid, None] = {}
        for expected, _, block in self._walk(cid):
            if isinstance(block, BlockDamaged):
                self.delete_block(expected.cid)
            if not isinstance(block, Block):
                found[expected.cid] = None
        return tuple(found)

    def complete(self, cid: Cid) -> bool:
        """Whether every block is here: nodes hashed, chunks by presence and length only (`verify` hashes them).

        False for malformed weights, which can never be complete. Takes milliseconds for gigabytes.
        """
        pending = [Expected(cid)]
        seen = set(pending)
        while pending and len(seen) <= BLOCKS_MAX:
            expected = pending.pop()
            if expected.is_leaf and expected.tsize_bytes is not None:
                if self._size_bytes(expected.cid) != expected.tsize_bytes:
                    return False
                continue
            try:
                below = children(expected, self._read(expected.cid), self._layout)
            except (BlockMissing, BlockDamaged, MalformedWeights):
                return False
            fresh = {child for _, child in below} - seen
            seen |= fresh
            pending += fresh
        return not pending

    def verify(self, cid: Cid) -> tuple[BadBlock, ...]:
        """Every bad block of a folder, for an audit; changes nothing.

        Returns:
            Findings in the order of the folder; empty when all is well.
        """
        found: list[BadBlock] = []
        walk = self._walk(cid)
        path = ""
        try:
            for expected, path, block in walk:
                if isinstance(block, BlockMissing):
                    found.append(BadBlock(expected.cid, path, Problem.MISSING, str(block)))
                elif isinstance(block, BlockDamaged):
                    found.append(BadBlock(expected.cid, path, Problem.DAMAGED, str(block)))
        except MalformedWeights as error:
            found.append(BadBlock(cid, path, Problem.MALFORMED, str(error)))
        return tuple(found)

    def export(self, cid: Cid, out_dir: Path, *, size_bytes_max: int = FOLDER_SIZE_BYTES_MAX) -> None:
        """Write a stored folder to ``out_dir``, which appears whole or not at all.

        A killed process may leave ``.<out_dir>.<random>`` beside it.

        Args:
            cid: the folder.
            out_dir: must not exist, or be an empty directory; its parent must exist.
            size_bytes_max: most bytes to write.

        Raises:
            UsageError: ``out_dir`` is taken or has no parent.
            BlockMissing, BlockDamaged: see `get_block`.
            MalformedWeights: unsafe names, a malformed folder, or a file on its own.
            WeightsTooLarge: larger than ``size_bytes_max``, too deep, too long paths, or too many entries.
            StateError: two names are one on this disk, which ignores case; says nothing about the weights.
            OSError: the disk is full or refuses; nothing stays.
        """
        root = self.get_block(cid)
        if tree_size_bytes(root) > size_bytes_max:
            raise WeightsTooLarge(f"{cid_text(cid)} has more than {size_bytes_max} bytes")
        if self._is_file(Expected(cid)):
            raise MalformedWeights(f"{cid_text(cid)} is a file, not a folder")
        write_out(out_dir, lambda target: self._export(Expected(cid), target, "", iter(range(ENTRIES_MAX))))

    # Everything at once

    def reachable(self, cid: Cid) -> frozenset[Cid]:
        """Identifiers of a folder's blocks, itself included, as far as nodes are here; chunks are not read."""
        found, pending = {cid}, [Expected(cid)]
        while pending:
            expected = pending.pop()
            if expected.is_leaf:
                continue
            try:
                below = children(expected, self._read(expected.cid), self._layout)
            except (BlockMissing, BlockDamaged, MalformedWeights):
                continue  # nothing known below it; at worst blocks stay on disk
            fresh = [child for _, child in below if child.cid not in found]
            found |= {child.cid for child in fresh}
            pending += fresh
        return frozenset(found)

    def stored(self) -> Iterator[StoredBlock]:
        """Every block file there is, whatever it belongs to."""
        for shard in self._blocks.iterdir():
            if not shard.is_dir():
                continue
            with os.scandir(shard) as listing:
                for entry in listing:
                    try:
                        found = entry.stat()
                        yield StoredBlock(parse_cid(entry.name), found.st_size, found.st_mtime)
                    except (DecodeError, FileNotFoundError):
                        continue  # not ours, or just deleted by another process

    def delete_block(self, cid: Cid) -> bool:
        """Delete a block whatever needs it (`node.weights.keeping` knows); false if it is not here."""
        try:
            size_bytes = self._path(cid).stat().st_size
            self._path(cid).unlink()
        except FileNotFoundError:
            return False
        self._quota.freed(size_bytes)
        return True

    # Inside

    @contextmanager
    def _synced_puts(self) -> Iterator[Callable[[Block], None]]:
        """A `put_block` whose blocks are durable at the end of the ``with`` block."""
        written: list[Cid] = []

        def put(block: Block) -> None:
            if self.put_block(block, sync=False):
                written.append(block.cid)
            if len(written) == SYNC_COUNT:
                self.sync_blocks(written)
                written.clear()

        yield put
        self.sync_blocks(written)

    def _path(self, cid: Cid) -> Path:
        text = cid_text(cid)
        return self._blocks / text[-3:-1] / text

    def _size_bytes(self, cid: Cid) -> int | None:
        try:
            return self._path(cid).stat().st_size
        except FileNotFoundError:
            return None

    def _read(self, cid: Cid, trust_s: float = 0.0) -> Block:
        try:
            state, data = read_file(self._path(cid), BLOCK_SIZE_BYTES_MAX + 1)
        except FileNotFoundError:
            raise BlockMissing(cid) from None
        if trust_s and self._hashed.knows(cid, state, trust_s):
            return Block(cid, data)
        try:
            block = Block.check(cid, data)
        except BlockMismatch as error:
            raise BlockDamaged(cid) from error
        self._hashed.add(cid, state)
        return block

    def _walk(self, cid: Cid) -> Iterator[tuple[Expected, str, Block | BlockMissing | BlockDamaged]]:
        """Every distinct block below ``cid`` with one path it belongs to, parents first; stops at bad ones."""
        pending = [("", Expected(cid))]
        seen = {pending[0][1]}
        while pending:
            path, expected = pending.pop()
            block: Block | BlockMissing | BlockDamaged
            try:
                block = self._read(expected.cid)
            except (BlockMissing, BlockDamaged) as error:
                block = error
            yield expected, path, block
            if not isinstance(block, Block):
                continue
            for name, child in reversed(children(expected, block, self._layout)):
                if child not in seen:
                    seen.add(child)
                    pending.append((f"{path}/{name}" if path and name else path or name, child))
            if len(seen) > BLOCKS_MAX:
                raise WeightsTooLarge(f"{cid_text(cid)} has more than {BLOCKS_MAX} blocks")

    def _is_file(self, expected: Expected) -> bool:
        if expected.is_leaf:
            return True
        below = children(expected, self.get_block(expected.cid), self._layout)
        return bool(below) and not below[0][0]

    def _file_chunks(self, expected: Expected) -> Iterator[bytes]:
        if not self._is_file(expected):
            raise MalformedWeights(f"{cid_text(expected.cid)} is a folder, not a file")
        block = self.get_block(expected.cid)
        below = children(expected, block, self._layout)
        if expected.is_leaf:
            yield block.data
        for _, child in below:
            yield from self._file_chunks(child)

    def _export(self, expected: Expected, target: Path, path: str, entries: Iterator[int]) -> None:
        if next(entries, None) is None:
            raise WeightsTooLarge(f"a folder with more than {ENTRIES_MAX} entries")
        try:
            if self._is_file(expected):
                write_new(target, self._file_chunks(expected))
                return
            target.mkdir()
        except FileExistsError as error:
            raise StateError(
                f"two names of the folder are one on this disk: {target.name!r}", hint="Use a disk that keeps case."
            ) from error
        for name, child in children(expected, self.get_block(expected.cid), self._layout):
            below = join_path(path, name)
            self._export(child, target / check_name(name), below, entries)
        sync_folder(target)
