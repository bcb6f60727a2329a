"""``pdfed blocks``: the last blocks of a node's chain."""

from __future__ import annotations

import argparse

from node.cli.commands import EXIT_SUCCESS
from node.cli.home_argument import add_home_argument, home_of
from node.cli.output import Output
from node.reader import open_reader
from pdfedchain.errors import Pruned, UsageError
from pdfedchain.ids import address_text
from pdfedchain.store.interface import Store

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_home_argument(parser)
    parser.add_argument("--last", type=int, default=20, metavar="N", help="how many; default 20")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Newest first."""
    if arguments.last < 1:
        raise UsageError(f"--last must be at least 1, found {arguments.last}")
    with open_reader(home_of(arguments)) as reader:
        top = reader.height()
        names = reader.names()
        rows = []
        for height in range(top, max(0, top - arguments.last), -1):
            try:
                light = reader.store.light_block(height)
            except Pruned:  # the home began from a snapshot after it
                break
            header = light.header
            rows.append(
                {
                    "height": height,
                    "hash": light.hash.hex(),
                    "time_ms": header.time_ms,
                    "round": light.certificate.round,
                    "proposer": address_text(header.proposer),
                    "proposer_name": names.get(header.proposer),
                    "transactions": _transactions(reader.store, height),
                    "signatures": len(light.certificate.signatures),
                    "state_root": header.state_root.hex(),
                }
            )
    output.table(
        ("height", "hash", "round", "proposer", "transactions", "signatures"),
        [
            (
                row["height"],
                str(row["hash"])[:16],
                row["round"],
                row["proposer_name"] or str(row["proposer"])[:12],
                "pruned" if row["transactions"] is None else row["transactions"],
                row["signatures"],
            )
            for row in rows
        ],
    )
    output.result({"height": top, "blocks": rows})
    return EXIT_SUCCESS


def _transactions(store: Store, height: int) -> int | None:
    try:
        return len(store.final_block(height).block.body.transactions)
    except Pruned:
        return None
