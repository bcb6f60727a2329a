"""The examples of the specification, ``docs/spec/vectors.json``.

``python -m tests.pdfedchain.spec_vectors`` writes them anew. They change only when the protocol does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pdfedchain.codec import encode, tag_of, to_plain
from pdfedchain.crypto import StateTree, hash_of, tagged_hash
from pdfedchain.crypto.parts import CutTree, check_cut
from pdfedchain.proving import light_bundle
from pdfedchain.store.memory import MemoryStore
from pdfedchain.types.checkpoint import Account
from tests.pdfedchain.chain_world import Maker, words_genesis

VECTORS = Path(__file__).parents[2] / "docs" / "spec" / "vectors.json"

_CONTENTS = {b"key%d" % i: b"value%d" % i * (i + 1) for i in range(12)}
_CUT_SIZE_BYTES_MAX = 100


def _record(value: Any) -> dict[str, Any]:
    return {
        "type": tag_of(type(value)),
        "value": to_plain(value),
        "encoding": encode(value).hex(),
        "hash": hash_of(value).hex(),
    }


def _proof(tree: StateTree, key: bytes) -> dict[str, Any]:
    value = tree.get(key)
    return {
        "key": key.hex(),
        "value": None if value is None else value.hex(),
        "proof": to_plain(tree.prove(key)),
        "encoding": encode(tree.prove(key)).hex(),
    }


def vectors() -> dict[str, Any]:
    """What the file holds."""
    maker, store = Maker.start(words_genesis(4)), MemoryStore()
    store.initialise(maker.genesis, maker.position.state)
    for word in (b"a=1", b"@authority1 authority2 authority5", b"b=2", b"@authority6", b"c=3"):
        store.commit(*maker.advance(word))
    tree = StateTree().update(_CONTENTS)
    cut = CutTree(tree, size_bytes_max=_CUT_SIZE_BYTES_MAX)
    block = store.light_block(2)
    bundles = []
    for height in (0, 3):
        trusted = maker.genesis.hash if height == 0 else store.light_block(height).hash
        bundle = light_bundle(store, [b"a", b"no"], from_height=height)
        bundles.append(
            {
                "trusted": trusted.hex(),
                "height": store.height(),
                "values": {b"a".hex(): b"1".hex(), b"no".hex(): None},
                "encoding": encode(bundle).hex(),
            }
        )
    return {
        "tagged_hash": [
            {"tag": tag, "data": data.hex(), "hash": tagged_hash(tag, data).hex()}
            for tag, data in (("pdfed/example/v1", b""), ("pdfed/example/v1", b"data"), ("", b"pdfed/example/v1data"))
        ],
        "records": [
            _record(value)
            for value in (
                Account(1_000, 3),
                maker.genesis.authorities,
                maker.genesis,
                block.header,
                block.certificate,
                block,
            )
        ],
        "tree": {
            "contents": {key.hex(): value.hex() for key, value in _CONTENTS.items()},
            "root": tree.root.hex(),
            "proofs": [_proof(tree, key) for key in (b"key0", b"key7", b"absent", b"gone", b"key12")],
            "cut": {
                "size_bytes_max": _CUT_SIZE_BYTES_MAX,
                "parts": [to_plain(part) for part in cut.parts],
                "starts": [f"{start:064x}" for start in check_cut(tree.root, cut.parts)],
                "keys": [[key.hex() for key, _ in cut.items(index)] for index in range(len(cut.parts))],
            },
        },
        "bundles": bundles,
    }


if __name__ == "__main__":
    VECTORS.parent.mkdir(exist_ok=True)
    VECTORS.write_text(json.dumps(vectors(), indent=1) + "\n")
