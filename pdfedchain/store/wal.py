"""The write-ahead log of consensus: the inputs of the height being decided, so that a restart votes as before.

One file, made anew for every height::

    file     magic (8 bytes), frame*
    frame    length (4 bytes, big-endian), CRC-32 (4), payload
    CRC      over height (8), index of the frame (8), payload

The first frame's payload is the height itself, so that a log names what it belongs to. Height and index are part
of every checksum: what is left of an older file behind a newer, shorter one never passes for its continuation.

`append` hands bytes to the operating system, `sync` makes them durable. On opening, everything from the first frame
that does not check out is cut off: a torn write, since what had been synced cannot tear. Should the disk have
damaged more than that, the signer record still forbids contradictions (`pdfedchain.store.signer`).

A failed write or sync is final: after it nobody knows what the file holds (an fsync that failed once may succeed
next time without having written), so the log refuses everything more and the node must stop.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pdfedchain.errors import StateError
from pdfedchain.store.durable import sync_file, sync_folder

__all__ = ["ENTRY_SIZE_BYTES_MAX", "FileLog", "MemoryLog"]

_MAGIC: Final = b"pdfdwal1"
_FRAME: Final = struct.Struct(">II")
_PLACE: Final = struct.Struct(">QQ")

#: Above any consensus message; a longer length in the file is damage.
ENTRY_SIZE_BYTES_MAX: Final = 16_777_216


class FileLog:
    """A log in a file.

    Args:
        path: made when missing; its folder must exist.

    Attributes:
        height: the height it belongs to; ``None`` while it belongs to none.
        torn_size_bytes: how much was cut off on opening.

    Raises:
        StateError: the file is no log, or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._failed = False
        self.height: int | None = None
        self._frames = 0
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            sync_folder(path.parent)
        except OSError as error:
            raise StateError(f"cannot open the consensus log {path}: {error}") from error
        try:
            self.torn_size_bytes = self._read()
        except BaseException:
            os.close(self._file)
            raise

    def entries(self) -> tuple[bytes, ...]:
        """Entries in order, read from the file."""
        try:
            return tuple(_parse(self._path.read_bytes()).payloads[1:])
        except OSError as error:
            raise self._fatal(error) from error

    def begin(self, height: int) -> None:
        """Forget everything; belong to this height."""
        self._guard()
        try:
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)
            self._write(_MAGIC)
        except OSError as error:
            raise self._fatal(error) from error
        self.height, self._frames = height, 0
        self._put(_PLACE.pack(height, 0))

    def append(self, entry: bytes) -> None:
        """Add an entry; durable after the next `sync`.

        Raises:
            StateError: it could not be written, now or before.
        """
        assert self.height is not None
        assert len(entry) <= ENTRY_SIZE_BYTES_MAX
        self._guard()
        self._put(entry)

    def sync(self) -> None:
        """Everything appended survives a crash from now on.

        Raises:
            StateError: the disk refused, now or before.
        """
        self._guard()
        try:
            sync_file(self._file)
        except OSError as error:
            raise self._fatal(error) from error

    def close(self) -> None:
        """Release the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _put(self, payload: bytes) -> None:
        assert self.height is not None
        head = _FRAME.pack(len(payload), _checksum(self.height, self._frames, payload))
        try:
            self._write(head + payload)
        except OSError as error:
            raise self._fatal(error) from error
        self._frames += 1

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]

    def _read(self) -> int:
        data = self._path.read_bytes()
        if data[: len(_MAGIC)] != _MAGIC[: len(data)]:
            raise StateError(
                f"{self._path} is not a consensus log of this version", hint="move it away; the node then starts anew"
            )
        sound = _parse(data)
        self.height, self._frames = sound.height, len(sound.payloads)
        try:
            os.ftruncate(self._file, sound.size_bytes)
            os.lseek(self._file, sound.size_bytes, os.SEEK_SET)
        except OSError as error:
            raise self._fatal(error) from error
        return len(data) - sound.size_bytes

    def _guard(self) -> None:
        if self._failed:
            raise StateError(f"the consensus log {self._path} has failed before", hint="restart the node")

    def _fatal(self, error: OSError) -> StateError:
        self._failed = True
        return StateError(
            f"cannot write the consensus log {self._path}: {error}",
            hint="make room on the disk or replace it, then restart the node",
        )


@dataclass(frozen=True, slots=True)
class _Sound:
    """The part of a file that checks out; without a sound first frame, nothing."""

    height: int | None
    payloads: list[bytes]
    size_bytes: int


def _parse(data: bytes) -> _Sound:
    at, payloads = len(_MAGIC), list[bytes]()
    height: int | None = None
    while at + _FRAME.size <= len(data):
        size, checksum = _FRAME.unpack_from(data, at)
        payload = data[at + _FRAME.size : at + _FRAME.size + size]
        if size > ENTRY_SIZE_BYTES_MAX or len(payload) != size:
            break
        if not payloads and size == _PLACE.size:
            height = _PLACE.unpack(payload)[0]
        if height is None or checksum != _checksum(height, len(payloads), payload):
            break
        payloads.append(payload)
        at += _FRAME.size + size
    return _Sound(height, payloads, at) if payloads else _Sound(None, [], 0)


def _checksum(height: int, index: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(_PLACE.pack(height, index)))


class MemoryLog:
    """The twin of `FileLog` in memory. `crash` loses what was not synced, as a power failure would."""

    def __init__(self) -> None:
        self.height: int | None = None
        self._entries: list[bytes] = []
        self._durable: tuple[int | None, tuple[bytes, ...]] = (None, ())

    def entries(self) -> tuple[bytes, ...]:
        return tuple(self._entries)

    def begin(self, height: int) -> None:
        self.height, self._entries = height, []

    def append(self, entry: bytes) -> None:
        assert self.height is not None
        self._entries.append(entry)

    def sync(self) -> None:
        self._durable = self.height, tuple(self._entries)

    def close(self) -> None:
        """Nothing to release."""

    def crash(self, *, kept: int = 0) -> None:
        """Lose the tail after the last `sync`, but for its first ``kept`` entries."""
        height, entries = self._durable
        if height == self.height:
            self._entries = self._entries[: len(entries) + kept]
        elif kept == 0:
            self.height, self._entries = height, list(entries)
        else:
            self._entries = self._entries[:kept]
        self._durable = self.height, tuple(self._entries)
