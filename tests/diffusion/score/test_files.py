"""What the worker writes for ``pdfed score``: report, table of pairs, picture."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from diffusion import jobs
from diffusion.score.folders import Pair
from diffusion.score.picture import write_pairs_picture
from node.__main__ import main
from pdfedchain.errors import UsageError
from pdfedchain.types.jobs import FoldersScored, ScoreFolders
from pdfedchain.types.score import ArithmeticProfile
from tests.diffusion.score.conftest import Sets


def request(sets: Sets, output: Path, **changes: object) -> ScoreFolders:
    fields: dict[str, object] = {
        "generated": str(sets.folder / "generated"),
        "train": str(sets.folder / "train"),
        "test": str(sets.folder / "test"),
        "scorer": str(sets.scorer),
        "novelty_weight": 500,
        "cache": None,
        "profile": ArithmeticProfile.F32,
        "output": str(output),
        "shown": 6,
        "device": "cpu",
    }
    return ScoreFolders(**(fields | changes))  # type: ignore[arg-type]


def test_report_table_and_picture_agree(sets: Sets, tmp_path: Path) -> None:
    result = jobs.run(request(sets, tmp_path / "out"), lambda *_: None)
    assert result == FoldersScored(str(tmp_path / "out"))
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    with (tmp_path / "out" / "pairs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert (report["n"], report["novelty_weight"], report["checked"]) == (60, 500, len(rows))
    confirmed = [row["train"] for row in rows if row["confirmed"] == "1"]
    assert (report["confirmed"], report["memorised"]) == (len(confirmed), sorted(confirmed))
    with Image.open(tmp_path / "out" / "worst.png") as picture:
        assert picture.size == (4 * 272, 2 * 152)


def test_there_is_no_picture_if_none_is_wanted(sets: Sets, tmp_path: Path) -> None:
    jobs.run(request(sets, tmp_path / "out", shown=0), lambda *_: None)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.json", "pairs.csv"}


def test_output_and_device_are_checked_before_anything_slow(sets: Sets, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no device 'abacus'"):
        jobs.run(request(sets, tmp_path / "out", device="abacus"), lambda *_: None)
    (tmp_path / "there").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        jobs.run(request(sets, tmp_path / "there"), lambda *_: None)


def test_the_picture_has_the_generated_image_left_and_the_training_image_right(tmp_path: Path) -> None:
    for name, colour in (("g", (250, 0, 0)), ("t", (0, 0, 250))):
        (tmp_path / name).mkdir()
        Image.new("RGB", (16, 16), colour).save(tmp_path / name / "x.png")
    pair = Pair("x.png", "x.png", 0.1, 0.9, confirmed=True)
    assert write_pairs_picture(tmp_path / "p.png", tmp_path / "g", tmp_path / "t", [pair]) == (272, 152)
    with Image.open(tmp_path / "p.png") as picture:
        assert (picture.getpixel((60, 60)), picture.getpixel((200, 60))) == ((250, 0, 0), (0, 0, 250))


def test_the_command_scores_in_a_real_worker(sets: Sets, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [word for name in ("generated", "train", "test") for word in (f"--{name}", str(sets.folder / name))]
    words = ["score", *folders, "--scorer", str(sets.scorer), "--cache", str(tmp_path / "cache"), "--json"]
    assert main([*words, "--picture", str(tmp_path / "worst.png")]) == 0
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    assert (answer["n"], answer["exact_copies"]) == (60, 15)
    assert "describe generated images" in captured.err
    with Image.open(tmp_path / "worst.png") as picture:
        assert picture.width == 4 * 272
