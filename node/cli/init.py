"""``pdfed init``: the home directory of one node."""

from __future__ import annotations

import argparse
from pathlib import Path

from node.cli.commands import EXIT_SUCCESS
from node.cli.output import Output
from node.config import parse_roles
from node.new_home import create_home

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--home", type=Path, required=True, metavar="H", help="directory to make; empty or new")
    parser.add_argument("--name", required=True, help="the node's name, shown to others")
    parser.add_argument(
        "--roles",
        default="authority,trainer",
        help="authority, trainer, evaluator (comma-separated), or observer; default authority,trainer",
    )
    parser.add_argument(
        "--listen",
        default="/ip4/127.0.0.1/tcp/4610",
        metavar="ADDR",
        help="multiaddress to listen on; default %(default)s",
    )
    parser.add_argument("--advertise", metavar="ADDR", help="address others dial, where it is not --listen")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Make the home and say what to do with its card."""
    home, card = create_home(
        arguments.home,
        name=arguments.name,
        roles=parse_roles(arguments.roles),
        listen=arguments.listen,
        advertise=arguments.advertise,
    )
    output.say(f"made {home.path}")
    output.say(f"  address  {card.address.hex()}")
    output.say(f"  dial     {card.dial}")
    output.say(f"next: give {home.card_path} to whoever runs `pdfed genesis`, or run it yourself")
    output.result({"home": str(home.path), **card.to_plain()})
    return EXIT_SUCCESS
