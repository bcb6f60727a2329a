"""Values of any canonical type, from its schema: hypothesis strategies, and one fixed example of each.

`values_of` draws from the whole range that the annotations allow, with lengths kept small. `example_of` needs no
hypothesis and always gives the same value, so that an encoding can be pinned by its hash.
"""

from __future__ import annotations

import enum
import hashlib
import types
import typing
from dataclasses import is_dataclass
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from hypothesis import reject
from hypothesis import strategies as st

from pdfedchain.codec.schema import schema_of
from pdfedchain.ids import Address, Cid, Hash, Range, Size
from pdfedchain.limits import HASH_SIZE_BYTES, PUBLIC_KEY_SIZE_BYTES, UINT_MAX
from pdfedchain.types.score import ScoreReport

__all__ = ["cids", "example_of", "hashes", "values_of"]

T = TypeVar("T")

#: Longest bytes, text and tuple drawn, unless the type asks for more.
_LENGTH_MAX = 40
_ITEMS_MAX = 3

_CID_PREFIXES = (b"\x01\x70\x12\x20", b"\x01\x55\x12\x20")

hashes = st.binary(min_size=HASH_SIZE_BYTES, max_size=HASH_SIZE_BYTES).map(Hash)
cids = st.builds(lambda prefix, digest: Cid(prefix + digest), st.sampled_from(_CID_PREFIXES), hashes)
_NEW_TYPES: dict[Any, st.SearchStrategy[Any]] = {
    Hash: hashes,
    Cid: cids,
    Address: st.binary(min_size=PUBLIC_KEY_SIZE_BYTES, max_size=PUBLIC_KEY_SIZE_BYTES).map(Address),
}


def values_of(cls: type[T]) -> st.SearchStrategy[T]:
    """Valid values of a canonical dataclass."""
    schema = schema_of(cls)
    fields = [_strategy(hint, ()) for hint in schema.hints]

    def construct(values: tuple[Any, ...]) -> T:
        try:
            return _made(cls, schema.names, values)
        except ValueError:  # the type's own rule
            reject()

    return st.tuples(*fields).map(construct)


def _made(cls: type[T], names: tuple[str, ...], values: tuple[Any, ...]) -> T:
    fields = dict(zip(names, values, strict=True))
    if cls is ScoreReport:  # almost every draw would break its rule
        fields["confirmed"] = min(fields["confirmed"], fields["checked"], fields["n"])
    return cls(**fields)


def _strategy(hint: Any, bounds: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    if hint in _NEW_TYPES:
        return _NEW_TYPES[hint]
    hint, bounds = _unwrapped(hint, bounds)
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return st.one_of(*(_strategy(member, bounds) for member in get_args(hint)))
    if origin is tuple:
        low, high = _lengths(bounds, _ITEMS_MAX)
        return st.lists(_strategy(get_args(hint)[0], ()), min_size=low, max_size=high).map(tuple)
    if hint is type(None):
        return st.none()
    if hint is bool:
        return st.booleans()
    if hint is int:
        low, high = _range(bounds)
        return st.integers(low, high)
    if hint is bytes:
        low, high = _lengths(bounds, _LENGTH_MAX)
        return st.binary(min_size=low, max_size=high)
    if hint is str:
        low, high = _lengths(bounds, _LENGTH_MAX)
        text = st.text(st.characters(exclude_categories=["Cs"]), min_size=low, max_size=high)
        return text.filter(lambda value: low <= len(value.encode()) <= high)
    if issubclass(hint, enum.Enum):
        return st.sampled_from(hint)
    assert is_dataclass(hint), hint
    return st.deferred(lambda: values_of(typing.cast(type, hint)))


def example_of(cls: type[T]) -> T:
    """One value of a canonical dataclass, the same in every run and version."""
    schema = schema_of(cls)
    values = [_example(hint, (), f"{schema.tag}.{name}") for name, hint in zip(schema.names, schema.hints, strict=True)]
    return _made(cls, schema.names, tuple(values))


def _example(hint: Any, bounds: tuple[Any, ...], seed: str) -> Any:
    noise = hashlib.sha256(seed.encode()).digest()
    if hint is Cid:
        return Cid(_CID_PREFIXES[0] + noise)
    if hint in _NEW_TYPES:
        return noise
    hint, bounds = _unwrapped(hint, bounds)
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _example(get_args(hint)[0], bounds, seed)
    if origin is tuple:
        low, high = _lengths(bounds, 2)
        return tuple(_example(get_args(hint)[0], (), f"{seed}.{i}") for i in range(max(low, high)))
    if hint is bool:
        return True
    if hint is int:
        low, high = _range(bounds)
        return low + int.from_bytes(noise[:8], "big") % (high - low + 1)
    if hint is bytes:
        low, high = _lengths(bounds, 24)
        return (noise * (high // 32 + 1))[:high]
    if hint is str:
        low, high = _lengths(bounds, 24)
        return noise.hex()[:high]
    if issubclass(hint, enum.Enum):
        return next(iter(hint))
    return example_of(hint)


def _unwrapped(hint: Any, bounds: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    while True:
        if isinstance(hint, typing.NewType):
            hint = hint.__supertype__
        elif get_origin(hint) is Annotated:
            hint, *metadata = get_args(hint)
            bounds = (*bounds, *metadata)
        else:
            return hint, bounds


def _range(bounds: tuple[Any, ...]) -> tuple[int, int]:
    bound = next((bound for bound in bounds if isinstance(bound, Range)), Range(0, UINT_MAX))
    return bound.low, bound.high


def _lengths(bounds: tuple[Any, ...], usual_max: int) -> tuple[int, int]:
    bound = next(bound for bound in bounds if isinstance(bound, Size))
    return bound.low, min(bound.high, max(bound.low, usual_max))
