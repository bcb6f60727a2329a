"""Writing files so that a crash at any moment leaves the old state or the new one.

`Scratch` gives temporary names, each locked while its writer lives. `write_out` makes a whole folder appear at once.
The lock (`flock`) goes away with the process that held it, in whatever manner it ended, on this machine and across
containers that share a disk; neither a process number nor an age could tell so much.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import secrets
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from node.weights.direct import DIRECT, write_direct
from pdfedchain.errors import StateError, UsageError
from pdfedchain.store.durable import sync_file, sync_folder

__all__ = ["Scratch", "make_directory", "read_file", "sync_files", "write_new", "write_out"]

_ATTEMPTS = 3

_SYNC_THREADS = 8


def sync_files(paths: Iterable[Path]) -> None:
    """Make files and their names durable; those that have gone meanwhile are left out.

    Several at once: a journal writes what many wait for in one go, so that eight take the time of two.
    """
    pool = _sync_pool()
    parents = dict.fromkeys(parent for parent in pool.map(_sync_file, paths) if parent is not None)
    for _ in pool.map(sync_folder, parents):
        pass


@functools.cache
def _sync_pool() -> ThreadPoolExecutor:
    """Kept, since on busy cores new threads take longer to start than old ones to sync."""
    return ThreadPoolExecutor(_SYNC_THREADS, thread_name_prefix="sync")


def _sync_file(path: Path) -> Path | None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        sync_file(descriptor)
    finally:
        os.close(descriptor)
    return path.parent


def make_directory(path: Path, *, sync: bool = True) -> None:
    """Make a directory, durably if ``sync``, unless it is there."""
    try:
        os.mkdir(path)
    except FileExistsError:
        return
    if sync:
        sync_folder(path.parent)


def read_file(path: Path, size_bytes_max: int) -> tuple[os.stat_result, bytes]:
    """The state of a file and its first bytes, in as few calls as can be: each lets other threads in."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        state = os.fstat(descriptor)
        return state, os.read(descriptor, min(state.st_size + 1, size_bytes_max))
    finally:
        os.close(descriptor)


class Scratch:
    """A directory of temporary files, which is made if need be."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def write(self, data: bytes, path: Path, *, sync: bool = True, direct: bool = False) -> None:
        """Write ``data`` to ``path``, replacing what is there: all of it or nothing, whatever ends this process.

        Args:
            sync: also against a power cut. Otherwise `sync_files` has to follow before anybody relies on it.
            direct: past the page cache where the disk allows that; at most a mebibyte.

        Raises:
            OSError: the disk is full or refuses; ``path`` is as before.
        """
        for _ in range(_ATTEMPTS):
            temporary = self._directory / secrets.token_hex(16)
            try:
                descriptor, is_direct = _create(temporary, DIRECT if direct else 0)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                    if not (is_direct and write_direct(descriptor, data)):
                        _write_all(descriptor, data)
                    if sync:
                        sync_file(descriptor)
                    os.rename(temporary, path)
                finally:
                    os.close(descriptor)
            except FileNotFoundError:
                continue  # `clear` in another process met it between its making and its lock
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            if sync:
                sync_folder(path.parent)
            return
        raise StateError(
            f"temporary files in {self._directory} vanish while they are written", hint="Let nothing else delete them."
        )

    def clear(self) -> int:
        """Delete what dead writers left behind.

        Returns:
            Files deleted.
        """
        deleted = 0
        for path in self._directory.iterdir():
            try:
                with open(path, "rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
                    deleted += 1
            except (BlockingIOError, FileNotFoundError):
                continue  # its writer lives, or has just renamed it
        return deleted


def _create(path: Path, direct: int) -> tuple[int, bool]:
    """A new file, open for writing, and whether it is written past the page cache."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        return os.open(path, flags | direct, 0o666), bool(direct)
    except OSError as error:
        if not direct or error.errno != errno.EINVAL:
            raise
    # Refused, but perhaps not before the file was made.
    return os.open(path, flags & ~os.O_EXCL, 0o666), False


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_new(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file that must not exist yet, and sync it."""
    with open(path, "xb") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        sync_file(file.fileno())


def write_out(target: Path, fill: Callable[[Path], None]) -> None:
    """Let ``fill`` make a folder under a temporary name, then give it the name ``target``.

    Args:
        target: must not exist, or be an empty directory; its parent must exist.
        fill: gets the temporary path, where nothing is, and makes the folder there.

    Raises:
        UsageError: ``target`` is taken, or has no parent.
    """
    if target.is_symlink() or target.exists():
        if target.is_symlink() or not target.is_dir() or any(target.iterdir()):
            raise UsageError(f"{target} exists already; name a new or an empty folder")
    elif not target.parent.is_dir():
        raise UsageError(f"{target.parent} is not a folder; make it first")
    temporary = target.parent / f".{target.name}.{secrets.token_hex(8)}"
    try:
        fill(temporary)
        os.rename(temporary, target)
    except BaseException:
        if temporary.exists():
            shutil.rmtree(temporary)
        raise
    sync_folder(target.parent)
