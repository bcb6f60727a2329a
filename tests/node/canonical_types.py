"""Every canonical type that `node` declares, and the pinned encodings of one example of each.

``python -m tests.node.canonical_types`` writes the pins anew. Do that for a type that is new. For one that exists it
means that nodes of earlier versions do not understand this one, or that files of theirs cannot be read: then its tag
needs a new version, or the release notes a very good reason.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from pathlib import Path

import node
from pdfedchain.codec.schema import _TAGS
from tests.pdfedchain.codec.canonical_types import pin_of

PINS_FILE = Path(__file__).with_name("pinned_encodings.json")


def node_types() -> dict[str, type]:
    """All types of `node` by tag."""
    for module in pkgutil.walk_packages(node.__path__, "node."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    ours = {tag: cls for tag, cls in _TAGS.items() if cls.__module__.startswith("node.")}
    return {tag: ours[tag] for tag in sorted(ours)}


if __name__ == "__main__":
    PINS_FILE.write_text(json.dumps({tag: pin_of(cls) for tag, cls in node_types().items()}, indent=1) + "\n")
