"""``pdfed verify FILE --trust HASH``: believe what a file of `pdfed prove` shows, without a node and without a home."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from node.cli.commands import EXIT_NEGATIVE, EXIT_SUCCESS
from node.cli.output import Output
from node.proof_file import value_plain
from pdfedchain.errors import DecodeError, UsageError
from pdfedchain.ids import Hash
from pdfedchain.light import LightError, ProvenState, verify_bundle
from pdfedchain.limits import HASH_SIZE_BYTES, LIGHT_BUNDLE_SIZE_BYTES_MAX

__all__ = ["add_arguments", "run"]

_DAY_MS = 24 * 3_600_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("file", type=Path, metavar="FILE", help="what pdfed prove wrote")
    parser.add_argument(
        "--trust",
        required=True,
        metavar="HASH",
        help="hash of the chain's genesis, or of the block it was made from, from somebody you trust",
    )
    parser.add_argument(
        "--trusting-days",
        type=int,
        default=None,
        metavar="N",
        help="how old what is trusted may be: the trusted hash, and the state; default any age",
    )


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Status 1 where the file does not convince."""
    trusted, days = _hash(arguments.trust), arguments.trusting_days
    if days is not None and days < 1:
        raise UsageError(f"--trusting-days must be at least 1, found {days}")
    now_ms = _now_ms()
    try:
        state = verify_bundle(
            _read(arguments.file), trusted, now_ms=now_ms, trusting_period_ms=None if days is None else days * _DAY_MS
        )
    except (LightError, DecodeError) as error:
        reason = type(error).__name__
        output.say(f"NOT PROVEN: {error}")
        output.result({"ok": False, "reason": reason, "message": str(error), "hint": error.hint})
        return EXIT_NEGATIVE
    return _tell(state, now_ms, output)


def _tell(state: ProvenState, now_ms: int, output: Output) -> int:
    head, age_s = state.head, max(0, now_ms - state.head.time_ms) // 1_000
    values = [value_plain(key, state.get(key)) for key in state.keys]
    output.say(f"proven: chain {head.chain_id} after block {head.height}, {age_s} s ago")
    for value in values:
        output.say(f"{value['what']} {value['subject']}: {'absent' if value['value'] is None else ''}".rstrip())
        if isinstance(value["value"], dict):
            for name, each in value["value"].items():
                output.say(f"  {name.replace('_', ' ')}: {_text(each)}")
        elif value["value"] is not None:
            output.say(f"  {value['value']}")
    output.result(
        {
            "ok": True,
            "chain_id": head.chain_id,
            "height": head.height,
            "block": head.hash.hex(),
            "time_ms": head.time_ms,
            "age_s": age_s,
            "values": values,
        }
    )
    return EXIT_SUCCESS


def _text(value: Any) -> str:
    return ", ".join(f"{name} {each}" for name, each in value.items()) if isinstance(value, dict) else str(value)


def _hash(text: str) -> Hash:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != HASH_SIZE_BYTES:
        raise UsageError(f"--trust must be a hash of 64 hexadecimal digits, found {text[:80]!r}")
    return Hash(value)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LIGHT_BUNDLE_SIZE_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
