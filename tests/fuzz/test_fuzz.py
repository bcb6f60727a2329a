"""Every target holds for its seeds and for some hundred inputs near them; campaigns give each a hundred thousand."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.campaign import next_runs
from tests.fuzz.mutator import mutate_bytes, mutate_structure
from tests.fuzz.plain import give, guarded, near
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


def test_a_plain_run_keeps_the_input_that_a_target_raises_on(tmp_path: Path) -> None:
    inputs = iter([b"first, and long", b"second", b"third"])
    seen: list[bytes] = []

    def one(data: bytes) -> None:
        seen.append(data)
        if data == b"second":
            raise ValueError("undocumented")

    with (tmp_path / "input").open("wb") as kept, pytest.raises(ValueError, match="undocumented"):
        give(one, lambda: next(inputs), 3, 60.0, kept.fileno())
    assert seen == [b"first, and long", b"second"]
    assert (tmp_path / "input").read_bytes() == b"second"


def test_a_plain_run_ends_with_its_count_or_its_time(tmp_path: Path) -> None:
    with (tmp_path / "input").open("wb") as kept:
        assert give(lambda data: None, lambda: b"x", 7, 60.0, kept.fileno()) == 7
        assert give(lambda data: None, lambda: b"x", 7, -1.0, kept.fileno()) == 0


def test_a_plain_run_fails_on_memory_and_dies_of_a_hang() -> None:
    with pytest.raises(MemoryError, match="at most 1 allowed"):
        guarded(lambda data: None, 20, 1, [0.0])(b"")
    hang = (
        "import time; from tests.fuzz.plain import guarded; guarded(lambda data: time.sleep(300), 1, 4096, [0.0])(b'')"
    )
    assert subprocess.run([sys.executable, "-c", hang], check=False, capture_output=True).returncode < 0


def test_inputs_near_a_corpus_differ_and_keep_the_flags() -> None:
    corpus = [b"\x07" + bytes([0x93, 1, 2, 3])]
    inputs = [near(corpus, 1, random.Random(seed)) for seed in range(200)]
    assert len({*inputs}) > 100
    assert sum(data[:1] == b"\x07" for data in inputs) > 100
