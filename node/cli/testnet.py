"""``pdfed testnet``: a local testnet of real node processes (`node.testnet`)."""

from __future__ import annotations

import argparse
import secrets
import time
from pathlib import Path
from typing import Any

import trio

from node.cli.checkpoints import show_checkpoints
from node.cli.commands import EXIT_NEGATIVE, EXIT_SUCCESS
from node.cli.genesis import make_genesis
from node.cli.output import Output
from node.home import Home
from node.sampling import sample_grid
from node.testnet.run import best_checkpoint, report, run_testnet
from node.testnet.setup import NODES_MAX, TestnetPlan, check_ports, find_homes, make_homes
from node.testnet.view import open_view
from node.weights.store import WeightsStore
from node.workers import require_diffusion
from pdfedchain.errors import PdfedError, UsageError
from pdfedchain.ids import Hash

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--dir", type=Path, default=Path("testnet"), metavar="D", help="default ./testnet")
    parser.add_argument("--nodes", type=int, metavar="N", help="default 4")
    parser.add_argument("--dataset", metavar="digits|FOLDER", help="default digits")
    parser.add_argument("--submissions", type=int, default=6, metavar="N", help="checkpoints to settle; default 6")
    parser.add_argument("--duration", type=float, default=600.0, metavar="S", help="seconds at most; default 600")
    parser.add_argument("--steps", type=int, metavar="N", help="optimiser steps per submission")
    parser.add_argument("--resume", action="store_true", help="continue the testnet in --dir")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Make or find the homes, run the nodes, report."""
    started_s = time.monotonic()
    _check(arguments)
    require_diffusion("a testnet")
    directory: Path = arguments.dir.absolute()
    if arguments.resume:
        homes = find_homes(directory)
        _check_same(arguments, homes)
    else:
        homes = _fresh_homes(arguments, directory, output)
    check_ports(homes)
    with open_view(output) as view:
        ending = run_testnet(
            homes,
            submissions=arguments.submissions,
            duration_s=arguments.duration,
            show=lambda snapshot, elapsed_s: view.show(snapshot, elapsed_s, arguments.submissions),
            note=output.note,
        )
    plain = report(homes)
    samples = _samples(homes, directory / "samples.png", output)
    wall_s = round(time.monotonic() - started_s, 1)
    _tell(plain, samples, wall_s, output)
    for name in ending.killed:
        output.note(f"{name} did not stop when asked to and was killed")
    if not ending.reached:
        output.note(
            f"the target was not reached: {plain['settled']} of {arguments.submissions} checkpoints are settled"
        )
    checkpoints = plain.pop("checkpoints")
    output.result(
        {
            **plain,
            "wall_s": wall_s,
            "dir": str(directory),
            "samples": None if samples is None else str(samples),
            "died": list(ending.died),
            "checkpoints": checkpoints,
        }
    )
    return EXIT_SUCCESS if ending.reached and plain["heads_agree"] else EXIT_NEGATIVE


def _check(arguments: argparse.Namespace) -> None:
    for option, value, low, high in (
        ("--nodes", arguments.nodes if arguments.nodes is not None else 4, 1, NODES_MAX),
        ("--submissions", arguments.submissions, 1, 1_000_000),
        ("--steps", arguments.steps if arguments.steps is not None else 1, 1, 1_000_000_000),
        ("--duration", arguments.duration, 1, 31_536_000),
    ):
        if not low <= value <= high:
            raise UsageError(f"{option} must lie in [{low}, {high}], found {value}")


def _check_same(arguments: argparse.Namespace, homes: list[Home]) -> None:
    """What was fixed when the testnet was made may be said again, but not changed."""
    dataset = homes[0].genesis().ledger.tasks[0].dataset
    asked = None if arguments.dataset is None else Path(arguments.dataset).name
    for option, value, found in (("--nodes", arguments.nodes, len(homes)), ("--dataset", asked, dataset)):
        if value is not None and value != found:
            raise UsageError(
                f"{option} of this testnet is {found}; --resume cannot change it", hint=f"leave {option} out"
            )


def _fresh_homes(arguments: argparse.Namespace, directory: Path, output: Output) -> list[Home]:
    plan = TestnetPlan(
        directory=directory,
        nodes=arguments.nodes if arguments.nodes is not None else 4,
        dataset=arguments.dataset or "digits",
        steps=arguments.steps,
        split_seed=Hash(secrets.token_bytes(32)),
    )
    return make_homes(plan, lambda genesis_plan: make_genesis(genesis_plan, output))


def _samples(homes: list[Home], target: Path, output: Output) -> Path | None:
    """A picture of the best checkpoint; a testnet without one, or a worker that fails, costs nobody the report."""
    found = best_checkpoint(homes)
    if found is None:
        return None
    checkpoint, task = found
    holder = next((home for home in homes if WeightsStore(home.weights_dir).complete(checkpoint.weights)), None)
    if holder is None:
        output.note("no node holds the best checkpoint's weights any more; no picture")
        return None
    try:
        trio.run(sample_grid, holder, checkpoint, task, target)
    except PdfedError as error:
        output.note(f"no picture: {error}")
        return None
    return target


def _tell(plain: dict[str, Any], samples: Path | None, wall_s: float, output: Output) -> None:
    show_checkpoints(plain["checkpoints"], output)
    output.say()
    agree = "heads agree" if plain["heads_agree"] else "HEADS DIFFER"
    output.say(
        f"chain {plain['chain_id']}: {plain['nodes']} nodes, height {plain['height']}, {agree};"
        f" {plain['settled']} checkpoints settled, {plain['accepted']} accepted, {plain['ballots']} ballots,"
        f" {wall_s:.0f} s"
    )
    for name in ("first", "best"):
        if plain[name]:
            score = plain[name]
            output.say(
                f"{name:5}  QN {score['qn']:.4g}  FID {score['fid']:.4g}  R_C {score['r_c']:.3g}  {score['cid']}"
            )
    if samples is not None:
        output.say(f"samples of the best checkpoint: {samples}")
