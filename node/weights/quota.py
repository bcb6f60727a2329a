"""A bound on the bytes of a store.

The sum is taken from the disk when it is first needed, kept up in memory, and taken anew before anything is refused,
since another process may have written or deleted meanwhile. It counts the bytes of blocks, not what the file system
adds; a block that several folders share counts once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from node.weights.errors import StoreFull

__all__ = ["Quota"]


class Quota:
    """Room for blocks. Safe in threads.

    Args:
        size_bytes_max: the bound; None for none, which costs nothing.
        measure: the bytes on disk now.
    """

    def __init__(self, size_bytes_max: int | None, measure: Callable[[], int]) -> None:
        self._size_bytes_max = size_bytes_max
        self._measure = measure
        self._used_bytes: int | None = None
        self._lock = threading.Lock()

    def take(self, size_bytes: int) -> None:
        """Account for a block about to be written.

        Raises:
            StoreFull: it does not fit.
        """
        if self._size_bytes_max is None:
            return
        with self._lock:
            if self._used_bytes is None or self._used_bytes + size_bytes > self._size_bytes_max:
                self._used_bytes = self._measure()
            if self._used_bytes + size_bytes > self._size_bytes_max:
                raise StoreFull(self._used_bytes, self._size_bytes_max)
            self._used_bytes += size_bytes

    def freed(self, size_bytes: int) -> None:
        """Account for a deleted block."""
        with self._lock:
            if self._used_bytes is not None:
                self._used_bytes -= size_bytes
