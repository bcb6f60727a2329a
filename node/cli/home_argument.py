"""``--home H``, which most commands take."""

from __future__ import annotations

import argparse
from pathlib import Path

from node.home import Home

__all__ = ["add_home_argument", "home_of"]


def add_home_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--home``."""
    parser.add_argument("--home", type=Path, required=True, metavar="H", help="the node's home directory")


def home_of(arguments: argparse.Namespace) -> Home:
    """The home that ``--home`` names.

    Raises:
        UsageError: there is none.
    """
    return Home(arguments.home).require()
