"""``pdfed participants``: who has registered."""

from __future__ import annotations

import argparse

from node.cli.commands import EXIT_SUCCESS
from node.cli.home_argument import add_home_argument, home_of
from node.cli.output import Output
from node.reader import open_reader
from pdfedchain.ids import address_text
from pdfedchain.types.transaction import Role

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_home_argument(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """All of them, in order of registration."""
    with open_reader(home_of(arguments)) as reader:
        authorities = reader.store.next_authorities()
        submitted = [checkpoint.author for checkpoint in reader.checkpoints()]
        earned = reader.earned()
        rows = [
            {
                "name": participant.name,
                "address": address_text(participant.address),
                "roles": [role.name.lower() for role in Role if role & participant.roles and role.name],
                "authority": participant.address in authorities,
                "data_commitment": participant.data_commitment.hex(),
                "registered_height": participant.registered_height,
                "submitted": submitted.count(participant.address),
                "reward_address": address_text(participant.reward_address),
                "balance": reader.balance(participant.address),
                "earned": earned.get(participant.address, 0),
            }
            for participant in reader.participants()
        ]
        height = reader.height()
    output.table(
        ("name", "address", "roles", "authority", "since block", "submitted", "balance", "earned"),
        [
            (
                row["name"],
                str(row["address"])[:16],
                "+".join(row["roles"] if isinstance(row["roles"], list) else ()),
                "yes" if row["authority"] else "no",
                row["registered_height"],
                row["submitted"],
                row["balance"],
                row["earned"],
            )
            for row in rows
        ],
    )
    output.result({"height": height, "participants": rows})
    return EXIT_SUCCESS
