"""The state tree: an immutable map from bytes to bytes with a Merkle root and proofs of presence and absence.

A compact sparse Merkle tree. A key's path is the bits of its tagged hash, most significant first; a subtree that
holds one key is that key's leaf itself, so a tree of n keys is about log2(n) deep. Leaf and branch hashes carry
different tags, and the empty subtree is 32 zero bytes. Equal contents have equal roots, whatever the order of
changes.

Trees share their unchanged parts: a snapshot, a speculative block or a fork costs nothing but what it changes.
Hashes are computed when first asked for, so a block that touches one key a thousand times hashes its path once.

The shape follows Dahlberg, Pulls and Peeters, "Efficient Sparse Merkle Trees" (2016), and the leaf compression of
Diem's Jellyfish Merkle tree (2021).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Final

from pdfedchain.codec import canonical
from pdfedchain.crypto.hash import tagged_hash
from pdfedchain.errors import InvalidProof
from pdfedchain.ids import Hash, Size

__all__ = ["EMPTY_ROOT", "StateProof", "StateTree", "verify_absence", "verify_presence"]

EMPTY_ROOT: Final = Hash(bytes(32))
_PATH_BITS: Final = 256


class _Leaf:
    __slots__ = ("_hash", "key", "path", "value")

    def __init__(self, key: bytes, value: bytes, path: int) -> None:
        self.key = key
        self.value = value
        self.path = path
        self._hash: Hash | None = None

    @property
    def hash(self) -> Hash:
        if self._hash is None:
            self._hash = _leaf_hash(self.path.to_bytes(32, "big"), _value_hash(self.value))
        return self._hash


class _Branch:
    __slots__ = ("_hash", "left", "right")

    def __init__(self, left: _Node, right: _Node) -> None:
        self.left = left
        self.right = right
        self._hash: Hash | None = None

    @property
    def hash(self) -> Hash:
        if self._hash is None:
            self._hash = _branch_hash(_hash(self.left), _hash(self.right))
        return self._hash


_Node = _Leaf | _Branch | None


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
    """An immutable key-value map. `put` and `delete` return a new tree; the old one stays as it was."""

    __slots__ = ("_root",)

    def __init__(self) -> None:
        self._root: _Node = None

    @classmethod
    def _of(cls, root: _Node) -> StateTree:
        tree = cls()
        tree._root = root
        return tree

    @property
    def root(self) -> Hash:
        """The Merkle root, `EMPTY_ROOT` for no keys."""
        return _hash(self._root)

    def get(self, key: bytes) -> bytes | None:
        """The value of ``key``, or ``None``."""
        path, node, bit = _path(key), self._root, _PATH_BITS - 1
        while isinstance(node, _Branch):
            node = node.right if path >> bit & 1 else node.left
            bit -= 1
        return node.value if node is not None and node.key == key else None

    def put(self, key: bytes, value: bytes) -> StateTree:
        """A tree in which ``key`` has ``value``."""
        return StateTree._of(_put(self._root, _Leaf(key, value, _path(key)), _PATH_BITS - 1))

    def delete(self, key: bytes) -> StateTree:
        """A tree without ``key``; the same tree where it was absent."""
        root = _delete(self._root, key, _path(key), _PATH_BITS - 1)
        return self if root is self._root else StateTree._of(root)

    def update(self, changes: Mapping[bytes, bytes | None]) -> StateTree:
        """A tree with all these changes, ``None`` for a key that is to be absent: the same as one after the other."""
        tree = self
        for key, value in changes.items():
            tree = tree.delete(key) if value is None else tree.put(key, value)
        return tree

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All keys and values, in the order of their paths (not of their keys)."""
        stack: list[_Node] = [self._root]
        while stack:
            node = stack.pop()
            if isinstance(node, _Branch):
                stack += (node.right, node.left)
            elif node is not None:
                yield node.key, node.value

    def changes_since(self, other: StateTree) -> Iterator[tuple[bytes, bytes | None]]:
        """What leads from ``other`` to this tree: keys with their values here, ``None`` where a key is gone.

        Shared parts are skipped, so the cost is that of what was changed between the two.
        """
        stack = [(other._root, self._root)]
        while stack:
            before, after = stack.pop()
            if before is after:
                continue
            if isinstance(before, _Branch) and isinstance(after, _Branch):
                stack += ((before.right, after.right), (before.left, after.left))
                continue
            old, new = dict(StateTree._of(before).items()), dict(StateTree._of(after).items())
            yield from ((key, value) for key, value in new.items() if old.get(key) != value)
            yield from ((key, None) for key in old if key not in new)

    def prove(self, key: bytes) -> StateProof:
        """Proof of what `get` answers for ``key``, present or absent."""
        path, node, bit = _path(key), self._root, _PATH_BITS - 1
        siblings: list[Hash] = []
        while isinstance(node, _Branch):
            right = path >> bit & 1
            siblings.append(_hash(node.left if right else node.right))
            node = node.right if right else node.left
            bit -= 1
        if node is None:
            return StateProof(tuple(siblings), None, None)
        return StateProof(tuple(siblings), Hash(node.path.to_bytes(32, "big")), _value_hash(node.value))


def verify_presence(root: Hash, key: bytes, value: bytes, proof: StateProof) -> None:
    """Check that ``key`` has ``value`` in the tree with this root.

    Raises:
        InvalidProof: the proof does not show that.
    """
    _check_form(proof)
    if proof.leaf_path != _path(key).to_bytes(32, "big") or proof.leaf_value_hash != _value_hash(value):
        raise InvalidProof("the proof ends at another key or value")
    _check_way(root, key, proof)


def verify_absence(root: Hash, key: bytes, proof: StateProof) -> None:
    """Check that ``key`` has no value in the tree with this root.

    Raises:
        InvalidProof: the proof does not show that.
    """
    _check_form(proof)
    path = _path(key).to_bytes(32, "big")
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
        right = path >> (_PATH_BITS - 1 - depth) & 1
        current = _branch_hash(sibling, current) if right else _branch_hash(current, sibling)
    if current != root:
        raise InvalidProof("the way does not lead to the root")


def _path(key: bytes) -> int:
    return int.from_bytes(tagged_hash("pdfed/state/key/v1", key), "big")


def _value_hash(value: bytes) -> Hash:
    return tagged_hash("pdfed/state/value/v1", value)


def _leaf_hash(path: bytes, value_hash: bytes) -> Hash:
    return tagged_hash("pdfed/state/leaf/v1", path, value_hash)


def _branch_hash(left: bytes, right: bytes) -> Hash:
    return tagged_hash("pdfed/state/branch/v1", left, right)


def _hash(node: _Node) -> Hash:
    return EMPTY_ROOT if node is None else node.hash


def _put(node: _Node, leaf: _Leaf, bit: int) -> _Node:
    if node is None:
        return leaf
    if isinstance(node, _Leaf):
        if node.path == leaf.path:
            return leaf
        return _join(node, leaf, bit)
    if leaf.path >> bit & 1:
        return _Branch(node.left, _put(node.right, leaf, bit - 1))
    return _Branch(_put(node.left, leaf, bit - 1), node.right)


def _join(one: _Leaf, two: _Leaf, bit: int) -> _Branch:
    one_right, two_right = one.path >> bit & 1, two.path >> bit & 1
    if one_right != two_right:
        return _Branch(two, one) if one_right else _Branch(one, two)
    below = _join(one, two, bit - 1)
    return _Branch(None, below) if one_right else _Branch(below, None)


def _delete(node: _Node, key: bytes, path: int, bit: int) -> _Node:
    if node is None:
        return None
    if isinstance(node, _Leaf):
        return None if node.path == path else node
    side = node.right if path >> bit & 1 else node.left
    changed = _delete(side, key, path, bit - 1)
    if changed is side:
        return node
    left, right = (node.left, changed) if path >> bit & 1 else (changed, node.right)
    # A lone leaf rises, so that equal contents have equal shapes.
    if left is None and not isinstance(right, _Branch):
        return right
    if right is None and not isinstance(left, _Branch):
        return left
    return _Branch(left, right)
