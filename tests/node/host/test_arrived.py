"""What has arrived is taken in the order and the sizes asked for, however it came."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.host.framing import Arrived


@given(st.lists(st.integers(1, 40_000), max_size=12), st.lists(st.integers(0, 50_000), max_size=12))
def test_bytes_come_out_as_they_went_in(puts: list[int], takes: list[int]) -> None:
    data = bytes(index % 251 for index in range(sum(puts)))
    arrived, at = Arrived(), 0
    for size_bytes in puts:
        arrived.put(data[at : at + size_bytes])
        at += size_bytes
    at = 0
    for size_bytes in takes:
        size_bytes = min(size_bytes, len(data) - at)
        assert arrived.peek(min(size_bytes, 4)) == data[at : at + min(size_bytes, 4)]
        assert arrived.take(size_bytes) == data[at : at + size_bytes]
        at += size_bytes
        assert arrived.size_bytes == len(data) - at


@pytest.mark.parametrize("size_bytes", [1, 100])
def test_many_small_pieces_become_few_objects(size_bytes: int) -> None:
    arrived = Arrived()
    for _ in range(100_000 // size_bytes):
        arrived.put(bytes(size_bytes))
    assert len(arrived._parts) < 10
