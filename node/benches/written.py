"""What nobody who keeps what he fetches can do without: a stream, its hash, and its bytes on the disk.

`take` reads a bare stream in chunks; a thread hashes each and writes it, past the page cache where the disk allows it,
to one file that is synchronised in the end. No requests, no answers, no blocks with names of their own, and nothing is
read where it is sent: how near a transfer comes to this is its own doing.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from pathlib import Path
from typing import Final

import trio

from node.host.interface import Stream
from node.weights.direct import DIRECT
from node.weights.limits import CHUNK_SIZE_BYTES
from pdfedchain.store.durable import sync_file

__all__ = ["take"]

_SECTOR_SIZE_BYTES: Final = 4_096


async def take(stream: Stream, size_bytes: int, path: Path) -> None:
    """Read so many bytes; each chunk is hashed and written while the next arrives.

    Raises:
        OSError: the disk is full or refuses.
    """
    arrived, to_write = trio.open_memory_channel[bytes](1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_write, path, to_write)
        async with arrived:
            for start in range(0, size_bytes, CHUNK_SIZE_BYTES):
                await arrived.send(await stream.read_exactly(min(CHUNK_SIZE_BYTES, size_bytes - start)))


async def _write(path: Path, chunks: trio.MemoryReceiveChannel[bytes]) -> None:
    descriptor, buffer = _open(path), mmap.mmap(-1, CHUNK_SIZE_BYTES)
    try:
        async for chunk in chunks:
            await trio.to_thread.run_sync(_keep, descriptor, buffer, chunk)
        await trio.to_thread.run_sync(sync_file, descriptor)
    finally:
        os.close(descriptor)


def _keep(descriptor: int, buffer: mmap.mmap, chunk: bytes) -> None:
    """Hash a chunk and write it in whole sectors. Runs in a thread."""
    hashlib.sha256(chunk).digest()
    buffer[: len(chunk)] = chunk
    padded = -(-len(chunk) // _SECTOR_SIZE_BYTES) * _SECTOR_SIZE_BYTES
    with memoryview(buffer) as view:
        assert os.write(descriptor, view[:padded]) == padded, "the disk takes a whole chunk"


def _open(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    try:
        return os.open(path, flags | DIRECT, 0o666)
    except OSError:
        return os.open(path, flags, 0o666)
