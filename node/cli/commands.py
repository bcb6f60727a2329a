"""The commands of ``pdfed`` and where each lives.

A command's module is imported only when that command is asked for, so that ``pdfed --help`` and ``--version`` answer
at once and work without any extra. Such a module offers::

    def add_arguments(parser: argparse.ArgumentParser) -> None
    def run(arguments: argparse.Namespace, output: Output) -> int      # the exit status

Exit statuses: 0 success, 1 a negative answer, 2 wrong usage or input, 3 failure at run time, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
from dataclasses import dataclass
from typing import Final, Protocol, cast

from node.cli.output import Output

__all__ = [
    "COMMANDS",
    "EXIT_FAILURE",
    "EXIT_INTERRUPTED",
    "EXIT_NEGATIVE",
    "EXIT_SUCCESS",
    "EXIT_USAGE",
    "Command",
    "CommandModule",
]

EXIT_SUCCESS: Final = 0
EXIT_NEGATIVE: Final = 1
EXIT_USAGE: Final = 2
EXIT_FAILURE: Final = 3
EXIT_INTERRUPTED: Final = 130


class CommandModule(Protocol):
    """What a command's module offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's own options."""

    def run(self, arguments: argparse.Namespace, output: Output) -> int:
        """Do it and return the exit status."""


@dataclass(frozen=True, slots=True)
class Command:
    """Where a command lives, and one line about it."""

    module: str
    help: str

    def load(self) -> CommandModule:
        """Import the command's module."""
        return cast(CommandModule, importlib.import_module(f"node.cli.{self.module}"))


COMMANDS: Final[dict[str, Command]] = {
    "testnet": Command("testnet", "a local testnet of real node processes that train together"),
    "init": Command("init", "make the home directory of one node"),
    "genesis": Command("genesis", "prepare a task and make the genesis of a chain"),
    "keys": Command("keys", "show a node's addresses"),
    "run": Command("run", "run one node in the foreground"),
    "status": Command("status", "height, authorities and counts of a node's chain"),
    "blocks": Command("blocks", "the last blocks"),
    "checkpoints": Command("checkpoints", "submitted checkpoints and their scores"),
    "participants": Command("participants", "registered participants"),
    "proposals": Command("proposals", "authorities, proposed changes of the rules, and what is scheduled"),
    "successor": Command("successor", "the genesis of a chain that goes on from the state of this one"),
    "tx": Command("tx", "sign a transaction and send it through the running node"),
    "provenance": Command("provenance", "the lineage of a checkpoint"),
    "export": Command("export", "write a checkpoint as a diffusers folder"),
    "weights": Command("weights", "list stored weights, keep some, delete what nothing needs"),
    "sample": Command("sample", "a picture of samples of a checkpoint"),
    "score": Command("score", "quality and novelty of any folder of images, with the published measures"),
    "train-scorer": Command("train_scorer", "train a fingerprinter and a verifier for your images"),
    "calibrate": Command("calibrate", "can this machine be an authority? known scores computed again, and timed"),
    "prove": Command("prove", "write a proof of what the chain says, for people without a node"),
    "verify": Command("verify", "check a proof against one trusted hash"),
    "audit": Command("audit", "derive everything again from genesis"),
    "bench": Command("bench", "measured figures of this machine"),
}
