"""Plants each bug of `tests.mutation.mutants` in a copy of the package and runs the test that must catch it.

First all these tests must pass without any bug. Exit status 1 if a bug survives or a text to replace is gone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.mutation.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Check all bugs, or those whose name contains a word."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description="Do the tests catch planted bugs?")
    parser.add_argument("only", nargs="?", default="", help="bugs whose name contains this")
    parser.add_argument("--tests", nargs="+", help="look for a test that catches it below these, not the named one")
    options = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if options.only in mutant.name]
    if not chosen:
        parser.error(f"no bug has {options.only!r} in its name")
    problems = [problem for mutant in chosen if (problem := misplaced(mutant)) is not None]
    if problems:
        print(*problems, sep="\n")
        return 1
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = copied(Path(folder))
        if not options.tests:
            failed = first_failure(copy, sorted({mutant.test for mutant in chosen}))
            if failed is not None:
                print(f"without any bug, {failed} fails")
                return 1
        for mutant in chosen:
            path = copy / "pdfedchain" / mutant.path
            sound = path.read_text()
            path.write_text(sound.replace(mutant.old, mutant.new))
            failed = first_failure(copy, options.tests or [mutant.test])
            path.write_text(sound)
            survivors += failed is None
            print(f"{'SURVIVES' if failed is None else 'caught'}: {mutant.name}: {failed or mutant.test}", flush=True)
    print(f"{len(chosen)} bugs, {survivors} not caught")
    return 1 if survivors else 0


def misplaced(mutant: Mutant) -> str | None:
    """What is wrong with where a bug should go; ``None`` if all is well."""
    found = (ROOT / "pdfedchain" / mutant.path).read_text().count(mutant.old)
    return None if found == 1 else f"{mutant.name}: its text is in {mutant.path} {found} times, not once"


def copied(folder: Path) -> Path:
    """The package and its tests somewhere else."""
    ignored = shutil.ignore_patterns("__pycache__", "node", "diffusion", "e2e", "fuzz", "mutation")
    shutil.copytree(ROOT / "pdfedchain", folder / "pdfedchain", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def first_failure(copy: Path, tests: list[str]) -> str | None:
    """Id of the first test that fails, run against the copy; ``None`` if none does."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=no", "-rfE"]
        + [f"tests/pdfedchain/{test}" for test in tests],
        cwd=copy,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
    )
    if run.returncode == 0:
        return None
    failed = [line.split()[1] for line in run.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    if run.returncode != 1 or not failed:
        raise SystemExit(f"pytest could not run {' '.join(tests)}:\n{run.stdout}{run.stderr}")
    return failed[0]


if __name__ == "__main__":
    sys.exit(main())
