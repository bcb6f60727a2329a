"""Writes ``docs/api.md``: every public name with the first sentence of its docstring.

``python -m tests.pdfedchain.api_page`` after a public name is added or removed. The page is the pin: a test compares
its names with the modules'.
"""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "api.md"

MODULES = (
    "pdfedchain",
    "pdfedchain.light",
    "pdfedchain.testing",
    "pdfedchain.codec",
    "pdfedchain.crypto",
    "pdfedchain.ids",
    "pdfedchain.errors",
    "pdfedchain.application",
    "pdfedchain.chain",
    "pdfedchain.audit",
    "pdfedchain.proving",
    "pdfedchain.snapshot",
    "pdfedchain.store.interface",
    "pdfedchain.consensus.replica",
    "pdfedchain.consensus.inputs",
    "pdfedchain.consensus.effects",
    "pdfedchain.consensus.ports",
    "pdfedchain.state",
)

_INTRODUCTION = """\
# The API

Written by `python -m tests.pdfedchain.api_page`; a test holds its names to the code. What is listed here is public: it
changes with a note in the changelog only. Every module of `pdfedchain.types` is public too; what begins with an
underscore is not, nor is any module that is not named here. [Embedding](embedding.md) shows how the names belong
together.
"""


def public_names(module: str) -> list[str]:
    """What ``from module import *`` gives, in order of names."""
    names: list[str] = importlib.import_module(module).__all__
    return sorted(names, key=lambda name: (name.lower(), name))


def sentence(module: str, name: str) -> str:
    """The first sentence of a name's docstring; what kind of thing it is where it has none of its own."""
    value: Any = getattr(importlib.import_module(module), name)
    if hasattr(value, "__supertype__"):
        return f"`{value.__supertype__.__name__}`, told apart by type checkers"
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return f"`{value!r}`" if isinstance(value, int | bytes) and len(repr(value)) < 30 else "a type or a constant"
    told = _first_sentence(inspect.getdoc(value))
    return _first_sentence(importlib.import_module(value.__module__).__doc__) if told.startswith("See ") else told


def _first_sentence(text: str | None) -> str:
    paragraph = " ".join((text or "").split("\n\n")[0].split()).replace("``", "`")
    return re.split(r"(?<=[.!?:]) ", paragraph)[0].rstrip(":;.")


def page() -> str:
    """The whole page."""
    parts = [_INTRODUCTION]
    for module in MODULES:
        about = " ".join((importlib.import_module(module).__doc__ or "").split("\n\n")[0].split())
        rows = [f"| `{name}` | {sentence(module, name).replace('|', chr(92) + '|')} |" for name in public_names(module)]
        parts.append("\n".join([f"## `{module}`", "", about, "", "| name | is |", "|---|---|", *rows, ""]))
    return "\n".join(parts)


def listed(text: str) -> dict[str, list[str]]:
    """The names that a page lists, by module."""
    sections = re.split(r"^## `([\w.]+)`$", text, flags=re.MULTILINE)[1:]
    return {
        module: re.findall(r"^\| `(\w+)` \|", body, re.MULTILINE)
        for module, body in zip(sections[::2], sections[1::2], strict=True)
    }


if __name__ == "__main__":
    PAGE.write_text(page())
