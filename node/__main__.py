"""The command ``pdfed``: parses the command line, runs one command, turns errors into a sentence and a status.

See `node.cli.commands` for the commands and the exit statuses.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from typing import Final, NoReturn

from node.cli.commands import (
    COMMANDS,
    EXIT_FAILURE,
    EXIT_INTERRUPTED,
    EXIT_SUCCESS,
    EXIT_USAGE,
    Command,
)
from node.cli.output import Output

__all__ = ["main"]

#: Modules that each extra brings.
_EXTRAS: Final = {
    "node": {"trio", "libp2p", "multiaddr", "rich", "tomli_w"},
    "diffusion": {"torch", "diffusers", "safetensors", "numpy", "PIL", "sklearn", "scipy"},
    "paper": {"transformers"},
}


class _WrongUsage(Exception):
    """argparse refused the command line."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class _Parser(argparse.ArgumentParser):
    """argparse that raises instead of leaving the process."""

    def error(self, message: str) -> NoReturn:
        raise _WrongUsage(message, f"see `{self.prog} --help`")


class _Version(argparse.Action):
    """Prints the version. Reading it from the installed package costs milliseconds that other commands keep."""

    def __call__(self, *_: object) -> NoReturn:
        sys.stdout.write(f"pdfed {metadata.version('pdfedchain')}\n")
        sys.exit(EXIT_SUCCESS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: command line without the program's name; ``sys.argv`` if not given.

    Returns:
        The exit status.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    output = Output(as_json="--json" in words)
    debug = "--debug" in words
    try:
        return _run(words, output)
    except SystemExit as done:  # --help and --version
        return EXIT_SUCCESS if done.code is None else int(done.code)
    except _WrongUsage as error:
        output.error(str(error), error.hint)
        return EXIT_USAGE
    except BrokenPipeError:
        # Whoever reads our output has seen enough (`pdfed blocks | head`); do not fail again while flushing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_SUCCESS
    except BaseException as error:  # noqa: BLE001 - the outermost boundary: everything becomes a status
        if debug:
            traceback.print_exception(error)
        return _status_of(error, output, debug=debug)


def _run(words: list[str], output: Output) -> int:
    chosen = next((word for word in words if word in COMMANDS), None)
    parser = _Parser(
        prog="pdfed",
        description="Decentralized federated learning of diffusion models (PDFed): nodes, chain, scores, audit.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    for option in ("--json", "--debug"):  # also understood before the command; `main` looks for them anywhere
        parser.add_argument(option, action="store_true", dest="before" + option, help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    run = None
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.help, description=command.help[0].upper() + command.help[1:] + ".")
        sub.add_argument("--json", action="store_true", help="print one JSON object as the last line of output")
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
        if name == chosen:
            run = _load(command, sub, asked_for_help=bool({"-h", "--help"} & set(words)))
    arguments = parser.parse_args(words)
    if run is None:
        parser.print_help(sys.stderr)
        raise _WrongUsage("no command given", f"choose one of {', '.join(COMMANDS)}")
    return run(arguments, output)


def _load(
    command: Command, parser: argparse.ArgumentParser, *, asked_for_help: bool
) -> Callable[[argparse.Namespace, Output], int]:
    """The command's function, its options declared; help is given even where a part that it needs is missing."""
    try:
        module = command.load()
    except ModuleNotFoundError as error:
        if not asked_for_help:
            raise
        parser.epilog = f"Its own options are shown once it can run: {_how_to_install(error)}"
        return lambda *_: EXIT_USAGE
    module.add_arguments(parser)
    return module.run


def _how_to_install(error: ModuleNotFoundError) -> str:
    """The extra that brings a missing module."""
    top = (error.name or "").partition(".")[0]
    extra = next((extra for extra, modules in _EXTRAS.items() if top in modules), "all")
    return f'pip install "pdfedchain[{extra}]"'


def _status_of(error: BaseException, output: Output, *, debug: bool) -> int:
    """The sentence and the exit status for whatever a command raised; trio raises groups of groups."""
    from pdfedchain.errors import InputError, PdfedError

    leaves = list(_leaves(error))
    if any(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
        if output.as_json:
            output.error("interrupted", "")
        else:
            output.note("interrupted")
        return EXIT_INTERRUPTED
    # Of several errors that happened at once, our own bugs say most, then what the user can mend.
    leaf = min(leaves, key=_rank)
    hint = ""
    if isinstance(leaf, PdfedError):
        message, hint = str(leaf), leaf.hint
    elif isinstance(leaf, ModuleNotFoundError):
        message, hint = f"the part {leaf.name!r} is not installed", _how_to_install(leaf)
    elif isinstance(leaf, OSError):
        where = f"{leaf.filename}: " if leaf.filename else ""
        message = f"{where}{leaf.strerror or leaf}"
    else:
        message = f"this is a bug of pdfed: {type(leaf).__name__}: {leaf}"
        hint = "" if debug else "run it again with --debug and report what it shows"
    output.error(message, hint)
    from node.errors import JobRefused

    usage = isinstance(leaf, InputError | JobRefused | ModuleNotFoundError) or _is_port_taken(leaf)
    return EXIT_USAGE if usage else EXIT_FAILURE


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _leaves(member)
    else:
        yield error


def _rank(error: BaseException) -> int:
    from pdfedchain.errors import InputError, PdfedError

    for rank, kinds in enumerate(((InputError,), (PdfedError,), (OSError, ModuleNotFoundError))):
        if isinstance(error, kinds):
            return rank + 1
    return 0


def _is_port_taken(error: BaseException) -> bool:
    from node.host.interface import PortTaken

    return isinstance(error, PortTaken)


if __name__ == "__main__":
    sys.exit(main())
