"""The specification's examples hold for the library, and for a verifier written from the specification alone."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from hypothesis import given, settings
from hypothesis import strategies as st

from pdfedchain.codec import encode
from pdfedchain.crypto import StateTree
from pdfedchain.crypto.parts import CutTree
from pdfedchain.errors import InputError
from pdfedchain.ids import Hash
from pdfedchain.light import verify_bundle
from pdfedchain.types.checkpoint import Account
from tests.pdfedchain.spec_vectors import VECTORS, vectors
from tests.support import independent_verifier as independent

FILE: dict[str, Any] = json.loads(VECTORS.read_text())
NOW_MS = 10**15


def test_the_library_gives_the_specified_bytes() -> None:
    assert vectors() == FILE, "the protocol has changed: python -m tests.pdfedchain.spec_vectors, and say so"


def test_the_independent_verifier_is_independent() -> None:
    tree = ast.parse(Path(independent.__file__).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not [name for name in names if name.startswith(("pdfedchain", "tests", "node", "diffusion"))]


def test_hashes_of_tags_and_records() -> None:
    for each in FILE["tagged_hash"]:
        assert independent.tagged(each["tag"], bytes.fromhex(each["data"])).hex() == each["hash"]
    for each in FILE["records"]:
        record = independent.decode(bytes.fromhex(each["encoding"]), each["type"])
        assert independent.hash_of(record).hex() == each["hash"]


def test_trees_proofs_and_cuts() -> None:
    tree = FILE["tree"]
    contents = {bytes.fromhex(key): bytes.fromhex(value) for key, value in tree["contents"].items()}
    root = bytes.fromhex(tree["root"])
    assert independent.root_of(contents) == root
    kinds = set()
    for each in tree["proofs"]:
        value = None if each["value"] is None else bytes.fromhex(each["value"])
        proof = independent.decode(bytes.fromhex(each["encoding"]), "pdfed/state-proof/v1")
        independent.check_proof(root, bytes.fromhex(each["key"]), value, proof)
        kinds.add((value is None, proof[2] is None))
    assert kinds == {(False, False), (True, False), (True, True)}, "presence, and both kinds of absence"
    independent.check_cut(root, [(part["depth"], bytes.fromhex(part["root"])) for part in tree["cut"]["parts"]])


def test_bundles() -> None:
    for each in FILE["bundles"]:
        data, trusted = bytes.fromhex(each["encoding"]), bytes.fromhex(each["trusted"])
        expected = {
            bytes.fromhex(key): None if value is None else bytes.fromhex(value) for key, value in each["values"].items()
        }
        assert independent.verify_bundle(data, trusted) == (each["height"], expected)
        state = verify_bundle(data, Hash(trusted), now_ms=NOW_MS)
        assert (state.head.height, {key: state.get(key) for key in state.keys}) == (each["height"], expected)


@given(which=st.integers(0, 1), place=st.integers(0, 10**6), flip=st.integers(1, 255))
@settings(max_examples=150, deadline=None)
def test_neither_believes_anything_untrue_of_what_was_changed(which: int, place: int, flip: int) -> None:
    bundle = FILE["bundles"][which]
    data = bytearray(bytes.fromhex(bundle["encoding"]))
    data[place % len(data)] ^= flip
    trusted = Hash(bytes.fromhex(bundle["trusted"]))
    try:
        _, found = independent.verify_bundle(bytes(data), trusted)
    except (AssertionError, ValueError, TypeError, IndexError, KeyError, AttributeError, InvalidSignature):
        with pytest.raises(InputError):
            verify_bundle(bytes(data), trusted, now_ms=NOW_MS)
        return
    # The proof of one key's absence may hold for another key; nothing else goes through.
    state = verify_bundle(bytes(data), trusted, now_ms=NOW_MS)
    assert {key: state.get(key) for key in state.keys} == found
    (other,) = [key for key in found if key.hex() not in bundle["values"]]
    assert found == {b"a": b"1", other: None}


@given(
    contents=st.dictionaries(st.binary(max_size=5), st.binary(max_size=20), max_size=30),
    key=st.binary(max_size=5),
    size_bytes_max=st.integers(0, 300),
)
@settings(max_examples=50, deadline=None)
def test_both_agree_on_any_tree(contents: dict[bytes, bytes], key: bytes, size_bytes_max: int) -> None:
    tree = StateTree().update(contents)
    assert independent.root_of(contents) == tree.root
    proof = independent.decode(encode(tree.prove(key)), "pdfed/state-proof/v1")
    independent.check_proof(tree.root, key, contents.get(key), proof)
    parts = CutTree(tree, size_bytes_max=size_bytes_max).parts
    independent.check_cut(tree.root, [(part.depth, part.root) for part in parts])


def test_the_page_s_example_is_what_it_says() -> None:
    page = (VECTORS.parent / "encoding.md").read_text()
    example = page[page.index("Account(balance=1000, nonce=3)") :]
    lines = example[example.index("```") + 3 : example.rindex("```")].strip().splitlines()
    hexadecimal = "".join("".join(re.split(r"\s{2,}", line.strip())[0].split()) for line in lines)
    assert hexadecimal == encode(Account(1_000, 3)).hex()
