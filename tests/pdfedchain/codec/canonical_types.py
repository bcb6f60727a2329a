"""Every canonical type of the chain, and the pinned encodings of one example of each.

``python -m tests.pdfedchain.codec.canonical_types`` writes the pins anew. Do that for a type that is new. For one that
exists it means that chains, signatures and files of earlier versions are not understood any more: then its tag needs a
new version, or the release notes a very good reason.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import pkgutil
from pathlib import Path

import pdfedchain
from pdfedchain.codec import encode
from pdfedchain.codec.schema import _TAGS
from pdfedchain.testing.strategies import example_of

PINS_FILE = Path(__file__).with_name("pinned_encodings.json")


def canonical_types() -> dict[str, type]:
    """All types of `pdfedchain` by tag; applications of tests and simulations are not part of the protocol."""
    for module in pkgutil.walk_packages(pdfedchain.__path__, "pdfedchain."):
        if not module.name.startswith("pdfedchain.testing"):
            importlib.import_module(module.name)
    ours = {tag: cls for tag, cls in _TAGS.items() if cls.__module__.startswith("pdfedchain.")}
    return {tag: ours[tag] for tag in sorted(ours) if not ours[tag].__module__.startswith("pdfedchain.testing")}


def pin_of(cls: type) -> str:
    return hashlib.sha256(encode(example_of(cls))).hexdigest()


if __name__ == "__main__":
    PINS_FILE.write_text(json.dumps({tag: pin_of(cls) for tag, cls in canonical_types().items()}, indent=1) + "\n")
