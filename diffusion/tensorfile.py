"""Reading and writing safetensors files, strictly.

The files come from strangers, so the reader is ours and small: a length, a JSON header with bounds, and raw bytes
that the header must cover exactly, in order, without holes or overlap. One set of tensors has one encoding here
(names sorted, one fixed metadata entry, header padded to 8 bytes), hence equal weights give equal files. The
``safetensors`` library reads what is written here, and the reader accepts what the library writes.

What this is not: lazy or memory-mapped. A file is read once into memory, at most ``size_bytes_max``.
Format: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from diffusion.errors import TensorFileError
from pdfedchain.limits import TENSOR_RANK_MAX, TENSORS_MAX

__all__ = ["DTYPE_NAMES", "parse_tensors", "read_tensors", "write_tensors"]

Arrays = Mapping[str, NDArray[Any]]

#: safetensors type name -> little-endian numpy type. A type that is not here, such as BF16, is refused as malformed.
_DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "U8": np.dtype("u1"),
}
#: numpy type -> safetensors type name.
DTYPE_NAMES: Final[dict[np.dtype[Any], str]] = {dtype: name for name, dtype in _DTYPES.items()}

#: A header entry is below 512 bytes for names as long as ours allow.
_HEADER_SIZE_BYTES_MAX: Final = min(TENSORS_MAX * 512, 100_000_000)
_NAME_LENGTH_MAX: Final = 256
_METADATA: Final = {"format": "pt"}  # some loaders refuse a file without it


def write_tensors(path: Path, arrays: Arrays) -> None:
    """Write and fsync ``path``; the same arrays give the same bytes on every machine."""
    header: dict[str, Any] = {"__metadata__": _METADATA}
    parts, position = [], 0
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        type_name = DTYPE_NAMES[array.dtype.newbyteorder("<")]
        data = array.astype(_DTYPES[type_name], copy=False).tobytes()
        end = position + len(data)
        header[name] = {"dtype": type_name, "shape": list(array.shape), "data_offsets": [position, end]}
        parts.append(data)
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())


def read_tensors(path: Path, *, size_bytes_max: int) -> dict[str, NDArray[Any]]:
    """All tensors of a file, sorted by name.

    Raises:
        TensorFileError: the file is too large or not well formed.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(size_bytes_max + 1)
    if len(data) > size_bytes_max:
        raise TensorFileError(f"{path.name} has more than {size_bytes_max} bytes")
    return parse_tensors(data)


def parse_tensors(data: bytes) -> dict[str, NDArray[Any]]:
    """Tensors of the safetensors encoding ``data``, sorted by name; the arrays are read-only views of it.

    Raises:
        TensorFileError: it is not well formed.
    """
    if len(data) < 8:
        raise TensorFileError(f"a safetensors file has at least 8 bytes, this one {len(data)}")
    length = int.from_bytes(data[:8], "little")
    if length > min(_HEADER_SIZE_BYTES_MAX, len(data) - 8):
        raise TensorFileError(f"the header claims {length} bytes of a file of {len(data)}")
    header = _parse_header(data[8 : 8 + length])
    body = memoryview(data)[8 + length :]
    placed: list[tuple[int, int, str, NDArray[Any]]] = []
    for name, entry in header.items():
        dtype, shape, start, end = _parse_entry(name, entry, len(body))
        try:
            array = np.frombuffer(body[start:end], dtype=dtype).reshape(shape)
        except ValueError as error:  # an empty tensor may still have more elements along its axes than numpy counts
            raise TensorFileError(f"tensor {name!r} has an impossible shape {shape}: {error}") from error
        placed.append((start, end, name, array))
    placed.sort(key=lambda item: item[:3])
    position = 0
    for start, end, name, _ in placed:
        if start != position:
            raise TensorFileError(f"tensor {name!r} starts at {start}, expected {position}: holes or overlap")
        position = end
    if position != len(body):
        raise TensorFileError(f"{len(body) - position} bytes after the last tensor")
    return {name: array for _, _, name, array in sorted(placed, key=lambda item: item[2])}


def _parse_header(text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise TensorFileError("the header has a duplicate key")
        return dict(pairs)

    if not text.startswith(b"{"):
        raise TensorFileError("the header does not start with '{'")
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise TensorFileError(f"the header is not JSON: {error}") from error
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise TensorFileError("__metadata__ is not a table of strings")
    if len(header) > TENSORS_MAX:
        raise TensorFileError(f"{len(header)} tensors, at most {TENSORS_MAX} allowed")
    return dict(header)


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _parse_entry(name: str, entry: Any, body_size: int) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
    if not 1 <= len(name) <= _NAME_LENGTH_MAX:
        raise TensorFileError(f"a tensor name has {len(name)} characters, allowed are 1 to {_NAME_LENGTH_MAX}")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise TensorFileError(f"tensor {name!r} needs exactly dtype, shape and data_offsets")
    dtype = _DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if dtype is None:
        raise TensorFileError(f"tensor {name!r} has type {entry['dtype']!r}; allowed are {', '.join(_DTYPES)}")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not isinstance(shape, list) or len(shape) > TENSOR_RANK_MAX or not all(map(_is_size, shape)):
        raise TensorFileError(f"tensor {name!r} has a bad shape")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_size, offsets)):
        raise TensorFileError(f"tensor {name!r} has bad offsets")
    start, end = offsets
    if not start <= end <= body_size or end - start != math.prod(shape) * dtype.itemsize:
        raise TensorFileError(f"tensor {name!r} of shape {shape} does not fit its bytes {start} to {end}")
    return dtype, tuple(shape), start, end
