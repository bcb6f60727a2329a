"""Parts of a tree are those of the tree, and nothing else is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdfedchain.crypto import EMPTY_ROOT, StateTree
from pdfedchain.crypto.parts import CutTree, TreePart, check_cut, check_part
from pdfedchain.errors import InvalidProof
from pdfedchain.ids import Hash


def tree_of(count: int, size_bytes: int = 10) -> StateTree:
    return StateTree().update({b"key%d" % i: bytes([i % 256]) * size_bytes for i in range(count)})


@given(
    contents=st.dictionaries(st.binary(max_size=6), st.binary(max_size=40), max_size=60),
    size_bytes_max=st.integers(0, 400),
)
@settings(max_examples=60, deadline=None)
def test_all_parts_together_are_the_tree(contents: dict[bytes, bytes], size_bytes_max: int) -> None:
    tree = StateTree().update(contents)
    cut = CutTree(tree, size_bytes_max=size_bytes_max)
    found: dict[bytes, bytes] = {}
    for index, (part, start) in enumerate(zip(cut.parts, check_cut(tree.root, cut.parts), strict=True)):
        items = list(cut.items(index))
        check_part(part, start, items)
        assert len(items) <= 1 or sum(len(key) + len(value) for key, value in items) <= size_bytes_max
        found.update(items)
    assert found == contents


def test_parts_are_as_large_as_they_may_be() -> None:
    assert len(CutTree(tree_of(100), size_bytes_max=10_000).parts) == 1
    assert len(CutTree(tree_of(100), size_bytes_max=0).parts) >= 100
    assert CutTree(StateTree(), size_bytes_max=0).parts == (TreePart(0, EMPTY_ROOT),)
    assert CutTree(tree_of(1, 1_000), size_bytes_max=0).parts == (TreePart(0, tree_of(1, 1_000).root),)


def test_a_cut_that_is_not_the_tree_s_is_refused() -> None:
    tree = tree_of(50)
    parts = CutTree(tree, size_bytes_max=200).parts
    deepest = max(part.depth for part in parts)
    wrong: list[tuple[TreePart, ...]] = [
        (),
        parts[:-1],
        parts[1:],
        (*parts, parts[-1]),
        (parts[1], parts[0], *parts[2:]),
        (replace(parts[0], root=Hash(bytes(32))), *parts[1:]),
        (replace(parts[0], depth=parts[0].depth + 1), *parts[1:]),
        (TreePart(0, tree.root), TreePart(0, tree.root)),
        (TreePart(256, tree.root),) * 4,
        (TreePart(1, tree.root), TreePart(0, tree.root)),
        tuple(reversed(parts)),
    ]
    assert deepest > 1
    for cut in wrong:
        with pytest.raises(InvalidProof):
            check_cut(tree.root, cut)
    with pytest.raises(InvalidProof, match="combine to the root"):
        check_cut(tree_of(51).root, parts)


def test_keys_and_values_that_are_not_the_part_s_are_refused() -> None:
    tree = tree_of(50)
    cut = CutTree(tree, size_bytes_max=300)
    starts = check_cut(tree.root, cut.parts)
    part, start, items = cut.parts[1], starts[1], list(cut.items(1))
    assert len(items) > 2
    for wrong in (
        [],
        items[1:],
        [*items, *items[:1]],
        [items[1], items[0], *items[2:]],
        [(items[0][0], b"other"), *items[1:]],
        [(b"other", items[0][1]), *items[1:]],
        [*items, *cut.items(2)],
        list(cut.items(0)),
    ):
        with pytest.raises(InvalidProof):
            check_part(part, start, wrong)
