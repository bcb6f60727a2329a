"""What a fuzz target is."""

from __future__ import annotations

import atexit
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

__all__ = ["LENGTH_MAX", "Target", "scratch_folder"]

#: Longest generated input. Size limits themselves are far above and have tests of their own.
LENGTH_MAX = 4_096


@dataclass(frozen=True, slots=True)
class Target:
    """One decoder or handler.

    Attributes:
        name: of the form ``group/what``.
        one: takes one input; returns if it is accepted or refused as documented, raises if not.
        seeds: valid inputs to begin with.
        memory_mib: what a campaign may add to the memory of the idle process.
    """

    name: str
    one: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    memory_mib: int = 192


def scratch_folder() -> Path:
    """A folder for the life of the process, in memory where there is such a place: no disk is worn out."""
    memory = Path("/dev/shm")
    folder = Path(mkdtemp(prefix="fuzz-", dir=memory if memory.is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
