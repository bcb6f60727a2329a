"""Whole chains in one process, for tests: a seeded simulator, adversaries, and invariants of their own.

`docs/testing-consensus.md` is the guide. With pdfedchain installed, pytest knows the fixtures of
`pdfedchain.testing.plugin`. A name is loaded when it is first asked for, and hypothesis only for its strategies.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pdfedchain.testing.byzantine import HARMLESS, LIARS, Actor, Said, Situation
    from pdfedchain.testing.chaos import Outcome, run_chaos, run_overload
    from pdfedchain.testing.counter import CounterApplication
    from pdfedchain.testing.fuse import Fuse, PowerCutError
    from pdfedchain.testing.invariants import InvariantBroken, Observer
    from pdfedchain.testing.network import Links, Network
    from pdfedchain.testing.nodes import START_MS, Node, make_genesis, make_keys
    from pdfedchain.testing.simulator import Simulator
    from pdfedchain.testing.strategies import cids, example_of, hashes, values_of

__all__ = [
    "HARMLESS",
    "LIARS",
    "START_MS",
    "Actor",
    "CounterApplication",
    "Fuse",
    "InvariantBroken",
    "Links",
    "Network",
    "Node",
    "Observer",
    "Outcome",
    "PowerCutError",
    "Said",
    "Simulator",
    "Situation",
    "cids",
    "example_of",
    "hashes",
    "make_genesis",
    "make_keys",
    "run_chaos",
    "run_overload",
    "values_of",
]

_HOMES = {
    "byzantine": ["HARMLESS", "LIARS", "Actor", "Said", "Situation"],
    "chaos": ["Outcome", "run_chaos", "run_overload"],
    "counter": ["CounterApplication"],
    "fuse": ["Fuse", "PowerCutError"],
    "invariants": ["InvariantBroken", "Observer"],
    "network": ["Links", "Network"],
    "nodes": ["START_MS", "Node", "make_genesis", "make_keys"],
    "simulator": ["Simulator"],
    "strategies": ["cids", "example_of", "hashes", "values_of"],
}
_HOME_OF = {name: f"{__name__}.{home}" for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
