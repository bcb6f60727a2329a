"""Chaos on the real ledger: every unit that genesis issued is somewhere after every block, whatever nodes do."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from pdfedchain.application import BlockContext, Execution
from pdfedchain.codec import decode, encode
from pdfedchain.crypto import StateTree
from pdfedchain.testing import ledger_chaos, replay
from pdfedchain.testing.chaos import HEIGHTS_AFTER, Outcome
from pdfedchain.testing.invariants import InvariantBroken
from pdfedchain.testing.ledger_chaos import run_ledger
from pdfedchain.testing.units import check_units, issued_by, places_of
from pdfedchain.types.block import BlockBody
from pdfedchain.types.checkpoint import Account
from pdfedchain.types.transaction import Transfer
from tests.pdfedchain.ledger_world import World, key_of

SEEDS = {1: 3, 4: 12, 7: 3}
#: What the seeds above must have brought about between them.
HAPPENED = (
    "ballot-revealed",
    "bond-settled",
    "checkpoint-accepted",
    "checkpoint-rejected",
    "checkpoint-submitted",
    "deposit-burned",
    "registered",
    "rewarded",
    "task-created",
    "task-funded",
    "transferred",
)


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return [run_ledger(seed, size) for size, seeds in SEEDS.items() for seed in range(seeds)]


def test_no_unit_is_lost_or_made_and_peace_brings_progress(outcomes: list[Outcome]) -> None:
    assert all(outcome.height >= outcome.height_in_chaos + HEIGHTS_AFTER for outcome in outcomes)
    assert len({outcome.audit for outcome in outcomes}) == len(outcomes)


def test_the_seeds_move_units_in_every_way(outcomes: list[Outcome]) -> None:
    counts = sum((Counter(outcome.counts) for outcome in outcomes), Counter[str]())
    assert [kind for kind in HAPPENED if not counts[f"ledger: {kind}"]] == []
    assert counts["power cut in the middle"] > 0


def test_the_same_seed_is_the_same_run(outcomes: list[Outcome]) -> None:
    assert outcomes[SEEDS[1]] == run_ledger(0, 4)


def test_a_unit_from_nowhere_is_noticed_and_the_seed_told(monkeypatch: pytest.MonkeyPatch) -> None:
    execute = ledger_chaos.Ledger.execute

    def generous(self: ledger_chaos.Ledger, state: StateTree, context: BlockContext, body: BlockBody) -> Execution:
        execution = execute(self, state, context, body)
        key, value = next(item for item in execution.state.items() if item[0].startswith(b"account/"))
        account = decode(Account, value, size_bytes_max=1_000)
        richer = encode(replace(account, balance=account.balance + 1))
        return replace(execution, state=execution.state.put(key, richer))

    monkeypatch.setattr(ledger_chaos.Ledger, "execute", generous)
    with pytest.raises(InvariantBroken, match="units were issued and there are") as failed:
        run_ledger(0, 4)
    assert failed.value.__notes__ == ["to see it again: python -m pdfedchain.testing.replay --seed 0 --size 4 --ledger"]


def test_units_are_counted_where_they_are() -> None:
    world = World(amount=1_000, pool=50)
    issued = issued_by(world.genesis)
    assert issued == 6 * 1_000 + 50
    world.block((key_of("trainer"), Transfer(key_of("voter").address, 300)))
    places = places_of(world.state.items())
    assert (places["Account"], places["TaskRecord"], places["Totals"]) == (6_000, 50, 0)
    check_units(issued, world.state.items())
    poorer = world.state.put(b"account/" + key_of("trainer").address, encode(Account(699, 1)))
    with pytest.raises(InvariantBroken, match="6050 units were issued and there are 6049"):
        check_units(issued, poorer.items())


def test_a_seed_is_played_again(capsys: pytest.CaptureFixture[str], outcomes: list[Outcome]) -> None:
    assert replay.main(["--seed", "0", "--size", "4", "--ledger"]) == 0
    assert f"audit {outcomes[SEEDS[1]].audit}" in capsys.readouterr().out
