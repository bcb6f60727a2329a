"""What nobody who keeps what he fetches can do without: a stream, its hash, and its bytes on the disk.

`take` reads a bare stream in chunks; a thread hashes each and writes it, past the page cache where the disk allows it,
to one file that is synchronised in the end. No requests, no answers, no blocks with names of their own, and nothing is
read where it is sent: how near a transfer comes to this is its own doing.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import trio

from node.host.interface import Stream
from node.weights.direct import DIRECT, write_padded
from node.weights.limits import CHUNK_SIZE_BYTES
from pdfedchain.store.durable import sync_file

__all__ = ["take"]


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
    descriptor = _open(path)
    try:
        async for chunk in chunks:
            await trio.to_thread.run_sync(_keep, descriptor, chunk)
        await trio.to_thread.run_sync(sync_file, descriptor)
    finally:
        os.close(descriptor)


def _keep(descriptor: int, chunk: bytes) -> None:
    """Hash a chunk and write it in whole sectors. Runs in a thread."""
    hashlib.sha256(chunk).digest()
    write_padded(descriptor, chunk)


def _open(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    try:
        return os.open(path, flags | DIRECT, 0o666)
    except OSError:
        return os.open(path, flags, 0o666)
