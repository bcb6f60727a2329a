"""Decoders of the canonical encoding: every type of every package, binary and as JSON."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import partial

# Types that nodes exchange are declared where they are used.
import node.ballot_book
import node.channel
import node.sync
import node.weights.messages
import node.wire  # noqa: F401
from pdfedchain.codec import decode, encode, from_plain, to_plain
from pdfedchain.codec.schema import _TAGS
from pdfedchain.errors import DecodeError
from pdfedchain.testing.strategies import example_of
from tests.fuzz.mutator import mutate_structure
from tests.fuzz.target import LENGTH_MAX, Target
from tests.pdfedchain.codec.canonical_types import canonical_types

__all__ = ["codec_targets"]


def every_type() -> dict[str, type]:
    """All canonical types of the installed packages by tag."""
    found = dict(canonical_types())
    found |= {tag: cls for tag, cls in _TAGS.items() if cls.__module__.startswith(("node.", "diffusion."))}
    return {tag: found[tag] for tag in sorted(found)}


def binary(cls: type, data: bytes) -> None:
    """What is decoded encodes to the same bytes; everything else is refused with one error."""
    try:
        value = decode(cls, data, size_bytes_max=LENGTH_MAX)
    except DecodeError:
        return
    if encode(value) != data:
        raise AssertionError("two encodings of one value")


def plain(cls: type, data: bytes) -> None:
    """The same for the JSON form."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return
    try:
        value = from_plain(cls, tree)
        again = from_plain(cls, to_plain(value))
    except DecodeError:
        return
    if again != value:
        raise AssertionError("the JSON form of a value is another value")


def _seeds(cls: type) -> tuple[bytes, ...]:
    first = encode(example_of(cls))
    rng = random.Random(first)
    others = (mutate_structure(first, rng) for _ in range(20))
    return (first, *(other for other in others if other is not None))


def codec_targets() -> Iterator[Target]:
    """Two targets for each type that both forms are read of, one for the others."""
    for tag, cls in every_type().items():
        yield Target(f"decode/{tag}", partial(binary, cls), _seeds(cls))
    for name in ("pdfed/genesis/v1", "pdfed/ledger-genesis/v1"):
        cls = every_type()[name]
        yield Target(f"json/{name}", partial(plain, cls), (json.dumps(to_plain(example_of(cls))).encode(),))
