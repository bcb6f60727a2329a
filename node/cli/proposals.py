"""``pdfed proposals``: who decides, what is proposed, and what is decided but not in effect."""

from __future__ import annotations

import argparse
from typing import Any

from node.cli.commands import EXIT_SUCCESS
from node.cli.home_argument import add_home_argument, home_of
from node.cli.output import Output
from node.reader import ChainReader, open_reader
from pdfedchain.codec import tag_of, to_plain
from pdfedchain.ids import address_text
from pdfedchain.types.governance import OpenProposal

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_home_argument(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Authorities, open proposals, scheduled changes."""
    with open_reader(home_of(arguments)) as reader:
        view = reader.view()
        governance, height = view.governance, reader.height()
        proposals = [_proposal(reader, opened) for opened in governance.proposals]
        scheduled = [{"height": one.height, **_change(one.change)} for one in governance.scheduled]
        convictions = {member: view.conviction(member) for member in governance.voting.members}
    output.say(f"height {height}, version {governance.version}, authority set {governance.voting.set_id}:")
    output.table(
        ("address", "note"),
        [
            (address_text(member), _note(member in governance.following, convictions[member] is not None))
            for member in governance.voting.members
        ],
    )
    for one in proposals:
        output.say(f"\nopen: {one['proposal']}, proposed at height {one['height']}")
        output.say(f"  {one['change']} {one['details']}")
        output.say(f"  approved by {len(one['approvals'])} of {len(governance.voting)}")
    for one in scheduled:
        output.say(f"\nfrom block {one['height']} on: {one['change']} {one['details']}")
    output.result(
        {
            "height": height,
            "version": governance.version,
            "set_id": governance.voting.set_id,
            "authorities": [address_text(member) for member in governance.voting.members],
            "following": [address_text(member) for member in governance.following.members],
            "proposals": proposals,
            "scheduled": scheduled,
        }
    )
    return EXIT_SUCCESS


def _proposal(reader: ChainReader, opened: OpenProposal) -> dict[str, Any]:
    record = reader.view().proposal(opened.proposal)
    assert record is not None, "open proposals are kept"
    return {
        "proposal": opened.proposal.hex(),
        "height": record.height,
        "proposer": address_text(record.proposer),
        "approvals": [address_text(one) for one in record.approvals],
        **_change(record.change),
    }


def _change(change: Any) -> dict[str, Any]:
    return {"change": tag_of(type(change)).split("/")[2], "details": to_plain(change)}


def _note(stays: bool, convicted: bool) -> str:
    return ", ".join(text for text, holds in (("leaves", not stays), ("contradicted itself", convicted)) if holds)
