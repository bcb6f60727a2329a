"""What the codec refuses, case by case."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Annotated, Any

import msgpack
import pytest

from pdfedchain.codec import canonical, decode, encode, from_plain, tag_of, to_plain
from pdfedchain.errors import DecodeError
from pdfedchain.ids import Address, Cid, Hash, Range, Size, UInt
from pdfedchain.limits import NESTING_MAX, UINT_MAX


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@canonical("test/inner/v1")
@dataclass(frozen=True, slots=True)
class Inner:
    number: UInt


@canonical("test/other/v1")
@dataclass(frozen=True, slots=True)
class Other:
    flag: bool


@canonical("test/everything/v1")
@dataclass(frozen=True, slots=True)
class Everything:
    number: Annotated[int, Range(-1, 300)]
    flag: bool
    data: Annotated[bytes, Size(4, low=1)]
    text: Annotated[str, Size(4, low=1)]
    colour: Colour
    level: Level
    inner: Inner
    maybe: Annotated[str, Size(4)] | None
    either: Inner | Other
    some: Annotated[tuple[Annotated[int, Range(0, 9)], ...], Size(3, low=1)]
    hash: Hash
    address: Address
    cid: Cid

    def __post_init__(self) -> None:
        if self.number == 13:
            raise ValueError("thirteen is refused by the type itself")


CID = Cid(b"\x01\x70\x12\x20" + bytes(32))
GOOD = Everything(
    300, True, b"data", "text", Colour.RED, Level.HIGH, Inner(UINT_MAX), None, Other(False), (1, 2), Hash(bytes(32)),
    Address(bytes(32)), CID,
)  # fmt: skip
FIELDS = list(Everything.__dataclass_fields__)


def array_with(name: str, item: Any) -> list[Any]:
    array = msgpack.unpackb(encode(GOOD), raw=False)
    array[1 + FIELDS.index(name)] = item
    return array  # type: ignore[no-any-return]


WRONG_ITEMS = [
    ("number", 301), ("number", -2), ("number", True), ("number", 1.0), ("number", "1"), ("number", None),
    ("number", 13),
    ("flag", 1), ("flag", None), ("flag", "true"),
    ("data", b""), ("data", b"12345"), ("data", "data"), ("data", None),
    ("text", ""), ("text", "12345"), ("text", "äää"), ("text", b"text"), ("text", 1),
    ("colour", "green"), ("colour", 1), ("colour", None), ("colour", []),
    ("level", 3), ("level", True), ("level", "LOW"), ("level", 1.0),
    ("inner", None), ("inner", []), ("inner", ["test/inner/v1"]), ("inner", ["test/inner/v1", 1, 2]),
    ("inner", ["test/other/v1", True]), ("inner", ["test/inner/v1", -1]), ("inner", ["test/inner/v1", 2**63]),
    ("maybe", 1), ("maybe", "12345"),
    ("either", None), ("either", []), ("either", [None]), ("either", [["test/inner/v1"]]), ("either", "x"),
    ("either", ["test/everything/v1"]), ("either", ["test/inner/v1", True]),
    ("some", []), ("some", [1, 2, 3, 4]), ("some", [10]), ("some", [True]), ("some", None), ("some", "12"),
    ("hash", bytes(31)), ("hash", bytes(33)), ("hash", "0" * 32),
    ("address", bytes(31)), ("address", None),
    ("cid", bytes(36)), ("cid", CID[:-1]), ("cid", CID + b"\x00"), ("cid", "cid"), ("cid", b"\x01\x71" + CID[2:]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "item"), WRONG_ITEMS, ids=repr)
def test_a_wrong_item_is_refused_by_name(name: str, item: Any) -> None:
    data = msgpack.packb(array_with(name, item))
    with pytest.raises(DecodeError) as caught:
        decode(Everything, data, size_bytes_max=1_000)
    assert item == 13 or f"test/everything/v1.{name}" in str(caught.value)


def test_items_of_containers_that_messagepack_has_and_we_have_not_are_refused() -> None:
    for item in ({}, {"a": 1}, msgpack.ExtType(5, b""), msgpack.ExtType(5, b"x"), msgpack.Timestamp(1, 1), 2**64 - 1):
        with pytest.raises(DecodeError):
            decode(Everything, msgpack.packb(array_with("number", item)), size_bytes_max=1_000)


@pytest.mark.parametrize(
    "spelling", [b"\xcc\x05", b"\xcd\x00\x05", b"\xce\x00\x00\x00\x05", b"\xd0\x05", b"\xd3" + b"\x00" * 7 + b"\x05"]
)
def test_a_second_spelling_of_an_integer_is_refused(spelling: bytes) -> None:
    short = encode(Inner(5))
    assert short.endswith(b"\x05")
    with pytest.raises(DecodeError, match="not the canonical encoding"):
        decode(Inner, short[:-1] + spelling, size_bytes_max=100)


def test_a_second_spelling_of_a_string_or_array_is_refused() -> None:
    data = encode(Inner(5))
    array, string = data[:1], data[1:2]
    assert (array, string) == (b"\x92", b"\xad")
    for other in (b"\xdc\x00\x02" + data[1:], array + b"\xd9\x0d" + data[2:], array + b"\xda\x00\x0d" + data[2:]):
        with pytest.raises(DecodeError, match="not the canonical encoding"):
            decode(Inner, other, size_bytes_max=100)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x92",
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\x92\xa2\xff\xfe\x05",
        b"\x91" * 5_000,
        b"\x91" * (NESTING_MAX + 1) + b"\x90",
    ],
    ids=[
        "empty",
        "reserved",
        "cut off",
        "endless array",
        "endless bytes",
        "endless text",
        "not UTF-8",
        "deep",
        "nested",
    ],
)
def test_hostile_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(Inner, data, size_bytes_max=10_000)


def test_left_over_bytes_and_too_many_bytes_are_refused() -> None:
    data = encode(GOOD)
    assert decode(Everything, data, size_bytes_max=len(data)) == GOOD
    with pytest.raises(DecodeError, match=f"at most {len(data) - 1}"):
        decode(Everything, data, size_bytes_max=len(data) - 1)
    with pytest.raises(DecodeError, match="MessagePack"):
        decode(Everything, data + b"\xc0", size_bytes_max=1_000)


@pytest.mark.parametrize(
    "value",
    [Inner(-1), Inner(2**63), Inner(True), Inner(1.0), Other(1), Inner("1")],  # type: ignore[arg-type]
    ids=repr,
)
def test_what_could_not_be_decoded_is_not_encoded(value: object) -> None:
    with pytest.raises(DecodeError):
        encode(value)


def test_a_bare_value_is_not_encoded_for_a_member_of_an_enum() -> None:
    for name, value in (("colour", "red"), ("level", 1), ("colour", Level.LOW)):
        with pytest.raises(DecodeError, match=f"test/everything/v1.{name}: expected"):
            encode(replace(GOOD, **{name: value}))


def test_text_that_is_no_unicode_is_not_encoded() -> None:
    @canonical("test/text/v1")
    @dataclass(frozen=True, slots=True)
    class Text:
        text: Annotated[str, Size(10)]

    for value in ("\ud800", "a\udfff"):
        with pytest.raises(DecodeError):
            encode(Text(value))
        with pytest.raises(DecodeError):
            from_plain(Text, {"text": value})


@pytest.mark.parametrize(
    "hint",
    [
        float,
        dict,
        list[int],
        set[int],
        bytes,
        str,
        tuple[int, ...],
        Annotated[tuple[int, str], Size(2)],
        Any,
        object,
        Annotated[list[int], Size(2)],
    ],
    ids=str,
)
def test_fields_without_one_obvious_form_are_refused_when_the_type_is_used(hint: Any) -> None:
    cls = dataclass(frozen=True)(type("Bad", (), {"__annotations__": {"field": hint}}))
    canonical(f"test/bad/{hint}/v1")(cls)
    with pytest.raises(TypeError, match="field"):
        encode(cls(1))


def test_a_type_nested_deeper_than_allowed_is_refused_when_it_is_used() -> None:
    cls: Any = Inner
    value: Any = Inner(1)
    for depth in range(2, NESTING_MAX + 2):
        fields = {"inner": cls}
        cls = canonical(f"test/nested/{depth}/v1")(dataclass(frozen=True)(type("N", (), {"__annotations__": fields})))
        value = cls(value)
        if depth <= NESTING_MAX:
            assert decode(cls, encode(value), size_bytes_max=10_000) == value
    with pytest.raises(TypeError, match=f"{NESTING_MAX + 1} levels"):
        encode(value)


def test_no_field_name_hides_what_generated_code_uses() -> None:
    names = ("cls", "tag", "refuse", "error", "array", "value", "type", "len", "bytes", "list", "int", "bool")
    shadowing = type("Shadowing", (), {"__annotations__": {**dict.fromkeys(names, UInt), "problem": Inner}})
    cls: Any = canonical("test/shadowing/v1")(dataclass(frozen=True)(shadowing))
    value = cls(*range(len(names)), Inner(7))
    assert decode(cls, encode(value), size_bytes_max=1_000) == value
    with pytest.raises(DecodeError, match=r"test/shadowing/v1\.problem: test/inner/v1\.number"):
        encode(cls(*range(len(names)), Inner(-1)))


def test_a_tag_belongs_to_one_type_and_a_type_needs_one() -> None:
    with pytest.raises(TypeError, match="belongs to Inner"):
        canonical("test/inner/v1")(Other)
    with pytest.raises(TypeError, match="dataclass"):
        canonical("test/none/v1")(int)
    with pytest.raises(TypeError, match="no canonical encoding"):
        tag_of(int)

    class Sub(Inner):
        pass

    with pytest.raises(TypeError, match="no canonical encoding"):
        tag_of(Sub)


# JSON


def test_plain_values_are_for_people() -> None:
    plain = to_plain(GOOD)
    assert plain["cid"].startswith("b")
    assert plain["data"] == b"data".hex()
    assert plain["either"] == {"type": "test/other/v1", "flag": False}
    assert plain["maybe"] is None
    assert (plain["colour"], plain["level"], plain["some"]) == ("red", 2, [1, 2])
    assert from_plain(Everything, plain) == GOOD


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("number", "1"), ("number", 301), ("number", 1.0), ("number", 13), ("flag", 1), ("data", "xyz"), ("data", 5),
        ("data", ""), ("text", ["t"]), ("text", ""), ("colour", "green"), ("colour", []), ("level", "HIGH"),
        ("inner", []), ("inner", {"number": -1}), ("inner", {}), ("inner", {"number": 1, "more": 2}), ("maybe", 5),
        ("either", None), ("either", {}), ("either", {"type": "test/everything/v1"}), ("either", {"type": ["x"]}),
        ("either", {"type": "test/inner/v1"}), ("some", 1), ("some", [1, 2, 3, 4]), ("some", {"a": 1}),
        ("hash", "00"), ("address", None), ("cid", "b"), ("cid", []), ("cid", {}), ("cid", 7), ("cid", ""),
    ],
    ids=repr,
)  # fmt: skip
def test_a_wrong_plain_value_is_refused(name: str, value: Any) -> None:
    with pytest.raises(DecodeError):
        from_plain(Everything, {**to_plain(GOOD), name: value})


def test_unknown_and_missing_keys_are_named() -> None:
    plain = to_plain(GOOD)
    with pytest.raises(DecodeError, match=r"unknown keys \['more'\]"):
        from_plain(Everything, {**plain, "more": 1})
    del plain["flag"]
    with pytest.raises(DecodeError, match=r"missing keys \['flag'\]"):
        from_plain(Everything, plain)
    for other in (None, [], "text", 5):
        with pytest.raises(DecodeError, match="object"):
            from_plain(Everything, other)
