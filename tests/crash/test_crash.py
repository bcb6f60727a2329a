"""A short run of `make crash`, and the ledger that judges it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.crash.ledger import BrokenPromiseError, Ledger


def test_killed_processes_go_on_and_contradict_nothing() -> None:
    command = [sys.executable, "-m", "tests.crash", "--every", "41", "--random", "4"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line[:16] for line in done.stdout.splitlines()] == ["1 in one process"] * 2 + ["4 in one process"] * 2


def test_the_ledger_sees_a_second_signature() -> None:
    ledger = Ledger()
    ledger.take("signed aa 1 0 1 nil 00\n", killed=True)
    ledger.take("signed aa 1 0 1 nil 00\n", killed=True)
    assert ledger.signatures == 1
    with pytest.raises(BrokenPromiseError, match="signed twice"):
        ledger.take("signed aa 1 0 1 bb 01\n", killed=True)


def test_the_ledger_sees_a_lost_and_a_changed_block() -> None:
    ledger = Ledger()
    ledger.take("final 0 1 aa\nfinal 0 2 bb\n", killed=True)
    ledger.take("final 0 1 aa\n", killed=True)
    assert ledger.height == 2
    with pytest.raises(BrokenPromiseError, match="had block 2 and has only 1"):
        ledger.take("final 0 1 aa\n", killed=False)
    with pytest.raises(BrokenPromiseError, match="two final blocks of height 1"):
        ledger.take("final 0 1 cc\n", killed=True)


def test_the_ledger_takes_no_excuses_and_ignores_a_line_cut_by_death() -> None:
    ledger = Ledger()
    ledger.take("final 0 1 aa\nsigned aa 1", killed=True)
    assert (ledger.height, ledger.signatures) == (1, 0)
    with pytest.raises(BrokenPromiseError, match="unexpected: refused"):
        ledger.take("refused 0 it stands elsewhere\n", killed=True)
