"""Structure-aware mutation: changes a MessagePack value rather than its bytes.

Bytes drawn at random almost never pass a length prefix. This takes an input apart, replaces, repeats, removes or moves
some of its parts, and packs it again. What is no MessagePack is left to a byte mutator.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import msgpack

from tests.fuzz.target import LENGTH_MAX

__all__ = ["FLAGGED", "mutate_bytes", "mutate_structure"]

#: Targets that read a first byte as flags, before the structure.
FLAGGED = ("handle/consensus-message", "handle/transaction", "handle/mempool")

_NUMBERS = (0, 1, 2, 3, -1, 127, 128, 255, 256, 2**15, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**64 - 1, -(2**63))


def mutate_structure(data: bytes, rng: random.Random) -> bytes | None:
    """Another value near the one that ``data`` encodes; ``None`` if it encodes none."""
    try:
        tree = msgpack.unpackb(data, raw=False, unicode_errors="surrogateescape", strict_map_key=False)
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError, OverflowError, TypeError):
        return None
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places: list[tuple[list[Any], int]] = []
        _collect(tree, places, 0)
        if not places:
            break
        _change(places, rng)
    try:
        packed: bytes = msgpack.packb(tree, unicode_errors="surrogateescape")
    except (ValueError, OverflowError, RecursionError, TypeError):
        return None
    return packed if len(packed) <= LENGTH_MAX else None


def _collect(node: Any, places: list[tuple[list[Any], int]], depth: int) -> None:
    if type(node) is list and depth < 40:
        for index, item in enumerate(node):
            places.append((node, index))
            _collect(item, places, depth + 1)


def _change(places: list[tuple[list[Any], int]], rng: random.Random) -> None:
    parent, index = rng.choice(places)
    kind = rng.randrange(8)
    if kind == 0:
        del parent[index]
    elif kind == 1:
        parent.insert(index, parent[index])
    elif kind == 2:
        other, at = rng.choice(places)
        parent[index] = copy.deepcopy(other[at])
    elif kind == 3:
        parent[index] = [parent[index]]
    else:
        parent[index] = _other(parent[index], rng)


def _other(item: Any, rng: random.Random) -> Any:
    """Another value, most often of the same type."""
    if type(item) is int and rng.random() < 0.8:
        return rng.choice((rng.choice(_NUMBERS), item + 1, item - 1, rng.getrandbits(rng.randrange(1, 64))))
    if type(item) is bytes and rng.random() < 0.8:
        return mutate_bytes(item, rng)
    if type(item) is str and rng.random() < 0.8:
        return rng.choice(("", item + "x", item[:-1], item.upper(), "é\u202e", "\udcff", item * 3))
    if type(item) is bool:
        return not item
    return rng.choice((None, True, False, 0, -1, 1.5, b"", "", [], {}, rng.randbytes(32), rng.choice(_NUMBERS)))


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """``data`` with a few bytes flipped, removed, inserted or repeated."""
    out = bytearray(data)
    operations: tuple[Callable[[int], None], ...] = (
        lambda at: out.__setitem__(slice(at, at + 1), bytes([rng.randrange(256)])),
        lambda at: out.__setitem__(slice(at, at + rng.randrange(1, 9)), b""),
        lambda at: out.__setitem__(slice(at, at), rng.randbytes(rng.randrange(1, 9))),
        lambda at: out.__setitem__(slice(at, at), out[at : at + rng.randrange(1, 33)]),
        lambda at: out.__setitem__(slice(at, len(out)), b""),
    )
    for _ in range(rng.randrange(1, 4)):
        rng.choice(operations)(rng.randrange(len(out) + 1))
    return bytes(out[:LENGTH_MAX])
