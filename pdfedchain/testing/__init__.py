"""Whole chains in one process, for tests: a seeded simulator, adversaries, and invariants of their own."""

from pdfedchain.testing.chaos import Outcome, run_chaos
from pdfedchain.testing.counter import CounterApplication
from pdfedchain.testing.invariants import InvariantBroken, Observer
from pdfedchain.testing.simulator import Links, Node, Simulator, make_genesis, make_keys

__all__ = [
    "CounterApplication",
    "InvariantBroken",
    "Links",
    "Node",
    "Observer",
    "Outcome",
    "Simulator",
    "make_genesis",
    "make_keys",
    "run_chaos",
]
