"""A coverage-guided run of one target in a process of its own.

``python -m tests.fuzz.one TARGET [libFuzzer options]``. Atheris instruments the three packages, so inputs that reach
new branches are kept and mutated further. Half of the mutations change the structure of an input
(`tests.fuzz.mutator`), half its bytes. An input that the target raises on, that takes too long (``-timeout``) or too
much memory (``-rss_limit_mb``) ends the process with a status other than 0 and is written to a file, with which the
same command runs it again.

Source: https://github.com/google/atheris
"""

from __future__ import annotations

import logging
import random
import sys

import atheris

with atheris.instrument_imports(include=["pdfedchain", "node", "diffusion"], enable_loader_override=False):
    from tests.fuzz.mutator import FLAGGED, mutate_structure
    from tests.fuzz.target import LENGTH_MAX
    from tests.fuzz.targets import all_targets


def main(arguments: list[str]) -> None:
    """Fuzz the target named by the first argument until libFuzzer's options say stop."""
    logging.disable(logging.CRITICAL)
    name = arguments[1]
    target = all_targets()[name]
    skipped = 1 if name in FLAGGED else 0

    def mutate(data: bytes, size_max: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < 0.5:
            changed = mutate_structure(data[skipped:], rng)
            if changed is not None and len(changed) + skipped <= size_max:
                return data[:skipped] + changed
        mutated: bytes = atheris.Mutate(data, size_max)
        return mutated

    options = [f"-max_len={LENGTH_MAX}", *arguments[2:]]
    atheris.Setup([arguments[0], *options], target.one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
