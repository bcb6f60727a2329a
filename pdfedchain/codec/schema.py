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

from pdfedchain.codec.generated import Field, generate_items, generate_pack, generate_unpack
from pdfedchain.errors import DecodeError
from pdfedchain.ids import Address, Cid, Hash, Range, Size, check_cid
from pdfedchain.limits import HASH_SIZE_BYTES, NESTING_MAX, PUBLIC_KEY_SIZE_BYTES, UINT_MAX

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
        hints: per field, the resolved annotation.
        pack: value of the type to array.
        unpack: array to value of the type; raises `DecodeError`.
        depth: levels of arrays, this one included.
    """

    cls: type
    tag: str
    names: tuple[str, ...]
    hints: tuple[Any, ...]
    pack: Pack
    unpack: Unpack
    depth: int


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
    fields = [_field(hints[name], (), f"{cls.__qualname__}.{name}") for name in names]
    depth = 1 + max((field.depth for field in fields), default=0)
    if depth > NESTING_MAX:
        raise TypeError(f"{cls.__qualname__} has {depth} levels of arrays, at most {NESTING_MAX} are allowed")
    return Schema(
        cls,
        tag,
        names,
        tuple(hints[name] for name in names),
        generate_pack(cls, tag, names, fields),
        generate_unpack(cls, tag, names, fields),
        depth,
    )


def _field(hint: Any, bounds: tuple[Any, ...], where: str) -> Field:
    """What is done with a value of one annotation."""
    if isinstance(hint, typing.NewType):
        if hint is Cid:
            return Field(_check_cid, _check_cid)
        return _field(hint.__supertype__, (*bounds, *_NEWTYPE_BOUNDS.get(hint, ())), where)
    origin = get_origin(hint)
    if origin is Annotated:
        inner, *metadata = get_args(hint)
        return _field(inner, (*bounds, *metadata), where)
    if origin in (Union, types.UnionType):
        return _union(get_args(hint), bounds, where)
    if origin is tuple:
        return _tuple(get_args(hint), bounds, where)
    if hint is int:
        return _integer(next((b for b in bounds if isinstance(b, Range)), Range(0, UINT_MAX)))
    if hint is bool:
        return _boolean()
    if hint in (bytes, str):
        return _sized(hint, next((b for b in bounds if isinstance(b, Size)), None), where)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _enum(hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _nested(hint)
    raise TypeError(f"{where}: {hint!r} has no canonical encoding")


def _check_cid(item: Any) -> Any:
    if type(item) is not bytes:
        raise DecodeError(f"expected bytes, found {type(item).__name__}")
    return check_cid(item)


def _boolean() -> Field:
    def check(item: Any) -> Any:
        if type(item) is not bool:
            raise DecodeError(f"expected bool, found {type(item).__name__}")
        return item

    return Field(check, check, "{0} is True or {0} is False")


def _integer(bound: Range) -> Field:
    low, high = bound.low, bound.high

    def check(item: Any) -> int:
        if type(item) is not int:
            raise DecodeError(f"expected int, found {type(item).__name__}")
        if not low <= item <= high:
            raise DecodeError(f"{item} is outside [{low}, {high}]")
        return item

    return Field(check, check, f"type({{0}}) is int and {low} <= {{0}} <= {high}")


def _sized(kind: Any, bound: Size | None, where: str) -> Field:
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

    test = f"type({{0}}) is bytes and {low} <= len({{0}}) <= {high}" if kind is bytes else None
    return Field(check, check, test)


def _enum(cls: type[enum.Enum]) -> Field:
    members = {member.value: member for member in cls}
    kinds = {type(value) for value in members}

    def unpack(item: Any) -> enum.Enum:
        if type(item) not in kinds or item not in members:
            raise DecodeError(f"{item!r} is no {cls.__name__}")
        return members[item]

    def pack(member: Any) -> Any:
        # A bare value would do here, but would not be equal in every way to what it is decoded to.
        if type(member) is not cls:
            raise DecodeError(f"expected {cls.__name__}, found {type(member).__name__}")
        return member.value

    return Field(pack, unpack)


def _nested(cls: type) -> Field:
    schema = schema_of(cls)
    pack_value = schema.pack

    def pack(value: Any) -> Any:
        if type(value) is not cls:
            raise DecodeError(f"expected {cls.__name__}, found {type(value).__name__}")
        return pack_value(value)

    return Field(pack, schema.unpack, depth=schema.depth)


def _union(members: tuple[Any, ...], bounds: tuple[Any, ...], where: str) -> Field:
    rest = tuple(member for member in members if member is not type(None))
    one = _field(rest[0], bounds, where) if len(rest) == 1 else _one_of(rest)
    if len(rest) == len(members):
        return one
    pack_one, unpack_one = one.pack, one.unpack
    return Field(
        lambda value: None if value is None else pack_one(value),
        lambda item: None if item is None else unpack_one(item),
        None if one.test is None else f"{{0}} is None or ({one.test})",
        one.depth,
    )


def _one_of(members: tuple[type, ...]) -> Field:
    schemas = {cls: schema_of(cls) for cls in members}
    packs = {cls: schema.pack for cls, schema in schemas.items()}
    unpacks = {schema.tag: schema.unpack for schema in schemas.values()}

    def pack(value: Any) -> Any:
        pack_member = packs.get(type(value))
        if pack_member is None:
            raise DecodeError(f"{type(value).__name__} is not one of {sorted(unpacks)}")
        return pack_member(value)

    def unpack(item: Any) -> Any:
        tag = item[0] if type(item) is list and item else None
        unpack_member = unpacks.get(tag) if type(tag) is str else None
        if unpack_member is None:
            raise DecodeError(f"expected one of {sorted(unpacks)}")
        return unpack_member(item)

    return Field(pack, unpack, depth=max(schema.depth for schema in schemas.values()))


def _tuple(arguments: tuple[Any, ...], bounds: tuple[Any, ...], where: str) -> Field:
    if len(arguments) != 2 or arguments[1] is not Ellipsis:
        raise TypeError(f"{where}: only tuple[X, ...] has a canonical encoding")
    bound = next((b for b in bounds if isinstance(b, Size)), None)
    if bound is None:
        raise TypeError(f"{where}: a tuple needs a Size bound")
    item = _field(arguments[0], (), where)
    return Field(
        generate_items(item.pack, item.test, tuple, list, bound.low, bound.high),
        generate_items(item.unpack, item.test, list, tuple, bound.low, bound.high),
        depth=1 + item.depth,
    )
