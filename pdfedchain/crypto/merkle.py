"""The state tree: an immutable map from bytes to bytes with a Merkle root and proofs of presence and absence.

A compact sparse Merkle tree. A key's path is the bits of its tagged hash, most significant first; a subtree that
holds one key is that key's leaf itself, so a tree of n keys is about log2(n) deep. Leaf and branch hashes carry
different tags, and the empty subtree is 32 zero bytes. Equal contents have equal roots, whatever the order of
changes.

Trees share their unchanged parts: a snapshot, a speculative block or a fork costs nothing but what it changes. A batch
of changes is sorted by path and rebuilds every branch above it once, whatever the number of keys below; hashes are
computed when first asked for.

The shape follows Dahlberg, Pulls and Peeters, "Efficient Sparse Merkle Trees" (2016), and the leaf compression of
Diem's Jellyfish Merkle tree (2021).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from operator import itemgetter
from typing import Annotated, Any, Final, final

from pdfedchain.codec import canonical
from pdfedchain.crypto.hash import hash_prefix
from pdfedchain.errors import InvalidProof
from pdfedchain.ids import Hash, Size

__all__ = ["EMPTY_ROOT", "StateProof", "StateTree", "verify_absence", "verify_presence"]

EMPTY_ROOT: Final = Hash(bytes(32))
_PATH_BITS: Final = 256


@final
class _Leaf:
    """A key's path is not kept: it is a hash away, and asked for only when two keys meet in one place."""

    __slots__ = ("hash", "key", "value")

    def __init__(self, key: bytes, value: bytes) -> None:
        self.key = key
        self.value = value
        self.hash: Hash | None = None


@final
class _Branch:
    __slots__ = ("hash", "left", "right")

    def __init__(self, left: _Node, right: _Node) -> None:
        self.left = left
        self.right = right
        self.hash: Hash | None = None


_Node = _Leaf | _Branch | None

#: Path, key, and value or ``None``.
_Change = tuple[bytes, bytes, bytes | None]


@canonical("pdfed/state-proof/v1")
@dataclass(frozen=True, slots=True)
class StateProof:
    """The way from a key's place to the root.

    Attributes:
        siblings: hashes beside the path, from the root down.
        leaf_path: path of the leaf found at the end of the way; ``None`` where the place is empty.
        leaf_value_hash: hash of that leaf's value; ``None`` likewise.
    """

    siblings: Annotated[tuple[Hash, ...], Size(_PATH_BITS)]
    leaf_path: Hash | None
    leaf_value_hash: Hash | None


class StateTree:
    """An immutable key-value map. `put`, `delete` and `update` return a new tree; the old one stays as it was."""

    __slots__ = ("_origin", "_root", "decoded")

    def __init__(self) -> None:
        #: Room for those who read to keep what they made of the values, by key; the tree does not look at it.
        self.decoded: dict[bytes, Any] = {}
        self._root: _Node = None
        #: Root of the tree this one was made from, and what was changed, for `changes_since`.
        self._origin: tuple[_Node, list[tuple[bytes, bytes | None]]] | None = None

    @property
    def root(self) -> Hash:
        """The Merkle root, `EMPTY_ROOT` for no keys."""
        return _hash(self._root)

    def get(self, key: bytes) -> bytes | None:
        """The value of ``key``, or ``None``."""
        node = _descend(self._root, _path(key))[0]
        return node.value if node is not None and node.key == key else None

    def put(self, key: bytes, value: bytes) -> StateTree:
        """A tree in which ``key`` has ``value``; the same tree where it had."""
        return self.update({key: value})

    def delete(self, key: bytes) -> StateTree:
        """A tree without ``key``; the same tree where it was absent."""
        return self.update({key: None})

    def update(self, changes: Mapping[bytes, bytes | None]) -> StateTree:
        """A tree with all these changes, ``None`` for a key that is to be absent; the same tree where nothing changes.

        The order of the changes does not matter.
        """
        ordered: list[_Change] = sorted((_path(key), key, value) for key, value in changes.items())
        changed: list[tuple[bytes, bytes | None]] = []
        root = _update(self._root, ordered, 0, len(ordered), 0, changed) if ordered else self._root
        if root is self._root:
            return self
        tree = StateTree()
        tree._root, tree._origin = root, (self._root, changed)
        return tree

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All keys and values, in the order of their paths (not of their keys)."""
        return _items(self._root)

    def changes_since(self, other: StateTree) -> Iterator[tuple[bytes, bytes | None]]:
        """What leads from ``other`` to this tree: keys with their values here, ``None`` where a key is gone.

        In order of paths. Shared parts are skipped, so the cost is that of what was changed between the two.
        """
        if self._origin is not None and self._origin[0] is other._root:
            yield from self._origin[1]
            return
        stack = [(other._root, self._root)]
        while stack:
            before, after = stack.pop()
            if before is after:
                continue
            if isinstance(before, _Branch) and isinstance(after, _Branch):
                stack += ((before.right, after.right), (before.left, after.left))
                continue
            old, new = dict(_items(before)), dict(_items(after))
            yield from ((key, value) for key, value in new.items() if old.get(key) != value)
            yield from ((key, None) for key in old if key not in new)

    def prove(self, key: bytes) -> StateProof:
        """Proof of what `get` answers for ``key``, present or absent."""
        node, way = _descend(self._root, _path(key))
        siblings = tuple(_hash(sibling) for sibling in way)
        if node is None:
            return StateProof(siblings, None, None)
        return StateProof(siblings, Hash(_path(node.key)), _value_hash(node.value))


def verify_presence(root: Hash, key: bytes, value: bytes, proof: StateProof) -> None:
    """Check that ``key`` has ``value`` in the tree with this root.

    Raises:
        InvalidProof: the proof does not show that.
    """
    _check_form(proof)
    if proof.leaf_path != _path(key) or proof.leaf_value_hash != _value_hash(value):
        raise InvalidProof("the proof ends at another key or value")
    _check_way(root, key, proof)


def verify_absence(root: Hash, key: bytes, proof: StateProof) -> None:
    """Check that ``key`` has no value in the tree with this root.

    Raises:
        InvalidProof: the proof does not show that.
    """
    _check_form(proof)
    path = _path(key)
    if proof.leaf_path == path:
        raise InvalidProof("the proof ends at the key itself: it is present")
    if proof.leaf_path is not None:
        # A leaf stands for every key below its place, so it must lie on this key's way.
        depth = _PATH_BITS - len(proof.siblings)
        if int.from_bytes(proof.leaf_path, "big") >> depth != int.from_bytes(path, "big") >> depth:
            raise InvalidProof("the proof ends at a leaf that is not on this key's way")
    _check_way(root, key, proof)


def _check_form(proof: StateProof) -> None:
    if (proof.leaf_path is None) != (proof.leaf_value_hash is None):
        raise InvalidProof("a leaf needs both its path and the hash of its value")
    if len(proof.siblings) > _PATH_BITS:
        raise InvalidProof(f"{len(proof.siblings)} siblings on a way of {_PATH_BITS} bits")


def _check_way(root: Hash, key: bytes, proof: StateProof) -> None:
    if proof.leaf_path is None or proof.leaf_value_hash is None:
        current = EMPTY_ROOT
    else:
        current = _leaf_hash(proof.leaf_path, proof.leaf_value_hash)
    path = _path(key)
    for depth in range(len(proof.siblings) - 1, -1, -1):
        sibling = proof.siblings[depth]
        current = _branch_hash(sibling, current) if _goes_right(path, depth) else _branch_hash(current, sibling)
    if current != root:
        raise InvalidProof("the way does not lead to the root")


_KEY_PREFIX, _VALUE_PREFIX, _LEAF_PREFIX, _BRANCH_PREFIX = (
    hash_prefix(f"pdfed/state/{what}/v1") for what in ("key", "value", "leaf", "branch")
)


def _path(key: bytes) -> bytes:
    return sha256(_KEY_PREFIX + key).digest()


def _value_hash(value: bytes) -> Hash:
    return Hash(sha256(_VALUE_PREFIX + value).digest())


def _leaf_hash(path: bytes, value_hash: bytes) -> Hash:
    return Hash(sha256(_LEAF_PREFIX + path + value_hash).digest())


def _branch_hash(left: bytes, right: bytes) -> Hash:
    return Hash(sha256(_BRANCH_PREFIX + left + right).digest())


def _hash(node: _Node) -> Hash:
    if node is None:
        return EMPTY_ROOT
    if node.hash is None:
        if type(node) is _Branch:
            node.hash = _branch_hash(_hash(node.left), _hash(node.right))
        else:
            node.hash = _leaf_hash(_path(node.key), _value_hash(node.value))
    return node.hash


def _goes_right(path: bytes, depth: int) -> int:
    """The bit of a path below ``depth`` branches, as 0 or not 0."""
    return path[depth >> 3] & 128 >> (depth & 7)


def _descend(node: _Node, path: bytes) -> tuple[_Leaf | None, list[_Node]]:
    """What lies in a path's place, and what lies beside the way there, from the root down."""
    beside: list[_Node] = []
    depth = 0
    while type(node) is _Branch:
        if path[depth >> 3] & 128 >> (depth & 7):  # `_goes_right`, without the call
            beside.append(node.left)
            node = node.right
        else:
            beside.append(node.right)
            node = node.left
        depth += 1
    return node, beside


def _items(root: _Node) -> Iterator[tuple[bytes, bytes]]:
    stack: list[_Node] = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, _Branch):
            stack += (node.right, node.left)
        elif node is not None:
            yield node.key, node.value


def _update(
    node: _Node,
    changes: list[_Change],
    low: int,
    high: int,
    depth: int,
    changed: list[tuple[bytes, bytes | None]],
) -> _Node:
    """``node``, which lies below ``depth`` branches, after the changes from ``low`` to ``high``, at least one.

    What did change is added to ``changed``; if nothing did, the answer is ``node`` itself.
    """
    if type(node) is not _Branch:
        return _update_leaf(node, changes[low:high], depth, changed)
    middle = _split(changes, low, high, depth)
    old_left, old_right = node.left, node.right
    left = _update(old_left, changes, low, middle, depth + 1, changed) if low < middle else old_left
    right = _update(old_right, changes, middle, high, depth + 1, changed) if middle < high else old_right
    if left is old_left and right is old_right:
        return node
    # A lone leaf rises, so that equal contents have equal shapes.
    if left is None and type(right) is not _Branch:
        return right
    if right is None and type(left) is not _Branch:
        return left
    return _Branch(left, right)


def _update_leaf(
    old: _Leaf | None, changes: list[_Change], depth: int, changed: list[tuple[bytes, bytes | None]]
) -> _Node:
    leaves: list[tuple[bytes, _Leaf]] = []
    stays = old
    for path, key, value in changes:
        if old is not None and old.key == key:
            if old.value == value:
                continue
            stays = None
        elif value is None:
            continue
        changed.append((key, value))
        if value is not None:
            leaves.append((path, _Leaf(key, value)))
    if stays is not None:
        if not leaves:
            return stays
        leaves.append((_path(stays.key), stays))
        leaves.sort(key=itemgetter(0))
    return _grow(leaves, 0, len(leaves), depth)


def _grow(leaves: list[tuple[bytes, _Leaf]], low: int, high: int, depth: int) -> _Node:
    """The subtree below ``depth`` branches of the leaves from ``low`` to ``high``, which are sorted by path."""
    if high - low < 2:
        return leaves[low][1] if low < high else None
    middle = _split(leaves, low, high, depth)
    return _Branch(_grow(leaves, low, middle, depth + 1), _grow(leaves, middle, high, depth + 1))


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
