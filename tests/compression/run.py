"""Would lossless compression of weights pay? ``python tests/compression/run.py PARENT CHILD [PARENT CHILD ...]``.

Each file is a safetensors file of float32 weights, a child one that was trained from its parent. Measured for each way
of looking at a child (as it is, rounded to bfloat16, beside its parent by exclusive or and by difference of the bit
patterns) and each compressor, with and without bytes of one significance laid together: what is left of the size, and
how fast it is made and read back, on one core. zstandard is measured where it is installed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import lzma
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32] | NDArray[np.uint16]
Compressor = tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]


def read_weights(path: Path) -> NDArray[np.uint32]:
    """The bits of all float32 tensors of a file, in its order."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    tensors = [(each["data_offsets"], each["dtype"]) for name, each in header.items() if name != "__metadata__"]
    assert {dtype for _, dtype in tensors} == {"F32"}, "weights of single precision are measured"
    body = data[8 + length :]
    parts = [np.frombuffer(body[start:end], dtype="<u4") for (start, end), _ in sorted(tensors)]
    return np.concatenate(parts)


def to_bfloat16(words: NDArray[np.uint32]) -> NDArray[np.uint16]:
    """Rounded to the nearest, ties to even."""
    wide = words.astype(np.uint64)
    return ((wide + 0x7FFF + ((wide >> 16) & 1)) >> 16).astype(np.uint16)


def shuffled(words: Words) -> bytes:
    """First all most significant bytes, then the next, and so on."""
    raw = words.view(np.uint8).reshape(len(words), words.itemsize)
    return np.ascontiguousarray(raw.T[::-1]).tobytes()


def zigzag(difference: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Small differences of either sign become small numbers."""
    signed = difference.view(np.int32)
    return ((signed << 1) ^ (signed >> 31)).view(np.uint32)


def views(parent: NDArray[np.uint32], child: NDArray[np.uint32]) -> dict[str, Words]:
    """Ways of looking at a child."""
    return {
        "float32": child,
        "bfloat16": to_bfloat16(child),
        "float32, exclusive or with the parent": child ^ parent,
        "float32, difference from the parent": zigzag(child - parent),
        "bfloat16, exclusive or with the parent": to_bfloat16(child) ^ to_bfloat16(parent),
    }


def compressors() -> dict[str, Compressor]:
    """By name."""
    found: dict[str, Compressor] = {
        "zlib 6": (lambda data: zlib.compress(data, 6), zlib.decompress),
        "lzma 6": (lambda data: lzma.compress(data, preset=6), lzma.decompress),
    }
    try:
        zstandard = importlib.import_module("zstandard")
    except ImportError:
        return found
    for level in (3, 19):
        found[f"zstd {level}"] = (
            zstandard.ZstdCompressor(level=level).compress,
            zstandard.ZstdDecompressor().decompress,
        )
    return found


def measure(data: list[bytes], compressor: Compressor) -> tuple[float, float, float]:
    """Share of the size that is left, and megabytes per second of packing and unpacking."""
    pack, unpack = compressor
    size_bytes = sum(map(len, data))
    started = time.process_time()
    packed = [pack(each) for each in data]
    packed_at = time.process_time()
    assert [unpack(each) for each in packed] == data, "lossless"
    done_at = time.process_time()
    speeds = (size_bytes / max(spent, 1e-9) / 1e6 for spent in (packed_at - started, done_at - packed_at))
    return sum(map(len, packed)) / size_bytes, *speeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="a parent and a child, any number of times")
    files = parser.parse_args().files
    pairs = [
        views(read_weights(parent), read_weights(child)) for parent, child in zip(files[::2], files[1::2], strict=True)
    ]
    print("| weights | compressor | bytes laid together | size left | packed MB/s | unpacked MB/s |")
    print("|---|---|---|---|---|---|")
    for view in pairs[0]:
        for name, compressor in compressors().items():
            for how, laid in (("no", lambda words: words.tobytes()), ("yes", shuffled)):
                left, packing, unpacking = measure([laid(pair[view]) for pair in pairs], compressor)
                print(f"| {view} | {name} | {how} | {left:.3f} | {packing:.0f} | {unpacking:.0f} |", flush=True)


if __name__ == "__main__":
    main()
