"""``pdfed bench WHAT``: measured figures of this machine, each beside its reference in the same run."""

from __future__ import annotations

import argparse
from pathlib import Path

from node.benches.chain import bench_chain
from node.benches.figures import Figure, machine
from node.benches.models import bench_score, bench_train
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
    parser.add_argument("--transfers", type=int, default=20_000, metavar="N", help="chain: default 20000")
    parser.add_argument("--accounts", type=int, default=100_000, metavar="N", help="chain: default 100000")
    parser.add_argument(
        "--eth-tester-python", type=Path, metavar="P", help="chain: an interpreter that has eth-tester and py-evm"
    )
    parser.add_argument("--steps", type=int, default=100, metavar="N", help="train: default 100")
    parser.add_argument("--megabytes", default="64,1000", metavar="N,N", help="transfer: folders, default 64,1000")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="transfer: take the median, default 5")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Measure and report."""
    for name in ("transfers", "accounts", "steps", "rounds"):
        if getattr(arguments, name) < 1:
            raise UsageError(f"--{name} must be 1 or more")
    figures = _measure(arguments)
    output.table(
        ("figure", "value", "unit", "reference", "ratio"),
        [
            (f.name, f"{f.value:.4g}", f.unit, f.reference, None if f.ratio is None else f"{f.ratio:.3g}")
            for f in figures
        ],
    )
    output.result({"machine": machine(), "figures": [figure.to_plain() for figure in figures]})
    return EXIT_SUCCESS


def _measure(arguments: argparse.Namespace) -> list[Figure]:
    match arguments.what:
        case "chain":
            return bench_chain(arguments.transfers, arguments.accounts, arguments.eth_tester_python)
        case "transfer":
            return _transfer(arguments.megabytes, arguments.rounds)
        case _:
            return _with_home(arguments)


def _transfer(megabytes: str, rounds: int) -> list[Figure]:
    from node.benches.transfer import bench_transfer  # only this bench needs it

    parts = megabytes.split(",")
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise UsageError("each number of --megabytes must be 1 or more")
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
