"""Which block files were hashed lately, so that who serves one block to many does not hash it for each.

A file counts as unchanged while inode, size and both times are what they were when it was hashed. What a disk loses
without anybody writing is not seen that way, so a file is trusted for a few minutes only. A file that was written in
the last two seconds is not remembered: times are coarse, and a second write might leave them as they are.
"""

from __future__ import annotations

import os
import time
from typing import Final

from pdfedchain.ids import Cid

__all__ = ["Hashed"]

#: Files remembered: a folder of 64 GB.
_FILES_MAX: Final = 65_536

_SETTLED_NS: Final = 2_000_000_000


class Hashed:
    """Files that had the right hash, and when. Safe in threads."""

    def __init__(self) -> None:
        self._files: dict[Cid, tuple[tuple[int, ...], float]] = {}

    def add(self, cid: Cid, state: os.stat_result) -> None:
        """The file in this state was just read and had the right hash."""
        if time.time_ns() - max(state.st_mtime_ns, state.st_ctime_ns) > _SETTLED_NS:
            while len(self._files) >= _FILES_MAX:
                self._files.pop(next(iter(self._files)), None)
            self._files[cid] = (_mark(state), time.monotonic())

    def knows(self, cid: Cid, state: os.stat_result, trust_s: float) -> bool:
        """Whether the file in this state had the right hash at most ``trust_s`` ago."""
        mark, at = self._files.get(cid, ((), 0.0))
        return mark == _mark(state) and time.monotonic() - at <= trust_s


def _mark(state: os.stat_result) -> tuple[int, ...]:
    return (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
