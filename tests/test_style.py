"""Limits on the size of files and functions. (Broad exception handlers are ruff's rule BLE.)"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("pdfedchain", "diffusion", "node")
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def trees() -> Iterator[tuple[str, ast.Module]]:
    for path in sources():
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text(), str(path))


def test_files_are_short() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources()}
    assert {name: lines for name, lines in lengths.items() if lines > FILE_LINES_MAX} == {}


def test_functions_are_short() -> None:
    offenders = {}
    for name, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    offenders[f"{name}:{node.lineno} {node.name}"] = lines
    assert offenders == {}


def test_every_module_opens_with_prose() -> None:
    names = [name for name, tree in trees() if tree.body and ast.get_docstring(tree) is None]
    assert names == []
