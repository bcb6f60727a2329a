"""Every target holds for its seeds and for some hundred inputs near them; campaigns give each a hundred thousand."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.campaign import next_runs
from tests.fuzz.mutator import mutate_bytes, mutate_structure
from tests.fuzz.target import Target
from tests.fuzz.targets import all_targets
from tests.fuzz.targets_codec import every_type

TARGETS = all_targets()
#: Inputs per target here: all of them together take a few seconds.
INPUTS = {"handle": 60, "decode": 120, "answer": 60}


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
def test_generated_inputs_are_accepted_or_refused_as_documented(target: Target) -> None:
    rng = random.Random(target.name)
    for seed in target.seeds:
        target.one(seed)
    for _ in range(INPUTS.get(target.name.partition("/")[0], 200)):
        data = rng.choice(target.seeds)
        skipped = rng.randrange(2)
        changed = mutate_structure(data[skipped:], rng) if rng.random() < 0.7 else None
        target.one(mutate_bytes(data, rng) if changed is None else data[:skipped] + changed)


def test_every_canonical_type_has_a_target() -> None:
    assert {f"decode/{tag}" for tag in every_type()} <= set(TARGETS)


def test_a_campaign_serves_the_poorest_first_and_ends_when_all_have_enough() -> None:
    names = ["a", "b"]
    assert next_runs(names, {}, set(), 10, 25) == "a"
    assert next_runs(names, {"a": 10}, set(), 10, 25) == "b"
    assert next_runs(names, {"a": 10, "b": 12}, set(), 10, 25) == "a"
    assert next_runs(names, {"a": 13, "b": 12}, set(), 10, 25) is None
    assert next_runs(names, {}, {"a", "b"}, 10, 25) is None


def test_decoders_come_last_of_equals() -> None:
    names = ["decode/a", "handle/b", "verify/c"]
    assert next_runs(names, {}, set(), 10, 25) == "handle/b"
    assert next_runs(names, {"handle/b": 1, "verify/c": 1}, set(), 10, 25) == "decode/a"
