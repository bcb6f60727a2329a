"""The state tree: an immutable map from bytes to bytes with a Merkle root and proofs of presence and absence.

A compact sparse Merkle tree. A key's path is the bits of its tagged hash, most significant first; a subtree that
holds one key is that key's leaf itself, so a tree of n keys is about log2(n) deep. Leaf and branch hashes carry
different tags, and the empty subtree is 32 zero bytes. Equal contents have equal roots, whatever the order of
changes.

Trees share their unchanged parts: a snapshot, a speculative block or a fork costs nothing but what it changes. A batch
of changes is sorted by path and rebuilds every branch above it once, whatever the number of keys below.

The shape follows Dahlberg, Pulls and Peeters, "Efficient Sparse Merkle Trees" (2016), and the leaf compression of
Diem's Jellyfish Merkle tree (2021).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pdfedchain.codec import canonical
from pdfedchain.crypto.nodes import (
    EMPTY_ROOT,
    Change,
    Changed,
    Node,
    branch_hash,
    descend,
    find,
    goes_right,
    is_branch,
    leaf_hash,
    node_items,
    path_of,
    root_of,
    update_node,
    value_hash,
)
from pdfedchain.errors import InvalidProof
from pdfedchain.ids import Hash, Size

__all__ = ["EMPTY_ROOT", "StateProof", "StateTree", "verify_absence", "verify_presence"]

_PATH_BITS: Final = 256


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
        self._root: Node = None
        #: Root of the tree this one was made from, and what was changed, for `changes_since`.
        self._origin: tuple[Node, Changed] | None = None

    @property
    def root(self) -> Hash:
        """The Merkle root, `EMPTY_ROOT` for no keys."""
        return root_of(self._root)

    def get(self, key: bytes) -> bytes | None:
        """The value of ``key``, or ``None``."""
        leaf = find(self._root, path_of(key))
        return leaf[2] if leaf is not None and leaf[1] == key else None

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
        ordered: list[Change] = sorted((path_of(key), key, value) for key, value in changes.items())
        changed: Changed = []
        root = update_node(self._root, ordered, 0, len(ordered), 0, changed) if ordered else self._root
        if root is self._root:
            return self
        tree = StateTree()
        tree._root, tree._origin = root, (self._root, changed)
        return tree

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All keys and values, in the order of their paths (not of their keys)."""
        return node_items(self._root)

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
            if before is not None and after is not None and is_branch(before) and is_branch(after):
                stack += ((before[2], after[2]), (before[1], after[1]))
                continue
            old, new = dict(node_items(before)), dict(node_items(after))
            yield from ((key, value) for key, value in new.items() if old.get(key) != value)
            yield from ((key, None) for key in old if key not in new)

    def prove(self, key: bytes) -> StateProof:
        """Proof of what `get` answers for ``key``, present or absent."""
        leaf, way = descend(self._root, path_of(key))
        siblings = tuple(root_of(sibling) for sibling in way)
        if leaf is None:
            return StateProof(siblings, None, None)
        return StateProof(siblings, Hash(path_of(leaf[1])), value_hash(leaf[2]))


def verify_presence(root: Hash, key: bytes, value: bytes, proof: StateProof) -> None:
    """Check that ``key`` has ``value`` in the tree with this root.

    Raises:
        InvalidProof: the proof does not show that.
    """
    _check_form(proof)
    if proof.leaf_path != path_of(key) or proof.leaf_value_hash != value_hash(value):
        raise InvalidProof("the proof ends at another key or value")
    _check_way(root, key, proof)


def verify_absence(root: Hash, key: bytes, proof: StateProof) -> None:
    """Check that ``key`` has no value in the tree with this root.

    Raises:
        InvalidProof: the proof does not show that.
    """
    _check_form(proof)
    path = path_of(key)
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
        current = leaf_hash(proof.leaf_path, proof.leaf_value_hash)
    path = path_of(key)
    for depth in range(len(proof.siblings) - 1, -1, -1):
        sibling = proof.siblings[depth]
        current = branch_hash(sibling, current) if goes_right(path, depth) else branch_hash(current, sibling)
    if current != root:
        raise InvalidProof("the way does not lead to the root")
