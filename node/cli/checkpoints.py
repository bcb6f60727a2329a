"""``pdfed checkpoints``: what was submitted and what became of it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from node.cli.commands import EXIT_SUCCESS
from node.cli.home_argument import add_home_argument, home_of
from node.cli.output import Output
from node.reader import open_reader
from pdfedchain.ids import cid_text

__all__ = ["add_arguments", "run", "show_checkpoints"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_home_argument(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """All of them, in order of submission."""
    with open_reader(home_of(arguments)) as reader:
        names = reader.names()
        rows = [reader.checkpoint_plain(checkpoint, names) for checkpoint in reader.checkpoints()]
        best = reader.best()
        height = reader.height()
    show_checkpoints(rows, output)
    best_cid = None if best is None else cid_text(best.weights)
    output.result({"height": height, "best": best_cid, "checkpoints": rows})
    return EXIT_SUCCESS


def show_checkpoints(rows: Iterable[dict[str, Any]], output: Output) -> None:
    """The table of `ChainReader.checkpoint_plain` rows."""
    table = []
    for row in rows:
        score = row["score"]
        parts = [f"{score[name]:.4g}" for name in ("qn", "fid", "v_a", "v_c", "r_c")] if score else [None] * 5
        votes = "/".join(str(row["ballots"][kind]["revealed"]) for kind in ("score", "private"))
        status = row["status"] if row["reason"] is None else f"{row['status']}: {row['reason']}"
        parents = ",".join(parent[-8:] for parent in row["parents"]) or "scratch"
        author = row["author_name"] or row["author"][:12]
        table.append((row["cid"][-8:], author, parents, *parts, votes, status))
    output.table(("…cid", "author", "parents", "QN", "FID", "V_A", "V_C", "R_C", "score/private", "status"), table)
