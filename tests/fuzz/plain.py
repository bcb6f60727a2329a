"""A run of one target without instrumentation, in a process of its own.

``python -m tests.fuzz.plain TARGET CORPUS --inputs N``. Inputs near those that coverage-guided runs have collected:
coverage makes a handler that runs an event loop ten times slower and more, so it finds the corpus and this gives the
number. An input that the target raises on, that takes too long or too much memory ends the process with a status other
than 0 and stays in the file that ``--artifact`` names; ``python -m tests.fuzz.one TARGET FILE`` runs it again.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.mutator import FLAGGED, mutate_bytes, mutate_structure
from tests.fuzz.targets import all_targets

__all__ = ["give", "guarded", "near"]


def near(corpus: list[bytes], skipped: int, rng: random.Random) -> bytes:
    """An input near one of the corpus: half of them changed in structure, half in bytes."""
    data = rng.choice(corpus)
    changed = mutate_structure(data[skipped:], rng) if rng.random() < 0.5 else None
    return mutate_bytes(data, rng) if changed is None else data[:skipped] + changed


def give(one: Callable[[bytes], None], inputs: Callable[[], bytes], count: int, wall_s: float, kept: int) -> int:
    """Give a target up to ``count`` inputs, until ``wall_s`` have passed.

    Args:
        kept: a descriptor of the file that has the present input at any time.

    Returns:
        The number of inputs given.
    """
    end_s = time.monotonic() + wall_s
    for given in range(count):
        if time.monotonic() > end_s:
            return given
        data = inputs()
        os.pwrite(kept, data, 0)
        os.ftruncate(kept, len(data))
        one(data)
    return count


def peak_mib() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def guarded(
    one: Callable[[bytes], None], timeout_s: int, peak_mib_max: int, slowest_s: list[float]
) -> Callable[[bytes], None]:
    """A target whose every input is watched; a hang ends the process.

    Raises:
        MemoryError: by what is returned, once the process has had more than ``peak_mib_max``.
    """

    def run(data: bytes) -> None:
        signal.setitimer(signal.ITIMER_REAL, timeout_s)  # its default action ends the process, whatever hangs
        started_s = time.monotonic()
        one(data)
        slowest_s[0] = max(slowest_s[0], time.monotonic() - started_s)
        if peak_mib() > peak_mib_max:
            raise MemoryError(f"{peak_mib()} MiB, at most {peak_mib_max} allowed")

    return run


def main() -> None:
    """Run, and print what libFuzzer would print of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--wall-s", type=float, default=60.0)
    parser.add_argument("--timeout-s", type=int, default=20)
    parser.add_argument("--rss-limit-mib", type=int, default=512)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--artifact", type=Path, default=Path("input"))
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    target = all_targets()[options.target]
    corpus = [path.read_bytes() for path in sorted(options.corpus.iterdir())] or [*target.seeds]
    rng = random.Random(options.seed)
    skipped = 1 if options.target in FLAGGED else 0
    slowest_s = [0.0]
    one = guarded(target.one, options.timeout_s, options.rss_limit_mib, slowest_s)
    kept = os.open(options.artifact, os.O_RDWR | os.O_CREAT, 0o644)
    given = give(one, lambda: near(corpus, skipped, rng), options.inputs, options.wall_s, kept)
    options.artifact.unlink()
    print(f"stat::number_of_executed_units: {given}", file=sys.stderr)
    print(f"stat::peak_rss_mb: {peak_mib()}", file=sys.stderr)
    print(f"stat::slowest_unit_time_sec: {int(slowest_s[0])}", file=sys.stderr)


if __name__ == "__main__":
    main()
