"""``pdfed score`` and ``pdfed train-scorer``: what is asked of the worker, and where its files go."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

import node.cli.score
import node.cli.train_scorer
from diffusion.score.learn import LearningPlan
from node.__main__ import main
from node.errors import JobRefused
from node.workers import Request, Result, Worker
from pdfedchain.types.jobs import FoldersScored, Progress, ScoreFolders, ScorerTrained, TrainScorer
from pdfedchain.types.score import ArithmeticProfile

REPORT = {
    "n": 60, "checked": 20, "confirmed": 15, "v_a": 0.75, "v_c": 0.99, "r_c": 0.25, "fid": 31.5, "qn": 80.25,
    "novelty_weight": 700, "extractor": "lite-8px-1ch", "auth_pct": 61.0, "ct": None, "fld": 1234.5, "kid": 0.25,
    "precision": 0.9, "recall": 0.8, "exact_copies": 3, "train_images": 300, "test_images": 200, "classes": 10,
    "profile": "f32", "novelty_weight_from": "given", "scorer": "there", "scorer_digest": "ab",
    "remarks": ["mind this"], "seconds": {},
    "memorised": ["0/a.png", "1/b.png"],
}  # fmt: skip
CARD = {"extractor": "lite-8px-1ch", "trained_on": 250, "held_out": 50, "figures": {"found_1": 0.5}}


class FileWorker(Worker):
    """Writes a fixed report; the pairs and the picture are words."""

    requests: ClassVar[list[Request]] = []
    picture: ClassVar[bool] = True

    async def run(self, request: Request, on_progress: Callable[[Progress], None] | None = None) -> Result:
        self.requests.append(request)
        assert on_progress is not None
        on_progress(Progress("describe", 3, 4, 0))
        if isinstance(request, TrainScorer):
            if request.images == ("nothing",):
                raise JobRefused("nothing is not a folder")
            Path(request.output).mkdir()
            (Path(request.output) / "card.json").write_text(json.dumps(CARD))
            return ScorerTrained(request.output)
        assert isinstance(request, ScoreFolders)
        folder = Path(request.output)
        folder.mkdir()
        (folder / "report.json").write_text(json.dumps(REPORT))
        (folder / "pairs.csv").write_text("generated,train\n")
        if request.shown and self.picture:
            (folder / "worst.png").write_bytes(b"picture")
        return FoldersScored(request.output)


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Request]:
    monkeypatch.setattr(FileWorker, "requests", [])
    for module in (node.cli.score, node.cli.train_scorer):
        monkeypatch.setattr(module, "Worker", FileWorker)
        monkeypatch.setattr(module, "require_diffusion", lambda what: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return FileWorker.requests


WORDS = ["score", "--generated", "g", "--train", "t", "--test", "s"]


def test_json_has_every_figure_of_the_report(requests: list[Request], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == {name: value for name, value in REPORT.items() if name != "memorised"}


def test_the_worker_gets_absolute_paths_and_defaults(requests: list[Request], tmp_path: Path) -> None:
    assert main(WORDS) == 0
    (request,) = requests
    assert isinstance(request, ScoreFolders)
    assert (request.generated, request.train, request.test) == tuple(str(tmp_path / name) for name in "gts")
    assert (request.scorer, request.novelty_weight, request.shown, request.device) == (None, None, 0, "cpu")
    assert (request.profile, request.cache) == (ArithmeticProfile.F32, str(tmp_path / "cache" / "pdfed"))


def test_options_reach_the_worker(requests: list[Request], tmp_path: Path) -> None:
    options = ["--scorer", "d", "--novelty-weight", "9", "--cache", "none", "--profile", "f64", "--device", "cuda:1"]
    assert main([*WORDS, *options]) == 0
    (request,) = requests
    assert isinstance(request, ScoreFolders)
    assert (request.scorer, request.novelty_weight, request.cache) == (str(tmp_path / "d"), 9, None)
    assert (request.profile, request.device) == (ArithmeticProfile.F64, "cuda:1")


def test_people_get_a_table_with_meanings(requests: list[Request], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(WORDS) == 0
    text = capsys.readouterr().out
    assert "15 copies confirmed of 20 close pairs, 3 of them exact" in text
    rows = {line.split()[0]: line.split()[1] for line in text.splitlines() if line[:1].isalpha()}
    assert (rows["qn"], rows["ct"], rows["fld"], rows["auth_pct"]) == ("80.25", "–", "1234", "61")
    assert "note: mind this" in text


def test_pairs_and_picture_are_kept_where_asked(
    requests: list[Request], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*WORDS, "--pairs", "p.csv", "--picture", "w.png", "--json"]
    assert main(words) == 0
    assert (tmp_path / "p.csv").read_text() == "generated,train\n"
    assert (tmp_path / "w.png").read_bytes() == b"picture"
    capsys.readouterr()
    monkeypatch.setattr(FileWorker, "picture", False)
    assert main(words) == 0
    assert "no pair is unusually close" in json.loads(capsys.readouterr().out)["remarks"][-1]


def test_images_at_risk_add_up_over_runs(
    requests: list[Request], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "risk.csv"
    path.write_text("train,found,normalised,leave_out\n1/b.png,6,1,0\n2/c.png,1,0,0\n")
    assert main([*WORDS, "--at-risk", str(path), "--json"]) == 0
    with path.open() as file:
        rows = [tuple(row.values()) for row in csv.DictReader(file)]
    assert rows == [("1/b.png", "7", "1.0000", "1"), ("0/a.png", "1", "0.1429", "0"), ("2/c.png", "1", "0.1429", "0")]
    assert json.loads(capsys.readouterr().out)["at_risk"] == {"file": str(path), "found": 3, "leave_out": 1}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--novelty-weight", "-1"], "--novelty-weight must be 0 to 10^9, found -1"),
        (["--pairs", "none/p.csv"], "none is no folder"),
        (["--at-risk", "odd.csv"], "odd.csv is no table of images at risk"),
    ],
)
def test_wrong_options_are_refused_before_the_worker_starts(
    requests: list[Request], tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    (tmp_path / "odd.csv").write_text("a,b\n1,2\n")
    assert main([*WORDS, *words, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"] == message
    assert requests == []


def test_train_scorer_shows_the_card(
    requests: list[Request], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train-scorer", "--images", "digits", "--out", "d", "--verifier-steps", "5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"out": str(tmp_path / "d"), **CARD}
    assert requests == [TrainScorer(("digits",), str(tmp_path / "d"), False, 100, 5, 1, "cpu")]


def test_a_folder_of_images_is_named_absolutely(requests: list[Request], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert main(["train-scorer", "--images", "mine", "--out", "d", "--resume", "--seed", "7", "--device", "cuda"]) == 0
    plan = LearningPlan()  # unless told otherwise, it is trained as a task's is
    assert requests == [
        TrainScorer(
            (str(tmp_path / "mine"),),
            str(tmp_path / "d"),
            True,
            plan.fingerprinter_steps,
            plan.verifier_steps,
            7,
            "cuda",
        )
    ]


def test_what_the_worker_refuses_is_wrong_usage(requests: list[Request], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train-scorer", "--images", "nothing", "--out", "d", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"] == "nothing is not a folder"
    assert main(["train-scorer", "--images", "digits", "--out", "d", "--verifier-steps", "-1"]) == 2
