"""Pins: folders that a person, or a part of the node, wants to keep whatever the chain needs."""

from __future__ import annotations

from pathlib import Path

from pdfedchain.errors import DecodeError
from pdfedchain.ids import Cid, cid_text, parse_cid
from pdfedchain.store.durable import sync_folder

__all__ = ["Pins"]


class Pins:
    """An empty file for each pinned folder, in a directory of their own; several processes may use it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def add(self, cid: Cid) -> None:
        """Keep a folder."""
        self._directory.joinpath(cid_text(cid)).touch()
        sync_folder(self._directory)

    def discard(self, cid: Cid) -> None:
        """Undo `add`; nothing is deleted."""
        self._directory.joinpath(cid_text(cid)).unlink(missing_ok=True)
        sync_folder(self._directory)

    def all(self) -> frozenset[Cid]:
        """All pinned folders."""
        found = set()
        for path in self._directory.iterdir():
            try:
                found.add(parse_cid(path.name))
            except DecodeError:
                continue  # not ours: a file manager's .DS_Store
        return frozenset(found)
