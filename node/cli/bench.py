"""``pdfed bench WHAT``: measured figures of this machine, each beside its reference in the same run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from node.benches.chain import bench_chain
from node.benches.figures import Figure, machine
from node.benches.finality import bench_finality
from node.benches.gossip import bench_gossip
from node.benches.models import bench_score, bench_train
from node.benches.proofs import bench_proofs
from node.benches.scores import bench_folder_score
from node.benches.sync import bench_sync
from node.cli.commands import EXIT_SUCCESS
from node.cli.output import Output
from node.collector import relax_collector
from node.home import Home
from node.workers import require_diffusion
from pdfedchain.errors import UsageError

__all__ = ["add_arguments", "run"]

_SUBJECTS: Final = ("chain", "finality", "gossip", "proofs", "score", "sync", "train", "transfer")
_TRAINING_IMAGES_MIN: Final = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("what", choices=_SUBJECTS, help="what to measure")
    parser.add_argument(
        "--home",
        type=Path,
        metavar="H",
        help="a home with an accepted checkpoint: train needs it, score measures it too",
    )
    parser.add_argument("--transfers", type=int, default=36_000, metavar="N", help="chain, proofs: default 36000")
    parser.add_argument("--accounts", type=int, default=100_000, metavar="N", help="chain, proofs: default 100000")
    parser.add_argument(
        "--eth-tester-python", type=Path, metavar="P", help="chain: an interpreter that has eth-tester and py-evm"
    )
    parser.add_argument("--images", type=int, default=1_000, metavar="N", help="score: generated; default 1000")
    parser.add_argument("--training-images", type=int, default=10_000, metavar="N", help="score: default 10000")
    parser.add_argument("--device", default="cpu", metavar="D", help="score: torch device of the networks; default cpu")
    parser.add_argument("--blocks", type=int, default=10_000, metavar="N", help="sync: default 10000")
    parser.add_argument("--transfers-per-block", type=int, default=10, metavar="N", help="sync: default 10")
    parser.add_argument("--seconds", type=float, default=15.0, metavar="S", help="finality: per load, default 15")
    parser.add_argument("--messages", type=int, default=10_000, metavar="N", help="gossip: none is lost; default 10000")
    parser.add_argument("--steps", type=int, default=100, metavar="N", help="train: default 100")
    parser.add_argument("--megabytes", default="64,1000", metavar="N,N", help="transfer: folders, default 64,1000")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="transfer: take the median, default 5")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Measure and report."""
    for name in ("transfers", "accounts", "blocks", "transfers_per_block", "seconds", "messages", "steps", "rounds"):
        if getattr(arguments, name) < 1:
            raise UsageError(f"--{name.replace('_', '-')} must be 1 or more")
    relax_collector()
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
        case "proofs":
            return bench_proofs(arguments.transfers, arguments.accounts)
        case "finality":
            return bench_finality(arguments.seconds)
        case "gossip":
            return bench_gossip(arguments.messages)
        case "sync":
            return bench_sync(arguments.blocks, arguments.transfers_per_block)
        case "transfer":
            return _transfer(arguments.megabytes, arguments.rounds)
        case "score":
            return _score(arguments)
        case _:
            return _train(arguments)


def _transfer(megabytes: str, rounds: int) -> list[Figure]:
    from node.benches.transfer import bench_transfer  # only this bench needs it

    parts = megabytes.split(",")
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise UsageError("each number of --megabytes must be 1 or more")
    return bench_transfer(tuple(sorted(int(part) * 1_000_000 for part in parts)), rounds)


def _score(arguments: argparse.Namespace) -> list[Figure]:
    require_diffusion("bench score")
    if arguments.images < 1 or arguments.training_images < _TRAINING_IMAGES_MIN:
        raise UsageError(f"--images must be 1 or more, --training-images {_TRAINING_IMAGES_MIN} or more")
    consensus = [] if arguments.home is None else bench_score(Home(arguments.home).require())
    return consensus + bench_folder_score(arguments.images, arguments.training_images, arguments.device)


def _train(arguments: argparse.Namespace) -> list[Figure]:
    require_diffusion("bench train")
    if arguments.home is None:
        raise UsageError(
            "bench train needs the home of a node with an accepted checkpoint",
            hint="pdfed testnet --dir T, then --home T/node0",
        )
    return bench_train(Home(arguments.home).require(), arguments.steps)
