"""``pdfed weights ls|gc|pin|unpin|fetch``: what is stored, what for, making room. Works while the node runs."""

from __future__ import annotations

import argparse
import secrets
from dataclasses import asdict

from node.cli.commands import EXIT_SUCCESS
from node.cli.home_argument import add_home_argument, home_of
from node.cli.output import Output
from node.home import Home
from node.reader import open_reader
from node.retention import REJECTED_FOR, needed_weights
from node.weights.keeping import GRACE_S, collect, held
from node.weights.limits import FOLDER_SIZE_BYTES_MAX
from node.weights.store import WeightsStore
from pdfedchain.errors import UsageError
from pdfedchain.ids import Cid, cid_text, parse_cid

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("action", choices=("ls", "gc", "pin", "unpin", "fetch"), help="what to do")
    parser.add_argument("cid", metavar="CID", nargs="?", help="pin, unpin, fetch: the folder")
    add_home_argument(parser)
    parser.add_argument(
        "--rejected-for", type=int, default=REJECTED_FOR, metavar="N", help="blocks rejected weights stay; default 1000"
    )
    parser.add_argument(
        "--grace", type=float, default=GRACE_S, metavar="S", help="gc: blocks younger than this stay; default 3600 s"
    )
    parser.add_argument("--from", dest="source", metavar="A", help="fetch: address of a node or of an IPFS program")
    parser.add_argument("--dry-run", action="store_true", help="gc: say what would be deleted")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Do it."""
    home = home_of(arguments)
    if arguments.rejected_for < 0 or arguments.grace < 0:
        raise UsageError("--rejected-for and --grace must be 0 or more")
    if (arguments.cid is None) is (arguments.action in ("pin", "unpin", "fetch")):
        raise UsageError("pin, unpin and fetch take the identifier of a folder; ls and gc take none")
    if (arguments.source is None) is (arguments.action == "fetch"):
        raise UsageError("fetch needs --from ADDRESS, and nothing else takes it")
    store = WeightsStore(home.weights_dir, size_bytes_max=home.config().weights.size_bytes_max)
    if arguments.action == "ls":
        _list(home, store, arguments.rejected_for, output)
    elif arguments.action == "gc":
        _collect(home, store, arguments, output)
    elif arguments.action == "fetch":
        _fetch(store, parse_cid(arguments.cid), arguments.source, output)
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


def _fetch(store: WeightsStore, cid: Cid, source: str, output: Output) -> None:
    # Everything else here works without a network stack, which takes a second to import.
    import trio

    from node.host.libp2p_host import open_host, quiet_libp2p_logging
    from node.weights.bitswap import Bitswap
    from node.weights.fetch import FetchReport, fetch

    async def bring() -> FetchReport:
        async with open_host(secrets.token_bytes(32)) as host:
            bitswap = Bitswap(store)
            bitswap.attach(host)
            peer_id = await host.connect(source)
            return await fetch(host, store, cid, [peer_id], size_bytes_max=FOLDER_SIZE_BYTES_MAX, bitswap=bitswap)

    quiet_libp2p_logging()
    store.pins.add(cid)
    report = trio.run(bring)
    output.say(
        f"fetched {report.fetched_blocks} blocks, {report.fetched_bytes / 1e6:.3f} MB, and pinned {cid_text(cid)}"
    )
    output.result({"cid": cid_text(cid), "blocks": report.fetched_blocks, "size_bytes": report.fetched_bytes})
