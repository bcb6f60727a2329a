"""``python -m tests.e2e.actors.KIND HOME [ARGUMENT ...]``: run a home as a node with some of its parts replaced."""

import logging
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import trio

from node.home import Home
from node.run import run_node


def start(replaced: Callable[[Path, list[str]], dict[str, Any]]) -> None:
    """Run until killed.

    Args:
        replaced: from the home and the further arguments to the keyword arguments of `run_node`.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    home, *rest = sys.argv[1:]
    trio.run(partial(run_node, Home(Path(home)), **replaced(Path(home), rest)))
