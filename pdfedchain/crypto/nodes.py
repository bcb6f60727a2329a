"""The nodes of a state tree: what one looks like, its hash, and a batch of changes below one.

A node is a plain tuple that begins with its hash, and ``None`` where there is no key::

    leaf      (hash, key, value)
    branch    (hash, left, right)

Tuples, because Python's garbage collector stops looking at a tuple once nothing in it can be part of a cycle: a state
of a million keys is two million objects that are never visited, where objects of a class would be visited in every
full collection. A leaf is told from a branch by its key, which is bytes. A key's path is not kept: it is a hash away,
and asked for only when two keys meet in one place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from operator import itemgetter
from typing import Any, Final

from pdfedchain.crypto.hash import hash_prefix
from pdfedchain.ids import Hash

__all__ = [
    "EMPTY_ROOT",
    "Change",
    "Changed",
    "Node",
    "branch_hash",
    "descend",
    "find",
    "goes_right",
    "grow",
    "is_branch",
    "leaf_hash",
    "new_branch",
    "new_leaf",
    "node_items",
    "path_of",
    "root_of",
    "update_node",
    "value_hash",
]

EMPTY_ROOT: Final = Hash(bytes(32))

Node = tuple[Any, Any, Any] | None

#: Path, key, and value or ``None``.
Change = tuple[bytes, bytes, bytes | None]

#: Keys with their new values, ``None`` for those that are gone.
Changed = list[tuple[bytes, bytes | None]]

_KEY_PREFIX, _VALUE_PREFIX, _LEAF_PREFIX, _BRANCH_PREFIX = (
    hash_prefix(f"pdfed/state/{what}/v1") for what in ("key", "value", "leaf", "branch")
)


def path_of(key: bytes) -> bytes:
    """Where a key belongs: its bits say left or right from the root down."""
    return sha256(_KEY_PREFIX + key).digest()


def value_hash(value: bytes) -> Hash:
    """What a leaf's hash covers of its value."""
    return Hash(sha256(_VALUE_PREFIX + value).digest())


def leaf_hash(path: bytes, hashed_value: bytes) -> Hash:
    """Hash of a leaf."""
    return Hash(sha256(_LEAF_PREFIX + path + hashed_value).digest())


def branch_hash(left: bytes, right: bytes) -> Hash:
    """Hash of a branch."""
    return Hash(sha256(_BRANCH_PREFIX + left + right).digest())


def new_leaf(path: bytes, key: bytes, value: bytes) -> Node:
    """A leaf; ``path`` is the key's."""
    return sha256(_LEAF_PREFIX + path + sha256(_VALUE_PREFIX + value).digest()).digest(), key, value


def new_branch(left: Node, right: Node) -> Node:
    """A branch above two nodes."""
    hashes = (EMPTY_ROOT if left is None else left[0]) + (EMPTY_ROOT if right is None else right[0])
    return sha256(_BRANCH_PREFIX + hashes).digest(), left, right


def is_branch(node: Node) -> bool:
    """Whether a node is neither a leaf nor nothing."""
    return node is not None and type(node[1]) is not bytes


def root_of(node: Node) -> Hash:
    """Hash of a node."""
    return EMPTY_ROOT if node is None else node[0]


def goes_right(path: bytes, depth: int) -> int:
    """The bit of a path below ``depth`` branches, as 0 or not 0."""
    return path[depth >> 3] & 128 >> (depth & 7)


def find(node: Node, path: bytes) -> Node:
    """The leaf in a path's place; it may be another key's."""
    depth = 0
    while node is not None and type(node[1]) is not bytes:
        node = node[2] if path[depth >> 3] & 128 >> (depth & 7) else node[1]
        depth += 1
    return node


def descend(node: Node, path: bytes) -> tuple[Node, list[Node]]:
    """The leaf in a path's place, and what lies beside the way there, from the root down."""
    beside: list[Node] = []
    while node is not None and type(node[1]) is not bytes:
        _, left, right = node
        node, other = (right, left) if goes_right(path, len(beside)) else (left, right)
        beside.append(other)
    return node, beside


def node_items(root: Node) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values below a node, in order of their paths."""
    stack: list[Node] = [root]
    while stack:
        node = stack.pop()
        if node is None:
            continue
        if type(node[1]) is bytes:
            yield node[1], node[2]
        else:
            stack += (node[2], node[1])


def update_node(node: Node, changes: list[Change], low: int, high: int, depth: int, changed: Changed) -> Node:
    """``node``, which lies below ``depth`` branches, after the changes from ``low`` to ``high``, at least one.

    Args:
        changes: sorted by path.
        changed: what did change is added to it; if nothing did, the answer is ``node`` itself.
    """
    if high - low == 1:
        return _update_one(node, changes[low], depth, changed)
    if node is None or type(node[1]) is bytes:
        return _update_leaf(node, changes[low:high], depth, changed)
    middle = _split(changes, low, high, depth)
    _, old_left, old_right = node
    left = update_node(old_left, changes, low, middle, depth + 1, changed) if low < middle else old_left
    right = update_node(old_right, changes, middle, high, depth + 1, changed) if middle < high else old_right
    if left is old_left and right is old_right:
        return node
    if left is None or right is None:
        return _joined(left, right)
    # `new_branch`, without the calls
    return sha256(_BRANCH_PREFIX + left[0] + right[0]).digest(), left, right


def _joined(left: Node, right: Node) -> Node:
    """What stands above two nodes: a lone leaf rises, so that equal contents have equal shapes."""
    if left is None and not is_branch(right):
        return right
    if right is None and not is_branch(left):
        return left
    return new_branch(left, right)


def _update_one(node: Node, change: Change, depth: int, changed: Changed) -> Node:
    """`update_node` for a single change. Most changes are alone in the lower half of a tree."""
    path, key, value = change
    way: list[tuple[Any, Any, Any]] = []
    at = node
    while at is not None and type(at[1]) is not bytes:
        way.append(at)
        at = at[2] if path[depth >> 3] & 128 >> (depth & 7) else at[1]
        depth += 1
    if at is not None and at[1] == key and value is not None:
        if at[2] == value:
            return node
        changed.append((key, value))
        new = new_leaf(path, key, value)
    else:
        new = _update_leaf(at, [change], depth, changed)
        if new is at:
            return node
    for branch in reversed(way):
        _, left, right = branch
        depth -= 1
        if path[depth >> 3] & 128 >> (depth & 7):
            right = new
        else:
            left = new
        if left is None or right is None:
            new = _joined(left, right)
        else:  # `new_branch`, without the call
            new = sha256(_BRANCH_PREFIX + left[0] + right[0]).digest(), left, right
    return new


def _update_leaf(old: Node, changes: list[Change], depth: int, changed: Changed) -> Node:
    leaves: list[tuple[bytes, Node]] = []
    stays = old
    for path, key, value in changes:
        if old is not None and old[1] == key:
            if old[2] == value:
                continue
            stays = None
        elif value is None:
            continue
        changed.append((key, value))
        if value is not None:
            leaves.append((path, new_leaf(path, key, value)))
    if stays is not None:
        if not leaves:
            return stays
        leaves.append((path_of(stays[1]), stays))
        leaves.sort(key=itemgetter(0))
    return grow(leaves, 0, len(leaves), depth)


def grow(leaves: Sequence[tuple[bytes, Node]], low: int, high: int, depth: int) -> Node:
    """The subtree below ``depth`` branches of the leaves from ``low`` to ``high``, which are sorted by path."""
    if high - low < 2:
        return leaves[low][1] if low < high else None
    middle = _split(leaves, low, high, depth)
    return new_branch(grow(leaves, low, middle, depth + 1), grow(leaves, middle, high, depth + 1))


def _split(entries: Sequence[tuple[bytes, *tuple[Any, ...]]], low: int, high: int, depth: int) -> int:
    """Where, in entries sorted by path whose first ``depth`` bits are the same, those begin that go right next."""
    byte, bit = depth >> 3, 128 >> (depth & 7)
    while low < high:
        middle = (low + high) >> 1
        if entries[middle][0][byte] & bit:
            high = middle
        else:
            low = middle + 1
    return low
