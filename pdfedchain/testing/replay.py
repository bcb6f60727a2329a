"""One seed again: ``python -m pdfedchain.testing.replay --seed 17 --size 4 [--overload | --ledger] [--trace]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pdfedchain.testing.chaos import run_chaos, run_overload
from pdfedchain.testing.ledger_chaos import run_ledger

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one seed; 0 if it holds. A failure is raised as it was."""
    parser = argparse.ArgumentParser(prog="python -m pdfedchain.testing.replay", description="Run one simulated seed.")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--size", type=int, default=4, help="nodes (default: 4)")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--overload", action="store_true", help="more than f liars")
    kind.add_argument("--ledger", action="store_true", help="on the federated-learning ledger")
    parser.add_argument("--trace", action="store_true", help="say every event as it happens")
    options = parser.parse_args(arguments)
    run = run_overload if options.overload else run_ledger if options.ledger else run_chaos
    outcome = run(options.seed, options.size, tell=_say if options.trace else None)
    _say(f"seed {options.seed}, {options.size} nodes: holds; {outcome.events} events, {outcome.height} heights")
    _say(f"audit {outcome.audit}")
    for name, count in sorted(outcome.counts.items()):
        _say(f"{count:7}  {name}")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
