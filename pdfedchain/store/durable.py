"""What makes written bytes survive a power failure, on every system.

On macOS, ``fsync`` hands bytes to the disk, which may keep them in its own cache: there ``F_FULLFSYNC`` asks for them
to be on the medium, as ``fsync`` does elsewhere. SQLite has the same choice (fsync(2) of macOS;
https://www.sqlite.org/pragma.html#pragma_fullfsync). Where a file system does not know ``F_FULLFSYNC``, ``fsync`` is
all there is, and SQLite falls back on it as well.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Final

__all__ = ["replace_file", "sync_file", "sync_folder", "sync_fully"]

#: ``None`` where ``fsync`` does what is needed.
_FULL_SYNC: Final[int | None] = getattr(fcntl, "F_FULLFSYNC", None)

_UNKNOWN: Final = frozenset((errno.EINVAL, errno.ENOTSUP, errno.ENOTTY))


def sync_file(handle: int) -> None:
    """Everything written to this file survives from now on.

    Raises:
        OSError: the disk refused.
    """
    if _FULL_SYNC is not None:
        try:
            fcntl.fcntl(handle, _FULL_SYNC)
        except OSError as error:
            if error.errno not in _UNKNOWN:
                raise
        else:
            return
    os.fsync(handle)


def sync_folder(folder: Path) -> None:
    """A file made or renamed in this folder is found there after a power failure.

    Raises:
        OSError: the disk refused.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        sync_file(handle)
    finally:
        os.close(handle)


def replace_file(path: Path, data: bytes) -> None:
    """Have a file say this and nothing else: after a power failure it says all of it, or what it said before.

    Raises:
        OSError: the disk refused; the file is as it was.
    """
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        sync_file(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_fully(connection: sqlite3.Connection) -> None:
    """Have a database synced at every commit, in the way of `sync_file`."""
    for setting in ("synchronous = FULL", "fullfsync = ON", "checkpoint_fullfsync = ON"):
        connection.execute(f"PRAGMA {setting}")
