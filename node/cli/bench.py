"""``pdfed bench WHAT``: measured figures of this machine, each beside its reference in the same run."""

from __future__ import annotations

import argparse
from pathlib import Path

from node.bench import Figure, bench_chain, bench_score, bench_train, machine
from node.cli.commands import EXIT_SUCCESS
from node.cli.output import Output
from node.home import Home
from node.workers import require_diffusion
from pdfedchain.errors import UsageError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("what", choices=("chain", "score", "train", "transfer"), help="what to measure")
    parser.add_argument("--home", type=Path, metavar="H", help="score, train: a home with an accepted checkpoint")
    parser.add_argument("--transfers", type=int, default=5_000, metavar="N", help="chain: default 5000")
    parser.add_argument("--steps", type=int, default=100, metavar="N", help="train: default 100")
    parser.add_argument("--megabytes", default="64,1000", metavar="N,N", help="transfer: folders, default 64,1000")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="transfer: take the median, default 5")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Measure and report."""
    if arguments.transfers < 1 or arguments.steps < 1:
        raise UsageError("--transfers and --steps must be 1 or more")
    if arguments.what == "chain":
        figures = bench_chain(arguments.transfers)
    elif arguments.what == "transfer":
        figures = _transfer(arguments.megabytes, arguments.rounds)
    else:
        figures = _with_home(arguments)
    output.table(
        ("figure", "value", "unit", "reference", "ratio"),
        [
            (f.name, f"{f.value:.4g}", f.unit, f.reference, None if f.ratio is None else f"{f.ratio:.3g}")
            for f in figures
        ],
    )
    output.result({"machine": machine(), "figures": [figure.to_plain() for figure in figures]})
    return EXIT_SUCCESS


def _transfer(megabytes: str, rounds: int) -> list[Figure]:
    from node.benches.transfer import bench_transfer  # only this bench needs it

    parts = megabytes.split(",")
    if rounds < 1 or not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise UsageError("--rounds and each number of --megabytes must be 1 or more")
    return bench_transfer(tuple(sorted(int(part) * 1_000_000 for part in parts)), rounds)


def _with_home(arguments: argparse.Namespace) -> list[Figure]:
    require_diffusion(f"bench {arguments.what}")
    if arguments.home is None:
        raise UsageError(
            f"bench {arguments.what} needs the home of a node with an accepted checkpoint",
            hint="pdfed testnet --dir T, then --home T/node0",
        )
    home = Home(arguments.home).require()
    return bench_score(home) if arguments.what == "score" else bench_train(home, arguments.steps)
