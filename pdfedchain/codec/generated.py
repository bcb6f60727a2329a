"""The functions that pack and unpack one type, written out as one would write them by hand.

A schema is known when a type is first used, and every vote, transaction and state value passes through it afterwards.
Going through a list of functions for every field costs several times the work itself, so the loop is unrolled into
source text once, as `dataclasses` does for ``__init__``. For a transfer it says::

    def unpack(array):
        if type(array) is not list or len(array) != 3 or array[0] != tag:
            refuse(array)
        _, to_, amount_ = array
        if not (type(to_) is bytes and 32 <= len(to_) <= 32):
            refuse_to_(to_)
        if not (type(amount_) is int and 1 <= amount_ <= 9223372036854775807):
            refuse_amount_(amount_)
        return cls(to_, amount_)

Only field names, which are identifiers, and integers from bounds are ever put into the text; everything else is
handed over as a name. Locals end in an underscore, so that no field hides a builtin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

from pdfedchain.errors import DecodeError

__all__ = ["Field", "generate_items", "generate_pack", "generate_unpack"]

Convert = Callable[[Any], Any]


class Field(NamedTuple):
    """What is done with one field, or with one item of a tuple.

    Attributes:
        pack: value to MessagePack-able value; raises `DecodeError`.
        unpack: the inverse; raises `DecodeError`.
        test: expression over ``{0}``, true where both would give back what they are given. Then they are called only
            to say what is wrong. ``None`` where they must be called.
        depth: levels of arrays in the packed value.
    """

    pack: Convert
    unpack: Convert
    test: str | None = None
    depth: int = 0


def generate_unpack(cls: type, tag: str, names: Sequence[str], fields: Sequence[Field]) -> Convert:
    """From an array to a value of ``cls``. It raises `DecodeError` for all that `generate_pack` does not make."""
    locals_ = [f"{name}_" for name in names]
    scope: dict[str, Any] = {"cls": cls, "tag": tag, "refuse": _refusal_of_array(tag, len(names)), "error": DecodeError}
    lines = [
        "def unpack(array):",
        f"    if type(array) is not list or len(array) != {len(names) + 1} or array[0] != tag:",
        "        refuse(array)",
        f"    _, {', '.join(locals_)}, = array" if locals_ else "",
    ]
    lines += _conversions(tag, names, [field.unpack for field in fields], [field.test for field in fields], scope)
    lines += [
        "    try:",
        f"        return cls({', '.join(locals_)})",
        "    except ValueError as problem:",  # a dataclass's own __post_init__ rule
        "        raise error(f'{tag}: {problem}') from problem",
    ]
    return _function("unpack", lines, scope)


def generate_pack(cls: type, tag: str, names: Sequence[str], fields: Sequence[Field]) -> Convert:
    """From a value of ``cls`` to an array. It raises `DecodeError` for what could not be unpacked again."""
    scope: dict[str, Any] = {"tag": tag, "error": DecodeError}
    lines = ["def pack(value):", *(f"    {name}_ = value.{name}" for name in names)]
    lines += _conversions(tag, names, [field.pack for field in fields], [field.test for field in fields], scope)
    lines += [f"    return [{', '.join(['tag', *(f'{name}_' for name in names)])}]"]
    return _function("pack", lines, scope)


def generate_items(
    convert: Convert, test: str | None, source: type[tuple[Any, ...] | list[Any]], target: type, low: int, high: int
) -> Convert:
    """From a ``source`` of items to a ``target``, for tuples on one side and arrays on the other."""
    found = "a tuple" if source is tuple else "an array"

    def refuse(items: Any) -> NoReturn:
        if not isinstance(items, source):
            raise DecodeError(f"expected {found}, found {type(items).__name__}")
        raise DecodeError(f"{len(items)} items, expected {low} to {high}")

    each = "convert(item)" if test is None else f"item if {test.format('item')} else convert(item)"
    lines = [
        "def items(items):",
        f"    if type(items) is not source or not {low} <= len(items) <= {high}:",
        "        refuse(items)",
        f"    return target([{each} for item in items])"
        if target is tuple
        else f"    return [{each} for item in items]",
    ]
    return _function("items", lines, {"convert": convert, "refuse": refuse, "source": source, "target": target})


def _conversions(
    tag: str, names: Sequence[str], converts: Sequence[Convert], tests: Sequence[str | None], scope: dict[str, Any]
) -> list[str]:
    """Lines that convert each local, or check it where nothing has to be converted."""
    lines: list[str] = []
    for name, convert, test in zip(names, converts, tests, strict=True):
        local = f"{name}_"
        if test is not None:
            scope[f"refuse_{local}"] = _named(convert, f"{tag}.{name}")
            lines += [f"    if not ({test.format(local)}):", f"        refuse_{local}({local})"]
            continue
        scope[f"convert_{local}"] = convert
        lines += [
            "    try:",
            f"        {local} = convert_{local}({local})",
            "    except error as problem:",
            f"        raise error(f'{{tag}}.{name}: {{problem}}') from None",
        ]
    return lines


def _named(check: Convert, where: str) -> Convert:
    """``check`` for a value that its test has refused, so that it raises."""

    def refuse(item: Any) -> NoReturn:
        try:
            check(item)
        except DecodeError as error:
            raise DecodeError(f"{where}: {error}") from None
        raise AssertionError(f"{where}: {item!r} is refused without a reason")

    return refuse


def _refusal_of_array(tag: str, fields: int) -> Callable[[Any], NoReturn]:
    def refuse(array: Any) -> NoReturn:
        raise DecodeError(f"expected an array of {tag} with {fields} fields")

    return refuse


def _function(name: str, lines: Sequence[str], scope: dict[str, Any]) -> Convert:
    # The module's text says what can be in it.
    exec("\n".join(lines), scope)  # noqa: S102
    function: Convert = scope[name]
    return function
