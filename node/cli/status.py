"""``pdfed status``: where a node's chain is."""

from __future__ import annotations

import argparse

from node.cli.commands import EXIT_SUCCESS
from node.cli.home_argument import add_home_argument, home_of
from node.cli.output import Output
from node.home import Home
from node.reader import open_reader
from node.self_test import PASSED_GAUGE
from node.telemetry import read_gauges

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_home_argument(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Height, roots, authorities and counts."""
    with open_reader(home_of(arguments)) as reader:
        height = reader.height()
        header = reader.store.light_block(height).header if height else None
        block = reader.store.light_block(height).hash if height else reader.genesis.hash
        plain = {
            "chain_id": reader.genesis.chain_id,
            "genesis": reader.genesis.hash.hex(),
            "height": height,
            "block": block.hex(),
            "time_ms": header.time_ms if header is not None else reader.genesis.time_ms,
            "state_root": reader.store.state().root.hex(),
            "version": reader.view().governance.version,
            "authorities": len(reader.store.next_authorities()),
            "authority_set": reader.store.next_authorities().set_id,
            "participants": len(reader.participants()),
            **reader.counts(),
            "units": reader.units(),
            "self_test": _self_test(home_of(arguments)),
        }
    width = max(len(name) for name in plain)
    for name, value in plain.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        output.say(f"{name.replace('_', ' '):{width}}  {shown}")
    output.result(plain)
    return EXIT_SUCCESS


def _self_test(home: Home) -> str:
    """What the node last said of its self-test; a node that failed validates and does not score."""
    passed = read_gauges(home.activity_path).get(PASSED_GAUGE)
    return "not run" if passed is None else "passed" if passed else "failed: scores nothing, see the log"
