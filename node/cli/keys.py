"""``pdfed keys``: a node's addresses. Secrets stay in the key files."""

from __future__ import annotations

import argparse

from node.cli.commands import EXIT_SUCCESS
from node.cli.home_argument import add_home_argument, home_of
from node.cli.output import Output
from pdfedchain.ids import address_text

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_home_argument(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Show what the key files say, which also checks that they are usable."""
    home = home_of(arguments)
    address, peer_id = address_text(home.account_key().address), home.peer_id()
    output.say(f"address  {address}")
    output.say(f"peer id  {peer_id}")
    output.result({"address": address, "peer_id": peer_id})
    return EXIT_SUCCESS
