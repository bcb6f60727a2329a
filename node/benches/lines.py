"""The child's side of a bench of several processes: commands and answers are lines of JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import trio

__all__ = ["hear", "hear_addresses", "say"]


async def hear() -> dict[str, Any] | None:
    """The next command; ``None`` when standard input has ended."""
    line = await trio.to_thread.run_sync(sys.stdin.readline)
    command: dict[str, Any] | None = json.loads(line) if line else None
    return command


async def hear_addresses() -> tuple[str, ...]:
    """What every process is told first: where all of them listen."""
    command = await hear()
    assert command is not None, "the parent has ended before the bench began"
    return tuple(command["addresses"])


def say(answer: Mapping[str, Any]) -> None:
    """Answer on standard output."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
