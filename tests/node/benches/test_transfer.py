"""The transfer bench, small, between real processes; one of them is killed in the middle."""

from __future__ import annotations

from node.benches.transfer import bench_transfer


def test_every_figure_is_there_and_a_killed_fetch_goes_on_where_it_was() -> None:
    figures = {figure.name: figure for figure in bench_transfer((24_000_000,), 1)}
    assert list(figures) == [
        "24 MB folder beside libp2p's bare stream",
        "24 MB folder beside our bare stream",
        "24 MB folder beside our bare stream into a file",
        "beside py-libp2p's Bitswap",
        "three sources",
        "24 MB folder, memory of who fetches",
        "24 MB folder, memory of who serves",
        "small frame there and back during a fetch, median",
        "small frame there and back during a fetch, 99th percentile",
        "fetched again after a kill",
        "through a line of 50 Mbit/s",
    ]
    assert all(figure.value > 0 for name, figure in figures.items() if name != "fetched again after a kill")
    assert figures["through a line of 50 Mbit/s"].value < 55
    assert figures["fetched again after a kill"].value == 0
    # Killed in the middle indeed: some blocks were there, and not all.
    words = figures["fetched again after a kill"].reference.split()
    assert 0 < int(words[0]) <= int(words[2]) == 23 + 2  # chunks, file, folder
