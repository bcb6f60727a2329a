"""``pdfed keys``: a node's addresses. Secrets stay in the key files."""

from __future__ import annotations

import argparse

from node.cli.commands import EXIT_SUCCESS
from node.cli.home_argument import add_home_argument, home_of
from node.cli.output import Output
from node.new_home import renew_card
from pdfedchain.ids import address_text

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_home_argument(parser)
    parser.add_argument(
        "--new-card",
        action="store_true",
        help="write card.json with an onion never used before: for an authority that joins another chain, or again",
    )


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Show what the key files say, which also checks that they are usable."""
    home = home_of(arguments)
    if arguments.new_card:
        renew_card(home)
        output.say(f"wrote {home.card_path}")
    address, peer_id = address_text(home.account_key().address), home.peer_id()
    output.say(f"address  {address}")
    output.say(f"peer id  {peer_id}")
    output.result({"address": address, "peer_id": peer_id})
    return EXIT_SUCCESS
