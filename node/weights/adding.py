"""From a folder on disk to blocks.

What is hashed is what is read: a file that changes meanwhile gives weights of whatever was read, never blocks that
contradict each other. Links are refused rather than followed: what they point to may lie outside the folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from node.weights.cid import Block
from node.weights.dag import Link, check_name, join_path
from node.weights.errors import WeightsTooLarge
from node.weights.limits import DIRECTORY_DEPTH_MAX, ENTRIES_MAX
from node.weights.tree import Layout, put_directory, put_file
from pdfedchain.errors import UsageError

__all__ = ["Adding"]


class Adding:
    """One folder or file being cut into blocks, and its bounds.

    Args:
        put: called with every block, children before parents.
        layout: how to cut files.
        size_bytes_max: most bytes of all blocks, repetitions counted.
    """

    def __init__(self, put: Callable[[Block], object], layout: Layout, size_bytes_max: int) -> None:
        self._put_outside = put
        self._layout = layout
        self._size_bytes_max = size_bytes_max
        self._size_bytes = 0
        self._entries = 0

    def directory(self, path: Path, depth: int = 1, inside: str = "") -> Link:
        """Add a folder; returns its root, without a name.

        Raises:
            UsageError: it holds links or special files.
            MalformedWeights: a name is not safe.
            WeightsTooLarge: too large, too deep, too long paths, or too many entries.
        """
        if depth > DIRECTORY_DEPTH_MAX:
            raise WeightsTooLarge(f"{path} is nested deeper than {DIRECTORY_DEPTH_MAX} folders")
        with os.scandir(path) as listing:
            found = list(self._bounded(listing))
        entries = []
        for entry in found:
            name = check_name(entry.name)
            if entry.is_symlink() or not (entry.is_dir() or entry.is_file()):
                raise UsageError(f"{entry.path} is a link or a special file; store a copy of what it points to")
            below = join_path(inside, name)
            link = self.directory(path / name, depth + 1, below) if entry.is_dir() else self.file(path / name)
            entries.append(Link(link.cid, name, link.tsize_bytes))
        return put_directory(entries, self._put)

    def file(self, path: Path) -> Link:
        """Add one file; returns its root, without a name."""
        with open(path, "rb", buffering=0) as file:
            return put_file(file, self._put, self._layout)

    def _bounded(self, listing: Iterable[os.DirEntry[str]]) -> Iterator[os.DirEntry[str]]:
        for entry in listing:
            self._entries += 1
            if self._entries > ENTRIES_MAX:
                raise WeightsTooLarge(f"a folder with more than {ENTRIES_MAX} files and folders")
            yield entry

    def _put(self, block: Block) -> None:
        self._size_bytes += len(block.data)
        if self._size_bytes > self._size_bytes_max:
            raise WeightsTooLarge(f"more than {self._size_bytes_max} bytes")
        self._put_outside(block)
