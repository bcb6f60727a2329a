"""Features remembered on disk by what the image and the scorer are, never by a file's name or date.

One SQLite file holds a row per image and scorer. So a renamed folder costs nothing, ten new images cost ten, an
interrupted run goes on where it was, and a changed image or another scorer is never answered from old rows. A row also
has the SHA-256 of the image's pixels at the scorer's size, by which exact copies in other formats are known.

Rows of different devices are not told apart: float32 features differ by rounding between them, which moves a score less
than the number of images does.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Final

from diffusion.errors import DatasetError

__all__ = ["FeatureStore"]

_AT_ONCE: Final = 500
_TIMEOUT_S: Final = 60.0


class FeatureStore:
    """Rows of bytes by 32-byte key.

    Args:
        path: the database's file, made with its folder if need be; ``None`` keeps rows in memory only.
        scorer: digest of the scorer, part of every key.

    Raises:
        DatasetError: the file is not ours, or cannot be opened.
    """

    def __init__(self, path: Path | None, scorer: bytes) -> None:
        self._path, self._scorer = path, scorer
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._rows = sqlite3.connect(path or ":memory:", timeout=_TIMEOUT_S)
            self._rows.execute("PRAGMA journal_mode=WAL")
            self._rows.execute("CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, row BLOB) WITHOUT ROWID")
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from error

    def __enter__(self) -> FeatureStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._rows.close()

    def get(self, digests: Sequence[bytes]) -> dict[bytes, bytes]:
        """The rows that there are, by the images' digests."""
        found: dict[bytes, bytes] = {}
        try:
            for start in range(0, len(digests), _AT_ONCE):
                by_key = {self._key(digest): digest for digest in digests[start : start + _AT_ONCE]}
                marks = ",".join("?" * len(by_key))
                query = f"SELECT key, row FROM features WHERE key IN ({marks})"  # noqa: S608 - question marks only
                with closing(self._rows.execute(query, list(by_key))) as cursor:
                    found |= {by_key[key]: row for key, row in cursor}
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        return found

    def put(self, rows: Mapping[bytes, bytes]) -> None:
        """Keep rows by the images' digests; durable on return."""
        try:
            with self._rows:
                self._rows.executemany(
                    "INSERT OR REPLACE INTO features VALUES (?, ?)",
                    [(self._key(digest), row) for digest, row in rows.items()],
                )
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _key(self, digest: bytes) -> bytes:
        return hashlib.sha256(b"pdfed/features/v1" + self._scorer + digest).digest()

    def _unusable(self, error: Exception) -> DatasetError:
        return DatasetError(
            f"the feature cache {self._path} cannot be used: {error}", hint="Remove it, or choose another --cache."
        )
