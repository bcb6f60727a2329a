"""A campaign runs every seed once, goes on where it was interrupted, and never mixes versions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pdfedchain.testing import campaign
from pdfedchain.testing.campaign import Chunk, run_chunk
from pdfedchain.testing.chaos import Outcome
from pdfedchain.testing.invariants import InvariantBroken


def command(folder: Path) -> list[str]:
    return [
        "--seeds",
        "8",
        "--overload",
        "2",
        "--ledger",
        "2",
        "--sizes",
        "2",
        "3",
        "--workers",
        "1",
        "--folder",
        str(folder),
    ]


def test_a_campaign_runs_all_seeds_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert campaign.main(command(tmp_path)) == 0
    report = (tmp_path / "report.md").read_text()
    assert "| 4 | counter | 3 | 0 to 0 | 0 |" in report
    assert "| 1 | counter | 3 | 1 to 2 | 0 |" in report
    assert "| 1 | ledger | 3 | 0 to 0 | 0 |" in report
    assert "12 of 12 seeds, 0 failed" in capsys.readouterr().out


def test_an_interrupted_campaign_goes_on_with_what_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign.main(command(tmp_path))
    whole = (tmp_path / "report.md").read_text()
    state = tmp_path / "state.jsonl"
    lines = state.read_text().splitlines()
    state.write_text("\n".join(lines[:3]) + "\n")
    capsys.readouterr()
    assert campaign.main(command(tmp_path)) == 0
    assert "12 seeds, 8 of them done" in capsys.readouterr().out
    assert (tmp_path / "report.md").read_text().splitlines()[-3:] == whole.splitlines()[-3:]
    state.write_text("\n".join([json.dumps({"version": "another"}), *lines[1:]]))
    campaign.main(command(tmp_path))
    assert "12 seeds, 0 of them done" in capsys.readouterr().out


def test_a_failing_seed_is_reported_with_its_command_and_the_others_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails_at_two(seed: int, size: int) -> Outcome:
        if seed == 2:
            raise InvariantBroken("a fork")
        return Outcome(0, 1, "audit", 1)

    monkeypatch.setitem(campaign._RUNS, "chaos", fails_at_two)
    result = run_chunk(Chunk("chaos", 4, 0, 5))
    assert result.failures == [(2, "InvariantBroken('a fork')")]
    assert result.heights == 4
