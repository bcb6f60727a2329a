"""Many seeds of chaos: no fork, progress after peace, every branch of the algorithm taken, every seed repeatable."""

from __future__ import annotations

from collections import Counter

import pytest

from pdfedchain.consensus.rules import Rule
from pdfedchain.testing import replay
from pdfedchain.testing.chaos import HEIGHTS_AFTER, Outcome, run_chaos, run_overload
from pdfedchain.testing.invariants import InvariantBroken

SEEDS = {1: 10, 2: 20, 3: 20, 4: 120, 7: 30}
#: What the seeds above must have brought about, beside each branch of the algorithm.
SEEN = (
    "Evidence",
    "ScoreOverridden",
    "block sent along for a hidden lock",
    "polka sent with a re-proposal",
    "power cut in the middle",
    "refused",
    "round certificate sent on entering",
    "synced",
    "time-out at its cap",
)


@pytest.fixture(scope="module")
def outcomes() -> dict[int, list[Outcome]]:
    return {size: [run_chaos(seed, size) for seed in range(seeds)] for size, seeds in SEEDS.items()}


@pytest.mark.parametrize("size", SEEDS)
def test_chaos_never_forks_and_peace_brings_progress(outcomes: dict[int, list[Outcome]], size: int) -> None:
    assert all(outcome.height >= outcome.height_in_chaos + HEIGHTS_AFTER for outcome in outcomes[size])
    assert len({outcome.audit for outcome in outcomes[size]}) == SEEDS[size]


def test_every_branch_of_the_algorithm_is_taken_by_some_seed(outcomes: dict[int, list[Outcome]]) -> None:
    counts = sum((Counter(outcome.counts) for runs in outcomes.values() for outcome in runs), Counter[str]())
    assert [rule.name for rule in Rule if not counts[rule.name]] == []
    assert [name for name in SEEN if not counts[name]] == []


@pytest.mark.parametrize(("size", "seeds"), [(2, 10), (4, 40), (7, 8)])
def test_more_than_f_liars_stall_and_never_fork(size: int, seeds: int) -> None:
    outcomes = [run_overload(seed, size) for seed in range(seeds)]
    assert all(outcome.height >= outcome.height_in_chaos + HEIGHTS_AFTER for outcome in outcomes)
    assert any(outcome.height_in_chaos == 0 for outcome in outcomes)


@pytest.mark.parametrize("seed", [3, 4])
def test_the_same_seed_is_the_same_run(outcomes: dict[int, list[Outcome]], seed: int) -> None:
    assert outcomes[4][seed] == run_chaos(seed, 4)


def test_a_failing_seed_says_how_to_see_it_again() -> None:
    with pytest.raises(InvariantBroken, match="no 10 heights") as failed:
        run_chaos(17, 4, limit_ms=1)
    assert failed.value.__notes__ == ["to see it again: python -m pdfedchain.testing.replay --seed 17 --size 4"]
    with pytest.raises(InvariantBroken) as failed:
        run_overload(17, 4, limit_ms=1)
    assert failed.value.__notes__[0].endswith("--seed 17 --size 4 --overload")


def test_a_replay_says_what_happened(outcomes: dict[int, list[Outcome]], capsys: pytest.CaptureFixture[str]) -> None:
    assert replay.main(["--seed", "5", "--size", "4", "--trace"]) == 0
    printed = capsys.readouterr().out
    assert f"audit {outcomes[4][5].audit}" in printed
    assert "arrive" in printed
    assert replay.main(["--seed", "5", "--size", "4", "--overload"]) == 0
