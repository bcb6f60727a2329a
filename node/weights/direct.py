"""Writing a block past the page cache.

A fetched block is made durable at once and read later, so the kernel's copy of it only costs: on a virtual machine
that returns free memory to its host, taking a fresh page costs ten times what copying into it does, and a fetch spent
more time there than in receiving and hashing together. Where a disk does not allow it (`O_DIRECT` is refused, as on
tmpfs of older kernels), the block is written the usual way.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import threading
from typing import Final

__all__ = ["DIRECT", "write_direct", "write_padded"]

#: What `os.open` takes in addition; nothing where the system does not know it.
DIRECT: Final[int] = getattr(os, "O_DIRECT", 0)

#: Disks want whole sectors, at addresses that are multiples of them; no sector is larger.
_ALIGNMENT_SIZE_BYTES: Final = 4_096
_BUFFER_SIZE_BYTES: Final = 1_048_576

_of_thread = threading.local()


def write_direct(descriptor: int, data: bytes) -> bool:
    """Write ``data``, at most a mebibyte, into an empty file that was opened with `DIRECT`.

    Returns:
        False if the disk does not write that way after all; the file is empty then, and is written the usual way.

    Raises:
        OSError: the disk is full, or refuses.
    """
    try:
        write_padded(descriptor, data)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) & ~DIRECT)
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return False
    if len(data) % _ALIGNMENT_SIZE_BYTES:
        os.ftruncate(descriptor, len(data))
    return True


def write_padded(descriptor: int, data: bytes) -> None:
    """Write ``data``, at most a mebibyte, where the file is, with what fills its last sector.

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
            if written < _ALIGNMENT_SIZE_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            # Little room on the disk may end a write early, perhaps in the middle of a sector.
            torn = written % _ALIGNMENT_SIZE_BYTES
            at += written - torn
            if torn:
                os.lseek(descriptor, -torn, os.SEEK_CUR)


def _buffer() -> mmap.mmap:
    buffer: mmap.mmap | None = getattr(_of_thread, "buffer", None)
    if buffer is None:
        buffer = _of_thread.buffer = mmap.mmap(-1, _BUFFER_SIZE_BYTES)
    return buffer
