"""The state tree: a map whose root depends on its contents only, with proofs that prove nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdfedchain.crypto import EMPTY_ROOT, StateProof, StateTree, merkle, verify_absence, verify_presence
from pdfedchain.errors import InvalidProof
from pdfedchain.ids import Hash

KEYS = st.binary(max_size=3)
MAPS = st.dictionaries(KEYS, st.binary(max_size=3), max_size=24)


def tree_of(items: dict[bytes, bytes]) -> StateTree:
    tree = StateTree()
    for key, value in items.items():
        tree = tree.put(key, value)
    return tree


def proves(root: Hash, key: bytes, value: bytes | None, proof: StateProof) -> bool:
    try:
        if value is None:
            verify_absence(root, key, proof)
        else:
            verify_presence(root, key, value, proof)
    except InvalidProof:
        return False
    return True


def test_the_root_of_known_contents_is_pinned() -> None:
    assert StateTree().root == EMPTY_ROOT
    tree = tree_of({b"key%d" % i: b"value%d" % i for i in range(100)})
    assert tree.root.hex() == "1db4e93be1331c64a2d74b7dc8a37b966ccf139a0543fd079c2b424644673aac"


@given(items=MAPS, order=st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_a_tree_is_a_map_whose_root_does_not_depend_on_the_order(items: dict[bytes, bytes], order: object) -> None:
    shuffled = list(items.items())
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    tree = tree_of(items)
    assert dict(tree.items()) == items
    assert tree_of(dict(shuffled)).root == tree.root
    assert all(tree.get(key) == value for key, value in items.items())
    assert tree.get(b"never a key") is None


@given(items=MAPS, extra=MAPS)
@settings(max_examples=80, deadline=None)
def test_delete_is_the_inverse_of_put(items: dict[bytes, bytes], extra: dict[bytes, bytes]) -> None:
    tree = tree_of(items)
    bigger = tree
    new = [key for key in extra if key not in items]
    for key in new:
        bigger = bigger.put(key, extra[key])
    for key in new:
        bigger = bigger.delete(key)
    assert bigger.root == tree.root
    assert dict(bigger.items()) == items
    assert tree.delete(b"never a key") is tree
    for key in items:
        assert tree.delete(key).put(key, items[key]).root == tree.root


@given(one=MAPS, two=MAPS)
@settings(max_examples=80, deadline=None)
def test_different_contents_have_different_roots(one: dict[bytes, bytes], two: dict[bytes, bytes]) -> None:
    assert (tree_of(one).root == tree_of(two).root) == (one == two)


@given(items=MAPS, key=KEYS, value=st.binary(max_size=3))
@settings(max_examples=80, deadline=None)
def test_old_trees_stay_as_they_were(items: dict[bytes, bytes], key: bytes, value: bytes) -> None:
    tree = tree_of(items)
    root = tree.root
    tree.put(key, value)
    tree.delete(key)
    assert (tree.root, dict(tree.items())) == (root, items)


@given(items=MAPS, changes=st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=3)), max_size=10))
@settings(max_examples=120, deadline=None)
def test_changes_lead_from_one_tree_to_another(
    items: dict[bytes, bytes], changes: list[tuple[bytes, bytes | None]]
) -> None:
    before = tree_of(items)
    after = before
    for key, value in changes:
        after = after.delete(key) if value is None else after.put(key, value)
    expected = dict(after.items())
    difference = dict(after.changes_since(before))
    assert len(list(after.changes_since(before))) == len(difference)
    assert difference == {
        key: expected.get(key) for key in items.keys() | expected.keys() if items.get(key) != expected.get(key)
    }
    unrelated = tree_of(items)
    assert dict(after.changes_since(unrelated)) == difference
    assert list(after.changes_since(after)) == []


def test_changes_of_a_large_tree_are_found_without_looking_at_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree_of({b"%d" % i: b"x" for i in range(2_000)})
    looked_at = 0
    after = before.put(b"17", b"y").delete(b"18").put(b"new", b"z")
    original = merkle.node_items

    def counting(root: object) -> Iterator[tuple[bytes, bytes]]:
        nonlocal looked_at
        for item in original(root):  # type: ignore[arg-type]
            looked_at += 1
            yield item

    monkeypatch.setattr(merkle, "node_items", counting)
    assert dict(after.changes_since(before)) == {b"17": b"y", b"18": None, b"new": b"z"}
    assert 0 < looked_at <= 12


@given(
    items=st.dictionaries(KEYS, st.binary(max_size=1), max_size=60),
    changes=st.dictionaries(KEYS, st.none() | st.binary(max_size=1), max_size=60),
)
@settings(max_examples=200, deadline=None)
def test_a_batch_is_its_changes_one_after_the_other(
    items: dict[bytes, bytes], changes: dict[bytes, bytes | None]
) -> None:
    before = StateTree().update(items)
    one_by_one = tree_of(items)
    assert before.root == one_by_one.root
    for key, value in changes.items():
        one_by_one = one_by_one.delete(key) if value is None else one_by_one.put(key, value)
    together = before.update(changes)
    assert (together.root, dict(together.items())) == (one_by_one.root, dict(one_by_one.items()))
    assert dict(before.items()) == items
    wanted = {key: value for key, value in changes.items() if items.get(key) != value}
    found = list(together.changes_since(before))
    assert (dict(found), len(found)) == (wanted, len(wanted))
    assert dict(together.changes_since(tree_of(items))) == wanted
    assert (together is before) == (not wanted)


@given(items=MAPS, key=KEYS)
@settings(max_examples=120, deadline=None)
def test_every_key_s_presence_or_absence_is_proven(items: dict[bytes, bytes], key: bytes) -> None:
    tree = tree_of(items)
    for each in [*items, key]:
        value = items.get(each)
        proof = tree.prove(each)
        assert proves(tree.root, each, value, proof)
        # The same proof shows nothing else: no other value, not the opposite, not in another tree.
        assert not proves(tree.root, each, b"another value", proof)
        assert not proves(tree.root, each, b"x" if value is None else None, proof)
        assert not proves(tree.put(each, b"another value").root, each, value, proof)


@given(items=st.dictionaries(KEYS, st.binary(max_size=3), min_size=2, max_size=24), data=st.data())
@settings(max_examples=120, deadline=None)
def test_forged_proofs_prove_nothing_false(items: dict[bytes, bytes], data: st.DataObject) -> None:
    """Whatever is mixed together from true proofs: what it proves is true."""
    tree = tree_of(items)
    keys = [*items, b"absent one", b"absent two"]
    donors = [tree.prove(data.draw(st.sampled_from(keys))) for _ in range(3)]
    siblings = list(donors[0].siblings)
    match data.draw(st.integers(0, 5)):
        case 0 if siblings:
            siblings.pop(data.draw(st.integers(0, len(siblings) - 1)))
        case 1:
            siblings.insert(data.draw(st.integers(0, len(siblings))), EMPTY_ROOT)
        case 2 if siblings:
            siblings[data.draw(st.integers(0, len(siblings) - 1))] = data.draw(st.sampled_from([EMPTY_ROOT, tree.root]))
        case 3:
            siblings = siblings[: data.draw(st.integers(0, len(siblings)))]
        case 4:
            siblings.reverse()
        case _:
            pass
    leaf = data.draw(st.sampled_from(donors))
    forged = StateProof(tuple(siblings), leaf.leaf_path, leaf.leaf_value_hash)
    for key, value in itertools.product(keys, [None, *items.values()]):
        if proves(tree.root, key, value, forged):
            assert items.get(key) == value


def test_malformed_proofs_are_refused() -> None:
    tree = tree_of({b"a": b"1", b"b": b"2"})
    proof = tree.prove(b"a")
    too_long = (EMPTY_ROOT,) * 257
    for forged in (
        replace(proof, leaf_value_hash=None),
        replace(proof, leaf_path=None),
        replace(proof, leaf_path=None, leaf_value_hash=None),
        replace(proof, siblings=too_long),
        replace(proof, siblings=()),
    ):
        assert not proves(tree.root, b"a", b"1", forged)
    for forged in (replace(tree.prove(b"c"), siblings=too_long), StateProof((), None, None)):
        assert not proves(tree.root, b"c", None, forged)


def test_a_leaf_beside_the_way_proves_no_absence() -> None:
    """An attacker shows an existing leaf that lies elsewhere and claims that it ends this key's way."""
    items = {b"%d" % i: b"x" for i in range(50)}
    tree = tree_of(items)
    for key in (b"1", b"2", b"absent"):
        for other in items:
            if other != key:
                forged = tree.prove(other)
                assert not proves(tree.root, key, None, forged) or tree.get(key) is None


def test_keys_with_long_common_paths_are_kept_apart() -> None:
    """Paths are hashes, so deep branches are rare; a few thousand keys have some 20 levels deep."""
    items = {b"k%d" % i: b"%d" % i for i in range(3_000)}
    tree = tree_of(items)
    assert max(len(tree.prove(key).siblings) for key in items) >= 20
    for key in items:
        tree = tree.delete(key)
    assert tree.root == EMPTY_ROOT
