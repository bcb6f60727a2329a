"""``pdfed provenance CID``: what a checkpoint was trained from, down to scratch."""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Iterator
from typing import Any

from node.cli.commands import EXIT_SUCCESS
from node.cli.home_argument import add_home_argument, home_of
from node.cli.output import Output
from node.reader import ChainReader, open_reader
from pdfedchain.ids import cid_text
from pdfedchain.types.checkpoint import Checkpoint

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("cid", metavar="CID", help="identifier of a checkpoint, or its ending")
    add_home_argument(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """A tree for people, nodes and edges for programs."""
    with open_reader(home_of(arguments)) as reader:
        root = reader.checkpoint_named(arguments.cid)
        nodes = _ancestry(reader, root)
    for line in _tree(nodes, cid_text(root.weights)):
        output.say(line)
    edges = [[parent, cid] for cid, node in nodes.items() for parent in node["parents"]]
    output.result({"cid": cid_text(root.weights), "checkpoints": list(nodes.values()), "edges": edges})
    return EXIT_SUCCESS


def _ancestry(reader: ChainReader, root: Checkpoint) -> dict[str, dict[str, Any]]:
    """The checkpoint and all its ancestors by identifier, nearest first."""
    names = reader.names()
    found: dict[str, dict[str, Any]] = {}
    waiting = deque([root])
    while waiting:
        checkpoint = waiting.popleft()
        text = cid_text(checkpoint.weights)
        if text not in found:
            found[text] = reader.checkpoint_plain(checkpoint, names)
            parents = (reader.checkpoint(parent) for parent in checkpoint.parents)
            waiting.extend(parent for parent in parents if parent is not None)
    return found


def _tree(nodes: dict[str, dict[str, Any]], root: str) -> Iterator[str]:
    """One line per node, ancestors below and further right; lineages may be long, so nothing recurses."""
    shown: set[str] = set()
    waiting = [(root, 0)]
    while waiting:
        cid, depth = waiting.pop()
        node = nodes[cid]
        score = f"QN {node['score']['qn']:.4g}" if node["score"] else node["status"]
        author = node["author_name"] or node["author"][:12]
        again = " (see above)" if cid in shown else ""
        yield f"{'  ' * depth}{cid}  {author}, {node['steps']} steps, {score}{again}"
        if cid not in shown:
            shown.add(cid)
            waiting += [(parent, depth + 1) for parent in reversed(node["parents"])]
