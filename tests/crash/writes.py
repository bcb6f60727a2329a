"""Every write this process makes to its files, counted; at a chosen one it kills itself.

The log writes through `os.write`, `os.fsync` and `os.ftruncate`, the databases through SQLite's connections. Around
each such call there is a point before and a point after, and in the middle of each `os.write` one more, at which half
of the bytes are in the file. What SQLite does within one statement is not cut here; killing at random times is for
that.
"""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from typing import Any

__all__ = ["Points"]


class Points:
    """Counts points from `install` on.

    Args:
        kill_at: the point at which to die; 0 for never.
    """

    def __init__(self, kill_at: int) -> None:
        self.passed = 0
        self._kill_at = kill_at
        self.write_past: Callable[[int, Any], int] = os.write

    def pass_one(self) -> None:
        """One point; the process may end here, as if the machine had lost its power but for the page cache."""
        self.passed += 1
        if self.passed == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Replace the calls for the rest of the process."""
        self.write_past = os.write
        os.write = self._write  # type: ignore[assignment]
        os.fsync = self._around(os.fsync)
        os.ftruncate = self._around(os.ftruncate)
        points = self

        class Connection(sqlite3.Connection):
            execute = points._around(sqlite3.Connection.execute)
            executemany = points._around(sqlite3.Connection.executemany)
            executescript = points._around(sqlite3.Connection.executescript)

        connect = sqlite3.connect
        sqlite3.connect = lambda *args, **options: connect(*args, factory=Connection, **options)  # type: ignore[assignment]

    def _write(self, handle: int, data: Any) -> int:
        self.pass_one()
        half = len(data) // 2
        written = self.write_past(handle, data[:half]) if half else 0
        self.pass_one()
        written += self.write_past(handle, data[half:])
        self.pass_one()
        return written

    def _around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            self.pass_one()
            result = call(*args, **options)
            self.pass_one()
            return result

        return counted
