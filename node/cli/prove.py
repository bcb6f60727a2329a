"""``pdfed prove SUBJECT``: write a file that shows what the chain says of a checkpoint or an account to anybody."""

from __future__ import annotations

import argparse
from pathlib import Path

from node.cli.commands import EXIT_SUCCESS
from node.cli.home_argument import add_home_argument, home_of
from node.cli.output import Output
from node.proof_file import keys_of
from node.reader import open_reader
from pdfedchain.codec import encode
from pdfedchain.errors import NotFound, UsageError
from pdfedchain.proving import light_bundle

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "subjects",
        metavar="SUBJECT",
        nargs="+",
        help="a checkpoint's identifier or its ending, an address, or key:HEX for any key of the state",
    )
    add_home_argument(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="F", help="file to write")
    parser.add_argument(
        "--from-height",
        type=int,
        default=0,
        metavar="N",
        help="for readers who trust the hash of block N; default 0: for those who trust the genesis hash",
    )


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Write an encoded `LightBundle`."""
    with open_reader(home_of(arguments)) as reader:
        keys = [key for subject in arguments.subjects for key in keys_of(reader, subject)]
        try:
            bundle = light_bundle(reader.store, keys, from_height=arguments.from_height)
        except NotFound as error:
            raise UsageError(f"this cannot be proven: {error}", hint=error.hint) from error
        start = arguments.from_height
        trusted = reader.store.light_block(start).hash if start else reader.genesis.hash
        chain_id = reader.genesis.chain_id
    data = encode(bundle)
    try:
        arguments.out.write_bytes(data)
    except OSError as error:
        raise UsageError(f"{arguments.out} cannot be written: {error.strerror}") from error
    height = bundle.blocks[-1].header.height if bundle.blocks else start
    output.say(f"{arguments.out}: {len(data)} bytes, what chain {chain_id} says after block {height}")
    output.say(f"for whoever trusts {trusted.hex()}: pdfed verify {arguments.out} --trust {trusted.hex()}")
    output.result(
        {
            "out": str(arguments.out),
            "size_bytes": len(data),
            "chain_id": chain_id,
            "height": height,
            "trust": trusted.hex(),
            "handovers": max(0, len(bundle.blocks) - 1),
            "values": len(bundle.values),
        }
    )
    return EXIT_SUCCESS
