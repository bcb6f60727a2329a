"""A state tree in parts, each of which can be checked alone against the root of the whole.

A *cut* names subtrees from left to right by depth and root, so that every path leads through exactly one of them.
Depths alone say where each lies: a part of depth ``d`` covers a share of ``2^-d`` of all paths, and begins where the
one before it ends. Combining neighbours of equal depth until one is left gives the root of the whole (`check_cut`).
So a cut needs no trust, and neither does a part: its keys and values must have its root (`check_part`).

::

              root                  parts in order: (2, A) (2, B) (1, C)
             /    \\
            *      C
           / \\
          A   B
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from pdfedchain.codec import canonical
from pdfedchain.crypto.merkle import StateTree
from pdfedchain.crypto.nodes import Node, branch_hash, grow, is_branch, new_leaf, node_items, path_of, root_of
from pdfedchain.errors import InvalidProof
from pdfedchain.ids import Hash, Range

__all__ = ["CutTree", "TreePart", "check_cut", "check_part"]

_PATH_BITS: Final = 256
#: What a key and its value cost beside their bytes; bounds the number of keys in a part too.
_FRAMING_SIZE_BYTES: Final = 16


@canonical("pdfed/tree-part/v1")
@dataclass(frozen=True, slots=True)
class TreePart:
    """One subtree of a cut.

    Attributes:
        depth: how many branches lie above it.
        root: its own; `EMPTY_ROOT` where it holds no key.
    """

    depth: Annotated[int, Range(0, _PATH_BITS)]
    root: Hash


class CutTree:
    """A tree cut into parts whose keys and values together have at most about a given size, or are a single one.

    Attributes:
        parts: from left to right.
    """

    def __init__(self, tree: StateTree, *, size_bytes_max: int) -> None:
        _, cut = _cut(tree._root, 0, size_bytes_max)
        self._nodes = [node for _, node in cut]
        self.parts = tuple(TreePart(depth, root_of(node)) for depth, node in cut)

    def items(self, index: int) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values of one part, in order of their paths."""
        return node_items(self._nodes[index])


def _cut(node: Node, depth: int, size_bytes_max: int) -> tuple[int, list[tuple[int, Node]]]:
    """Size of a subtree, and its cut with depths."""
    if node is None:
        return 0, [(depth, node)]
    if not is_branch(node):
        return len(node[1]) + len(node[2]) + _FRAMING_SIZE_BYTES, [(depth, node)]
    left_size_bytes, left = _cut(node[1], depth + 1, size_bytes_max)
    right_size_bytes, right = _cut(node[2], depth + 1, size_bytes_max)
    size_bytes = left_size_bytes + right_size_bytes
    return size_bytes, [(depth, node)] if size_bytes <= size_bytes_max else left + right


def check_cut(root: Hash, parts: Sequence[TreePart]) -> tuple[int, ...]:
    """Check that these are all parts of the tree with this root.

    Returns:
        Where each begins: the lowest path in it, as an integer of 256 bits.

    Raises:
        InvalidProof: they are not.
    """
    starts: list[int] = []
    stack: list[TreePart] = []
    at = 0
    for part in parts:
        width = 1 << (_PATH_BITS - part.depth)
        if at % width or at >= 1 << _PATH_BITS:
            raise InvalidProof(f"part {len(starts)} of depth {part.depth} does not begin where the one before ends")
        starts.append(at)
        at += width
        stack.append(part)
        while len(stack) > 1 and stack[-1].depth == stack[-2].depth:
            right, left = stack.pop(), stack.pop()
            stack.append(TreePart(left.depth - 1, branch_hash(left.root, right.root)))
    if at != 1 << _PATH_BITS:
        raise InvalidProof("the parts do not cover the whole tree")
    if stack[0].root != root:
        raise InvalidProof(f"the parts combine to the root {stack[0].root.hex()}, expected {root.hex()}")
    return tuple(starts)


def check_part(part: TreePart, start: int, items: Sequence[tuple[bytes, bytes]]) -> None:
    """Check that these keys and values, in order of their paths, are those of a part.

    Args:
        start: where it begins, as `check_cut` says.

    Raises:
        InvalidProof: they are not.
    """
    paths = [path_of(key) for key, _ in items]
    end, before = start + (1 << (_PATH_BITS - part.depth)), start - 1
    for path, (key, _) in zip(paths, items, strict=True):
        at = int.from_bytes(path, "big")
        if not before < at < end:
            raise InvalidProof(f"the key {key!r} is not in its place")
        before = at
    leaves = [(path, new_leaf(path, *item)) for path, item in zip(paths, items, strict=True)]
    found = root_of(grow(leaves, 0, len(leaves), part.depth))
    if found != part.root:
        raise InvalidProof(f"{len(leaves)} keys have the root {found.hex()}, expected {part.root.hex()}")
