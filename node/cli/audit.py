"""``pdfed audit``: derive everything again from genesis (`node.audit`)."""

from __future__ import annotations

import argparse
import dataclasses
from contextlib import ExitStack
from functools import partial

import trio

from node.audit import Audit, Problem, ProblemKind, audit_chain, audit_scores
from node.cli.commands import EXIT_NEGATIVE, EXIT_SUCCESS
from node.cli.home_argument import add_home_argument, home_of
from node.cli.output import Output
from node.home import Home
from node.reader import ChainReader, open_reader
from node.workers import Worker, require_diffusion
from pdfedchain.errors import DecodeError, StateError, UsageError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_home_argument(parser)
    parser.add_argument(
        "--scores",
        default="all",
        metavar="all|N|none",
        help="recompute the scores of all settled checkpoints, of the N newest, or of none; default all",
    )
    parser.add_argument("--device", default="cpu", help="torch device; default cpu")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Audit; status 1 where anything is wrong or cannot be checked."""
    home = home_of(arguments)
    newest = _newest(arguments.scores)
    if newest != 0:
        require_diffusion("recomputing scores", otherwise="`--scores none` audits the chain alone")
    audit = Audit()
    with ExitStack() as stack:
        reader = _chain(home, audit, output, stack)
        if reader is not None and newest == 0:
            audit.skipped = reader.counts()["settled"]
        elif reader is not None:
            trio.run(partial(_scores, home, reader, audit, output, newest=newest, device=arguments.device))
    for problem in audit.problems:
        output.say(f"{problem.kind}: {problem.where}")
        output.say(f"  expected {problem.expected}")
        output.say(f"  found    {problem.found}")
    output.say(
        f"{'ok' if audit.ok else 'NOT OK'}: {audit.blocks} blocks, {audit.scores_checked} scores recomputed,"
        f" {audit.scores_out_of_tolerance} out of tolerance, {audit.rewards_checked} rewards derived again,"
        f" {audit.lineage_edges} lineage edges, {audit.skipped} skipped, {len(audit.problems)} problems"
    )
    output.result({"ok": audit.ok, **dataclasses.asdict(audit)})
    return EXIT_SUCCESS if audit.ok else EXIT_NEGATIVE


def _chain(home: Home, audit: Audit, output: Output, stack: ExitStack) -> ChainReader | None:
    """Audit the chain; a database that cannot be read is a finding, not a failure of the audit."""
    try:
        reader = stack.enter_context(open_reader(home, check_state=False))
        output.progress("chain", 0, reader.height())
        audit_chain(home, reader, audit)
    except (StateError, DecodeError) as error:
        expected = "a chain database that is whole, with the state that its last block states"
        audit.problems.append(Problem(ProblemKind.DATABASE, str(home.chain_db), expected, str(error)))
        return None
    return reader


async def _scores(
    home: Home, reader: ChainReader, audit: Audit, output: Output, *, newest: int | None, device: str
) -> None:
    async with Worker("audit", home.logs_dir) as worker:
        await audit_scores(
            home,
            reader,
            audit,
            worker,
            newest=newest,
            device=device,
            on_progress=lambda done, total: output.progress("scores", done, total),
        )


def _newest(text: str) -> int | None:
    """``None`` for all."""
    if text == "all":
        return None
    if text == "none":
        return 0
    if text.isascii() and text.isdigit():
        return int(text)
    raise UsageError(f"--scores must be all, none or a number, found {text!r}")
