from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from diffusion.errors import TensorFileError
from diffusion.tensorfile import parse_tensors, read_tensors, write_tensors

ARRAYS = {
    "b.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array(-1.5),
    "labels": np.arange(4),
    "pixels": np.zeros((0, 3), dtype=np.uint8),
}


def encoded(header: Any, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def entry(**changes: Any) -> dict[str, Any]:
    return {"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} | changes}


def assert_same(expected: dict[str, Any], actual: dict[str, Any]) -> None:
    assert sorted(expected) == sorted(actual)
    for name, array in expected.items():
        assert array.dtype == actual[name].dtype
        assert array.shape == actual[name].shape
        assert array.tobytes() == actual[name].tobytes()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_tensors(tmp_path / "f", ARRAYS)
    assert_same(ARRAYS, read_tensors(tmp_path / "f", size_bytes_max=10_000))


def test_the_library_reads_what_we_write_and_we_read_what_it_writes(tmp_path: Path) -> None:
    write_tensors(tmp_path / "f", ARRAYS)
    assert_same(ARRAYS, safetensors.numpy.load_file(tmp_path / "f"))
    assert_same(ARRAYS, parse_tensors(safetensors.numpy.save(ARRAYS)))


def test_equal_tensors_give_equal_bytes_in_any_order(tmp_path: Path) -> None:
    write_tensors(tmp_path / "f", ARRAYS)
    write_tensors(tmp_path / "g", dict(reversed(ARRAYS.items())))
    assert (tmp_path / "f").read_bytes() == (tmp_path / "g").read_bytes()


def test_a_file_above_the_bound_is_refused(tmp_path: Path) -> None:
    write_tensors(tmp_path / "f", ARRAYS)
    size = (tmp_path / "f").stat().st_size
    assert_same(ARRAYS, read_tensors(tmp_path / "f", size_bytes_max=size))
    with pytest.raises(TensorFileError, match="more than"):
        read_tensors(tmp_path / "f", size_bytes_max=size - 1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "at least 8 bytes"),
        (b"\xff" * 8, "header claims"),
        ((100).to_bytes(8, "little") + b"{}", "header claims"),
        (encoded(b"[1]"), "start with"),
        (encoded(b"{nope"), "not JSON"),
        (encoded(b"{" + b'"a":[' * 100_000), "not JSON"),
        (encoded(b'{"\xff":1}'), "not JSON"),
        (encoded(b'{"a":1,"a":2}'), "duplicate"),
        (encoded({"__metadata__": {"a": 1}}), "__metadata__"),
        (encoded({"__metadata__": 3}), "__metadata__"),
        (encoded({"x": 1}), "exactly dtype"),
        (encoded({"x": {"dtype": "F32", "shape": [1]}}), "exactly dtype"),
        (encoded(entry(more=1), bytes(4)), "exactly dtype"),
        (encoded({"": entry()["x"]}, bytes(4)), "name"),
        (encoded({"n" * 257: entry()["x"]}, bytes(4)), "name"),
        (encoded(entry(dtype="BF16"), bytes(4)), "type"),
        (encoded(entry(dtype=[]), bytes(4)), "type"),
        (encoded(entry(shape="1"), bytes(4)), "bad shape"),
        (encoded(entry(shape=[-1]), bytes(4)), "bad shape"),
        (encoded(entry(shape=[True]), bytes(4)), "bad shape"),
        (encoded(entry(shape=[1] * 9), bytes(4)), "bad shape"),
        (encoded(entry(shape=[2**80]), bytes(4)), "bad shape"),
        (encoded(entry(shape=[2**61, 2**61]), bytes(4)), "does not fit"),
        (encoded(entry(shape=[0, 2**61], data_offsets=[0, 0])), "impossible shape"),
        (encoded(entry(data_offsets=[0]), bytes(4)), "bad offsets"),
        (encoded(entry(data_offsets=[4, 0]), bytes(4)), "does not fit"),
        (encoded(entry(data_offsets=[0, 8], shape=[2]), bytes(4)), "does not fit"),
        (encoded(entry(data_offsets=[4, 8]), bytes(8)), "holes"),
        (encoded(entry(), bytes(5)), "after the last"),
        (encoded(entry() | {"y": entry()["x"]}, bytes(4)), "overlap"),
    ],
)
def test_malformed_files_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(TensorFileError, match=message):
        parse_tensors(data)


@given(st.binary(max_size=300), st.integers(0, 200), st.integers(1, 255))
def test_no_damage_raises_anything_else(junk: bytes, position: int, flip: int) -> None:
    good = bytearray(safetensors.numpy.save({"w": np.ones((2, 2), np.float32)}))
    good[position % len(good)] ^= flip
    for data in (junk, bytes(good), encoded(junk)):
        try:
            parse_tensors(data)
        except TensorFileError:
            continue
