"""``pdfed successor``: the genesis of a chain that goes on from this one's state (`node.successor`)."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from node.cli.commands import EXIT_SUCCESS
from node.cli.home_argument import add_home_argument, home_of
from node.cli.output import Output
from node.genesis_file import save_genesis_file
from node.home import load_card
from node.new_genesis import small_set_warning
from node.reader import open_reader
from node.successor import successor_genesis
from pdfedchain.errors import UsageError
from pdfedchain.limits import NAME_LENGTH_MAX

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_home_argument(parser)
    parser.add_argument("--chain-id", required=True, metavar="C", help="name of the new chain")
    parser.add_argument(
        "--card",
        type=Path,
        action="append",
        required=True,
        metavar="FILE",
        help="an authority; repeat, in turn",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where the new genesis.json goes")
    parser.add_argument("--time-ms", type=int, metavar="MS", help="start of chain time, for equal files; default now")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Write the genesis and say what it rests on."""
    name, out = arguments.chain_id, arguments.out
    if not name.isprintable() or not 1 <= len(name.encode()) <= NAME_LENGTH_MAX:
        raise UsageError(f"--chain-id must be printable and have 1 to {NAME_LENGTH_MAX} bytes")
    if out.exists():
        raise UsageError(f"{out} exists", hint="a genesis is never written over; choose another --out")
    cards = [load_card(path) for path in arguments.card]
    time_ms = time.time_ns() // 1_000_000 if arguments.time_ms is None else arguments.time_ms
    with open_reader(home_of(arguments)) as reader:
        file = successor_genesis(reader, cards, chain_id=name, time_ms=time_ms)
        height, root = reader.height(), reader.store.state().root
    save_genesis_file(out, file)
    warning = small_set_warning(len(cards))
    if warning is not None:
        output.note(f"warning: {warning}")
    output.say(f"{out} goes on from block {height}, state {root.hex()}")
    output.say(f"hash {file.genesis.hash.hex()}: compare it with the other members")
    output.result(
        {
            "chain_id": name,
            "genesis": file.genesis.hash.hex(),
            "from_height": height,
            "from_state_root": root.hex(),
            "authorities": len(cards),
            "participants": len(file.ledger.participants),
            "tasks": len(file.ledger.tasks),
            "units": sum(one.amount for one in file.ledger.allocations) + sum(one.amount for one in file.ledger.pools),
        }
    )
    return EXIT_SUCCESS
