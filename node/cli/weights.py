"""``pdfed weights ls|gc|pin|unpin``: what is stored, what for, and making room. Works while the node runs."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from node.cli.commands import EXIT_SUCCESS
from node.cli.home_argument import add_home_argument, home_of
from node.cli.output import Output
from node.home import Home
from node.reader import open_reader
from node.retention import REJECTED_FOR, needed_weights
from node.weights.keeping import GRACE_S, collect, held
from node.weights.store import WeightsStore
from pdfedchain.errors import UsageError
from pdfedchain.ids import Cid, cid_text, parse_cid

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("action", choices=("ls", "gc", "pin", "unpin"), help="list, make room, keep, keep no longer")
    parser.add_argument("cid", metavar="CID", nargs="?", help="pin, unpin: the folder")
    add_home_argument(parser)
    parser.add_argument(
        "--rejected-for", type=int, default=REJECTED_FOR, metavar="N", help="blocks rejected weights stay; default 1000"
    )
    parser.add_argument(
        "--grace", type=float, default=GRACE_S, metavar="S", help="gc: blocks younger than this stay; default 3600 s"
    )
    parser.add_argument("--dry-run", action="store_true", help="gc: say what would be deleted")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Do it."""
    home = home_of(arguments)
    if arguments.rejected_for < 0 or arguments.grace < 0:
        raise UsageError("--rejected-for and --grace must be 0 or more")
    if (arguments.cid is None) is (arguments.action in ("pin", "unpin")):
        raise UsageError("pin and unpin take the identifier of a folder; ls and gc take none")
    store = WeightsStore(home.weights_dir)
    if arguments.action == "ls":
        _list(home, store, arguments.rejected_for, output)
    elif arguments.action == "gc":
        _collect(home, store, arguments, output)
    else:
        cid = parse_cid(arguments.cid)
        (store.pins.add if arguments.action == "pin" else store.pins.discard)(cid)
        output.say(f"{arguments.action}ned {cid_text(cid)}")
        output.result({"cid": cid_text(cid), "pinned": arguments.action == "pin"})
    return EXIT_SUCCESS


def _needed(home: Home, rejected_for: int) -> dict[Cid, str]:
    with open_reader(home) as reader:
        return needed_weights(reader.tasks().values(), reader.checkpoints(), reader.height(), rejected_for)


def _list(home: Home, store: WeightsStore, rejected_for: int, output: Output) -> None:
    reasons = _needed(home, rejected_for)
    pinned = store.pins.all()
    rows = []
    for cid, found in held(store, (*reasons, *pinned)).items():
        words = [reasons[cid]] if cid in reasons else []
        reason = ", ".join(words + (["pinned"] if cid in pinned else []))
        rows.append({"cid": cid_text(cid), "needed_as": reason, **asdict(found)})
    output.table(
        ("cid", "needed as", "complete", "MB", "MB only here"),
        [
            (
                row["cid"],
                row["needed_as"],
                "yes" if row["complete"] else "no",
                f"{row['size_bytes'] / 1e6:.3f}",
                f"{row['own_bytes'] / 1e6:.3f}",
            )
            for row in rows
        ],
    )
    output.result({"folders": rows})


def _collect(home: Home, store: WeightsStore, arguments: argparse.Namespace, output: Output) -> None:
    needed = _needed(home, arguments.rejected_for)
    done = collect(store, needed, grace_s=arguments.grace, dry_run=arguments.dry_run)
    verb = "would delete" if arguments.dry_run else "deleted"
    output.say(f"{verb} {done.blocks} blocks, {done.size_bytes / 1e6:.3f} MB")
    output.say(
        f"needed: {done.kept_blocks} blocks, {done.kept_bytes / 1e6:.3f} MB; too young: {done.young_blocks} blocks"
    )
    output.result({"dry_run": arguments.dry_run, **asdict(done)})
