"""From a dataclass's annotations to the functions that encode and decode it.

A type takes part by the decorator `canonical`, which gives it a domain tag. Its fields may be ``int``, ``bool``,
``bytes``, ``str``, an ``Enum`` of integers or strings, another canonical dataclass, ``X | None``, a union of
canonical dataclasses, and ``tuple[X, ...]``; bounds come as `Range` and `Size` in ``Annotated``. Floats, dicts,
sets and lists are refused when the type is declared, not when the first value is met: none of them has one
obvious canonical form.

What an array holds::

    canonical dataclass   [tag, field, field, ...]
    tuple                 [item, item, ...]
    optional              nil, or the value
    enum                  its value
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pdfedchain.errors import DecodeError
from pdfedchain.ids import Address, Cid, Hash, Range, Size, check_cid
from pdfedchain.limits import HASH_SIZE_BYTES, PUBLIC_KEY_SIZE_BYTES, UINT_MAX

T = TypeVar("T")
Pack = Callable[[Any], Any]
Unpack = Callable[[Any], Any]

_NEWTYPE_BOUNDS: dict[Any, tuple[Size, ...]] = {
    Hash: (Size.exactly(HASH_SIZE_BYTES),),
    Address: (Size.exactly(PUBLIC_KEY_SIZE_BYTES),),
}
_TAGS: dict[str, type] = {}
_SCHEMAS: dict[type, Schema] = {}
_TAG_ATTRIBUTE = "__canonical_tag__"


def canonical(tag: str) -> Callable[[type[T]], type[T]]:
    """Give a frozen dataclass its domain tag and a place in the encoding.

    Args:
        tag: unique over the project, for example ``"pdfed/vote/v1"``. A changed encoding gets a new one.
    """

    def mark(cls: type[T]) -> type[T]:
        if not dataclasses.is_dataclass(cls):
            raise TypeError(f"{cls.__qualname__} must be a dataclass to be canonical")
        if tag in _TAGS and _TAGS[tag].__qualname__ != cls.__qualname__:
            raise TypeError(f"tag {tag!r} belongs to {_TAGS[tag].__qualname__} already")
        _TAGS[tag] = cls
        setattr(cls, _TAG_ATTRIBUTE, tag)
        return cls

    return mark


def tag_of(cls: type) -> str:
    """The domain tag of a canonical dataclass."""
    tag = cls.__dict__.get(_TAG_ATTRIBUTE)
    if tag is None:
        raise TypeError(f"{cls.__qualname__} has no canonical encoding; decorate it with @canonical(tag)")
    return typing.cast(str, tag)


@dataclasses.dataclass(frozen=True, slots=True)
class Schema:
    """How one dataclass maps to an array.

    Attributes:
        tag: first item of the array.
        names: field names, in order.
        packers: per field, value to MessagePack-able value.
        unpackers: per field, the inverse; raises `DecodeError`.
        hints: per field, the resolved annotation.
    """

    cls: type
    tag: str
    names: tuple[str, ...]
    packers: tuple[Pack, ...]
    unpackers: tuple[Unpack, ...]
    hints: tuple[Any, ...]

    def pack(self, value: Any) -> list[Any]:
        return [self.tag, *(p(getattr(value, n)) for n, p in zip(self.names, self.packers, strict=True))]

    def unpack(self, array: Any) -> Any:
        if type(array) is not list or len(array) != len(self.names) + 1 or array[0] != self.tag:
            raise DecodeError(f"expected an array of {self.tag} with {len(self.names)} fields")
        values: list[Any] = []
        for name, unpacker, item in zip(self.names, self.unpackers, array[1:], strict=True):
            try:
                values.append(unpacker(item))
            except DecodeError as error:
                raise DecodeError(f"{self.tag}.{name}: {error}") from None
        try:
            return self.cls(*values)
        except ValueError as error:  # a dataclass's own __post_init__ rule
            raise DecodeError(f"{self.tag}: {error}") from error


def schema_of(cls: type) -> Schema:
    """The schema of a canonical dataclass, computed once."""
    schema = _SCHEMAS.get(cls)
    if schema is None:
        schema = _SCHEMAS[cls] = _build(cls)
    return schema


def _build(cls: type) -> Schema:
    tag = tag_of(cls)
    hints = get_type_hints(cls, include_extras=True)
    names = tuple(field.name for field in dataclasses.fields(cls))
    pairs = tuple(_functions(hints[name], (), f"{cls.__qualname__}.{name}") for name in names)
    return Schema(
        cls,
        tag,
        names,
        tuple(p for p, _ in pairs),
        tuple(u for _, u in pairs),
        tuple(hints[n] for n in names),
    )


def _functions(hint: Any, bounds: tuple[Any, ...], where: str) -> tuple[Pack, Unpack]:
    """Packer and unpacker of one annotation."""
    if isinstance(hint, typing.NewType):
        if hint is Cid:
            return check_cid, _checked_bytes(check_cid)
        return _functions(hint.__supertype__, (*bounds, *_NEWTYPE_BOUNDS.get(hint, ())), where)
    origin = get_origin(hint)
    if origin is Annotated:
        inner, *metadata = get_args(hint)
        return _functions(inner, (*bounds, *metadata), where)
    if origin in (Union, types.UnionType):
        return _union(get_args(hint), bounds, where)
    if origin is tuple:
        return _tuple(get_args(hint), bounds, where)
    if hint is int:
        return _integer(next((b for b in bounds if isinstance(b, Range)), Range(0, UINT_MAX)))
    if hint is bool:
        return _exact(bool)
    if hint in (bytes, str):
        return _sized(hint, next((b for b in bounds if isinstance(b, Size)), None), where)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _enum(hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _nested(hint)
    raise TypeError(f"{where}: {hint!r} has no canonical encoding")


def _checked_bytes(check: Callable[[bytes], Any]) -> Unpack:
    def unpack(item: Any) -> Any:
        if type(item) is not bytes:
            raise DecodeError(f"expected bytes, found {type(item).__name__}")
        return check(item)

    return unpack


def _exact(kind: type) -> tuple[Pack, Unpack]:
    def check(item: Any) -> Any:
        if type(item) is not kind:
            raise DecodeError(f"expected {kind.__name__}, found {type(item).__name__}")
        return item

    return check, check


def _integer(bound: Range) -> tuple[Pack, Unpack]:
    low, high = bound.low, bound.high

    def check(item: Any) -> int:
        if type(item) is not int:
            raise DecodeError(f"expected int, found {type(item).__name__}")
        if not low <= item <= high:
            raise DecodeError(f"{item} is outside [{low}, {high}]")
        return item

    return check, check


def _sized(kind: Any, bound: Size | None, where: str) -> tuple[Pack, Unpack]:
    if bound is None:
        raise TypeError(f"{where}: {kind.__name__} needs a Size bound")
    low, high = bound.low, bound.high

    def check(item: Any) -> Any:
        if type(item) is not kind:
            raise DecodeError(f"expected {kind.__name__}, found {type(item).__name__}")
        try:
            size = len(item) if kind is bytes else len(item.encode("utf-8", "strict"))
        except UnicodeEncodeError as error:
            raise DecodeError(f"text that is no Unicode: {error}") from error
        if not low <= size <= high:
            raise DecodeError(f"{size} bytes, expected {low} to {high}")
        return item

    return check, check


def _enum(cls: type[enum.Enum]) -> tuple[Pack, Unpack]:
    members = {member.value: member for member in cls}
    kinds = {type(value) for value in members}

    def unpack(item: Any) -> enum.Enum:
        if type(item) not in kinds or item not in members:
            raise DecodeError(f"{item!r} is no {cls.__name__}")
        return members[item]

    return (lambda member: cls(member).value), unpack


def _nested(cls: type) -> tuple[Pack, Unpack]:
    def pack(value: Any) -> list[Any]:
        if type(value) is not cls:
            raise DecodeError(f"expected {cls.__name__}, found {type(value).__name__}")
        return schema_of(cls).pack(value)

    return pack, lambda item: schema_of(cls).unpack(item)


def _union(members: tuple[Any, ...], bounds: tuple[Any, ...], where: str) -> tuple[Pack, Unpack]:
    rest = tuple(member for member in members if member is not type(None))
    optional = len(rest) < len(members)
    if len(rest) == 1:
        pack_one, unpack_one = _functions(rest[0], bounds, where)
    else:
        by_tag = {tag_of(cls): cls for cls in rest}
        allowed = frozenset(rest)

        def pack_one(value: Any) -> Any:
            if type(value) not in allowed:
                raise DecodeError(f"{type(value).__name__} is not one of {sorted(by_tag)}")
            return schema_of(type(value)).pack(value)

        def unpack_one(item: Any) -> Any:
            tag = item[0] if type(item) is list and item else None
            cls = by_tag.get(tag) if type(tag) is str else None
            if cls is None:
                raise DecodeError(f"expected one of {sorted(by_tag)}")
            return schema_of(cls).unpack(item)

    if not optional:
        return pack_one, unpack_one
    return (
        lambda value: None if value is None else pack_one(value),
        lambda item: None if item is None else unpack_one(item),
    )


def _tuple(arguments: tuple[Any, ...], bounds: tuple[Any, ...], where: str) -> tuple[Pack, Unpack]:
    if len(arguments) != 2 or arguments[1] is not Ellipsis:
        raise TypeError(f"{where}: only tuple[X, ...] has a canonical encoding")
    bound = next((b for b in bounds if isinstance(b, Size)), None)
    if bound is None:
        raise TypeError(f"{where}: a tuple needs a Size bound")
    pack_item, unpack_item = _functions(arguments[0], (), where)
    low, high = bound.low, bound.high

    def check_size(size: int) -> None:
        if not low <= size <= high:
            raise DecodeError(f"{size} items, expected {low} to {high}")

    def pack(value: Any) -> list[Any]:
        if type(value) is not tuple:
            raise DecodeError(f"expected tuple, found {type(value).__name__}")
        check_size(len(value))
        return [pack_item(item) for item in value]

    def unpack(item: Any) -> tuple[Any, ...]:
        if type(item) is not list:
            raise DecodeError(f"expected an array, found {type(item).__name__}")
        check_size(len(item))
        return tuple(unpack_item(entry) for entry in item)

    return pack, unpack
