"""``pdfed run``: one node in the foreground, until it is told to stop."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys

import trio

from node.cli.commands import EXIT_INTERRUPTED, EXIT_SUCCESS
from node.cli.home_argument import add_home_argument, home_of
from node.cli.output import Output
from node.collector import relax_collector
from node.config import NodeRole
from node.home import Home
from node.workers import require_diffusion

__all__ = ["add_arguments", "run"]

_LEVELS = ("debug", "info", "warning", "error")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_home_argument(parser)
    parser.add_argument("--until-height", type=int, metavar="N", help="stop once this block is final")
    parser.add_argument("--stop-with-stdin", action="store_true", help="stop when standard input ends")
    parser.add_argument("--log-level", choices=_LEVELS, default="info", help="default info")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Run the node; SIGINT and SIGTERM stop it cleanly."""
    home = home_of(arguments)
    config = home.config()
    home.genesis()
    if config.node.roles != (NodeRole.OBSERVER,):
        roles = " and ".join(role.value for role in config.node.roles)
        require_diffusion(f"a node that is {roles}", otherwise='roles = ["observer"] in config.toml needs none')
    logging.basicConfig(
        stream=sys.stderr,
        level=arguments.log_level.upper(),
        format="%(asctime)s %(levelname).1s %(name)s: %(message)s",
    )
    # The library talks about every stream it opens; what matters of it comes through our own host.
    for noisy in ("libp2p", "multiaddr"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    relax_collector()
    stopped_by = trio.run(_run_until_stopped, home, arguments.until_height, arguments.stop_with_stdin)
    output.result({"home": str(home.path), "stopped_by": None if stopped_by is None else stopped_by.name})
    return EXIT_INTERRUPTED if stopped_by is signal.SIGINT else EXIT_SUCCESS


async def _run_until_stopped(home: Home, until_height: int | None, stop_with_stdin: bool) -> signal.Signals | None:
    """Returns the signal that stopped the node, ``None`` if it ended by itself."""
    from node.run import run_node

    stopped_by: signal.Signals | None = None
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def stop_on_signal() -> None:
                nonlocal stopped_by
                async for number in signals:
                    stopped_by = signal.Signals(number)
                    logging.getLogger(__name__).info("stopping on %s", stopped_by.name)
                    nursery.cancel_scope.cancel()
                    return

            async def stop_on_end_of_input() -> None:
                async with trio.lowlevel.FdStream(os.dup(0)) as stream:
                    async for _ in stream:
                        pass
                logging.getLogger(__name__).info("stopping: standard input has ended")
                nursery.cancel_scope.cancel()

            nursery.start_soon(stop_on_signal)
            if stop_with_stdin:
                nursery.start_soon(stop_on_end_of_input)
            await run_node(home, until_height=until_height)
            nursery.cancel_scope.cancel()
    return stopped_by
