"""``pdfed export CID --out D``: a checkpoint as the folder that diffusers loads."""

from __future__ import annotations

import argparse
from pathlib import Path

from node.cli.commands import EXIT_SUCCESS
from node.cli.home_argument import add_home_argument, home_of
from node.cli.output import Output
from node.reader import open_reader
from node.weights.store import WeightsStore
from pdfedchain.ids import cid_text

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("cid", metavar="CID", help="identifier of a checkpoint, or its ending")
    add_home_argument(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="D", help="folder to make")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Write the folder from this home's own weights; it appears whole or not at all."""
    home = home_of(arguments)
    with open_reader(home) as reader:
        cid = reader.checkpoint_named(arguments.cid).weights
    out = arguments.out.absolute()
    WeightsStore(home.weights_dir).export(cid, out)
    output.say(f"wrote {out}")
    output.say(f'  UNet2DModel.from_pretrained("{out}", subfolder="unet")')
    output.result({"cid": cid_text(cid), "out": str(out)})
    return EXIT_SUCCESS
