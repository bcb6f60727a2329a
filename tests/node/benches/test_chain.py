"""The benches of the chain execute what they say they measure."""

from __future__ import annotations

from node.benches.chain import bench_chain
from node.benches.figures import Figure, Stopwatch, percentile
from node.benches.sync import bench_sync


def named(figures: list[Figure]) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures}


def test_transfers_are_measured_beside_verifications() -> None:
    figures = named(bench_chain(transfers=40, accounts=60))
    rate = figures["transfers per CPU second"]
    assert rate.value > 0
    assert rate.ratio is not None
    assert "Ed25519 verifications" in rate.reference
    assert figures["disk"].value > 0
    assert "60 accounts" in figures["memory"].reference
    assert figures["memory growth"].reference == "extrapolated from 0"


def test_catching_up_is_measured_beside_its_signatures() -> None:
    figures = named(bench_sync(blocks=20, transfers_per_block=2))
    rate = figures["sync per CPU second"]
    assert "20 blocks of 2 transfers, 100 signatures" in rate.reference
    assert rate.value > 0


def test_a_percentile_is_what_so_many_do_not_exceed() -> None:
    assert [percentile(list(range(1, 102)), percent) for percent in (1, 50, 99)] == [2, 51, 100]
    assert percentile([7.0], 99) == 7.0


def test_a_stopwatch_adds_up() -> None:
    watch = Stopwatch()
    with watch:
        pass
    first = watch.wall_s
    with watch:
        sum(range(1_000))
    assert watch.wall_s > first > 0
