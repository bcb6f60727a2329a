"""Writing a block past the page cache.

A fetched block is made durable at once and read later, so the kernel's copy of it only costs: on a virtual machine
that returns free memory to its host, taking a fresh page costs ten times what copying into it does, and a fetch spent
more time there than in receiving and hashing together. Where a disk does not allow it (`O_DIRECT` is refused, as on
tmpfs of older kernels), the block is written the usual way.
"""

from __future__ import annotations

import mmap
import os
import threading
from typing import Final

__all__ = ["DIRECT", "write_direct"]

#: What `os.open` takes in addition; nothing where the system does not know it.
DIRECT: Final[int] = getattr(os, "O_DIRECT", 0)

#: Disks want whole sectors, at addresses that are multiples of them; no sector is larger.
_ALIGNMENT_SIZE_BYTES: Final = 4_096
_BUFFER_SIZE_BYTES: Final = 1_048_576

_of_thread = threading.local()


def write_direct(descriptor: int, data: bytes) -> None:
    """Write ``data``, at most a mebibyte, into an empty file that was opened with `DIRECT`.

    Raises:
        OSError: the disk is full, or refuses.
    """
    buffer = _buffer()
    buffer[: len(data)] = data
    padded = -(-len(data) // _ALIGNMENT_SIZE_BYTES) * _ALIGNMENT_SIZE_BYTES
    at = 0
    with memoryview(buffer) as view:
        while at < padded:
            written = os.write(descriptor, view[at:padded])
            # Little room on the disk may end a write early, perhaps in the middle of a sector.
            at += written - written % _ALIGNMENT_SIZE_BYTES
            os.lseek(descriptor, at, os.SEEK_SET)
    os.ftruncate(descriptor, len(data))


def _buffer() -> mmap.mmap:
    buffer: mmap.mmap | None = getattr(_of_thread, "buffer", None)
    if buffer is None:
        buffer = _of_thread.buffer = mmap.mmap(-1, _BUFFER_SIZE_BYTES)
    return buffer
