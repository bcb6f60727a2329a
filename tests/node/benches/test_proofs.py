"""The measurement of proofs and snapshots measures what it says."""

from node.benches.proofs import bench_proofs


def test_a_small_chain_gives_every_figure() -> None:
    figures = {figure.name: figure for figure in bench_proofs(transfers=250, accounts=300)}
    assert list(figures) == [
        "bundle from a header",
        "bundle from genesis",
        "making a bundle",
        "believing a balance",
        "snapshot",
        "serving a snapshot",
        "checking a snapshot",
        "writing a snapshot",
        "joining",
    ]
    assert all(figure.value > 0 for figure in figures.values())
    assert "250 transfers in 3 blocks, 300 accounts" in figures["joining"].reference
    assert figures["bundle from genesis"].value > figures["bundle from a header"].value + 300 * 32
