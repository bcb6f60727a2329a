"""The guide to embedding says what is true: its code runs, in order."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "embedding.md"
APPLICATION_LINES_MAX = 60


def blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def module() -> Iterator[types.ModuleType]:
    """What the guide's code lives in; dataclasses look their module up by name."""
    made = types.ModuleType("embedding_guide")
    sys.modules[made.__name__] = made
    yield made
    del sys.modules[made.__name__]


def test_the_guide_s_code_runs(module: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number, block in enumerate(blocks()):
        exec(compile(block, f"{GUIDE.name}, block {number}", "exec"), module.__dict__)
    assert module.chain.height == 1


def test_an_application_is_short() -> None:
    application = [line for line in blocks()[0].splitlines() if line.strip()]
    imports = next(i for i, line in enumerate(application) if line.startswith("@"))
    assert len(application) - imports < APPLICATION_LINES_MAX


def test_the_guide_s_lines_fit_the_page() -> None:
    assert max(len(line) for block in blocks() for line in block.splitlines()) <= 120
