"""A figure, and the two clocks it is taken with."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from pdfedchain.codec import encode
from pdfedchain.types.transaction import SignedTransaction

__all__ = ["Figure", "Stopwatch", "machine", "memory_size_bytes", "percentile", "verification_rate"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement.

    Attributes:
        reference: what it stands beside, in words with its value; empty where there is nothing to compare with.
        ratio: value over the reference's value; ``None`` likewise.
    """

    name: str
    value: float
    unit: str
    reference: str = ""
    ratio: float | None = None

    def to_plain(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "reference": self.reference,
            "ratio": self.ratio,
        }


class Stopwatch:
    """Wall time and processor time of this process spent in its ``with`` blocks, in seconds.

    Where a machine is shared, processor time is the steadier of the two; waiting for the disk is in wall time only.
    """

    def __init__(self) -> None:
        self.wall_s = 0.0
        self.cpu_s = 0.0

    def __enter__(self) -> Self:
        self._started = time.perf_counter(), time.process_time()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        wall, cpu = self._started
        self.wall_s += time.perf_counter() - wall
        self.cpu_s += time.process_time() - cpu


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def memory_size_bytes() -> int:
    """What this process has resident now; where the system does not say, the most it has had."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1_024
    return pages * resource.getpagesize()


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that this share of all does not exceed."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]


def verification_rate(signed: Sequence[SignedTransaction]) -> float:
    """Signatures one thread verifies in a second of processor time, with keys loaded and messages encoded before."""
    prepared = [
        (Ed25519PublicKey.from_public_bytes(each.transaction.sender), each.signature, encode(each.transaction))
        for each in signed
    ]
    started = time.process_time()
    for key, signature, message in prepared:
        key.verify(signature, message)
    return len(prepared) / (time.process_time() - started)
