"""The list of planted bugs keeps up with the source; planting them takes minutes and is `make mutants`."""

from __future__ import annotations

import ast

from tests.mutation.__main__ import ROOT, misplaced
from tests.mutation.mutants import MUTANTS


def test_every_text_to_replace_is_in_the_source_exactly_once() -> None:
    assert [problem for mutant in MUTANTS if (problem := misplaced(mutant)) is not None] == []


def test_every_named_test_exists() -> None:
    missing = []
    for mutant in MUTANTS:
        path, _, name = mutant.test.partition("::")
        tree = ast.parse((ROOT / "tests" / "pdfedchain" / path).read_text())
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        if name and name not in functions:
            missing.append(mutant.test)
    assert missing == []


def test_the_guide_lists_every_bug_with_its_test() -> None:
    guide = (ROOT / "docs" / "testing-consensus.md").read_text()
    rows = [f"| {mutant.name} | `{mutant.test.rpartition('::')[2]}` |" for mutant in MUTANTS]
    assert [row for row in rows if row not in guide] == []
    assert f"plants {len(MUTANTS)} bugs" in guide


def test_no_two_bugs_are_the_same() -> None:
    assert len({(mutant.path, mutant.old, mutant.new) for mutant in MUTANTS}) == len(MUTANTS)
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
