"""``pdfed sample CID --out grid.png``: a picture of what a checkpoint generates."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import trio

from node.cli.commands import EXIT_SUCCESS
from node.cli.home_argument import add_home_argument, home_of
from node.cli.output import Output
from node.reader import open_reader
from node.sampling import sample_grid
from node.workers import require_diffusion
from pdfedchain.errors import UsageError
from pdfedchain.ids import cid_text

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("cid", metavar="CID", help="identifier of a checkpoint, or its ending")
    add_home_argument(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="PNG", help="picture to write")
    parser.add_argument("--per-class", type=int, default=8, metavar="N", help="samples per class; default 8")
    parser.add_argument("--seed", type=int, default=0, help="another number gives other samples; default 0")
    parser.add_argument("--device", default="cpu", help="torch device; default cpu")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """One row per class."""
    require_diffusion("sampling")
    if not 1 <= arguments.per_class <= 1_000:
        raise UsageError(f"--per-class must be 1 to 1000, found {arguments.per_class}")
    if not 0 <= arguments.seed < 2**63:
        raise UsageError(f"--seed must be a number from 0 to 2^63 - 1, found {arguments.seed}")
    home, out = home_of(arguments), arguments.out.absolute()
    if not out.parent.is_dir():
        raise UsageError(f"{out.parent} is no folder", hint="make it first, or choose another --out")
    with open_reader(home) as reader:
        checkpoint = reader.checkpoint_named(arguments.cid)
        task = reader.task(checkpoint.task)
    draw = partial(sample_grid, per_class=arguments.per_class, device=arguments.device, seed=arguments.seed)
    picture = trio.run(draw, home, checkpoint, task, out)
    output.say(f"wrote {out} ({picture.width} x {picture.height}, one row per class)")
    output.result(
        {
            "cid": cid_text(checkpoint.weights),
            "out": str(out),
            "width": picture.width,
            "height": picture.height,
            "classes": task.model.classes,
        }
    )
    return EXIT_SUCCESS
