"""``pdfed audit``: an honest chain passes; each kind of damage is named for what it is."""

import json
import shutil
import sqlite3
import struct
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest

import node.cli.audit
from diffusion.score.spec import SCORING_VERSION
from node.__main__ import main
from node.audit import SCORING_VERSIONS, ProblemKind, compare
from node.home import Home
from node.weights.store import WeightsStore
from node.weights.tree import Expected, children
from node.workers import Worker
from pdfedchain.codec import encode
from pdfedchain.ids import Cid, cid_text
from pdfedchain.store.memory import MemoryStore
from pdfedchain.store.sqlite import SqliteStore
from pdfedchain.types.checkpoint import Checkpoint, CheckpointStatus, RejectionReason
from pdfedchain.types.score import ScoreReport, Unscorable, UnscorableReason
from tests.support.fake_worker import FakeWorker, half_the_distance
from tests.support.home_chain import HomeChain


class Story:
    """Two settled checkpoints, one trained from the other."""

    def __init__(self, directory: Path) -> None:
        self.chain = HomeChain(directory / "alice", money=True)
        self.chain.register()
        self.cids: list[Cid] = []
        for index in range(2):
            self.cids.append(self.chain.submit(f"weights{index}", *self.cids))
            self.chain.settle(self.cids[-1])
        for _ in range(4):
            self.chain.block(later_ms=2_000)
        self.chain.close()


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return Story(tmp_path_factory.mktemp("story"))


@pytest.fixture
def home(story: Story, tmp_path: Path) -> Home:
    """A copy that a test may damage."""
    shutil.copytree(story.chain.home.path, tmp_path / "copy")
    return Home(tmp_path / "copy")


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Runs the command with the fake worker and returns its object."""
    monkeypatch.setattr(node.cli.audit, "require_diffusion", lambda what, otherwise: None)

    def run(
        home: Home, *more: str, status: int = 0, falsify: Callable[[ScoreReport], ScoreReport] | None = None
    ) -> dict[str, Any]:
        def make(_name: str, logs: Path) -> Worker:
            return FakeWorker(logs, falsify=falsify)

        monkeypatch.setattr(node.cli.audit, "Worker", make)
        assert status == main(["audit", "--home", str(home.path), "--json", *more])
        answer: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert answer["ok"] == (status == 0) == (not answer["problems"])
        return answer

    return run


def kinds(answer: dict[str, Any]) -> set[str]:
    return {problem["kind"] for problem in answer["problems"]}


def forget_events(home: Home, kind: str, *, count: int) -> int:
    """Take the first events of a kind out of the database, in the lowest block that has any; answers its height."""
    with closing(SqliteStore.open_read_only(home.chain_db)) as store:
        height = next(store.events(from_height=1, kind=kind)).height
        events = [stored.event for stored in store.events(from_height=height, to_height=height)]
    gone = [event for event in events if event.kind == kind][:count]
    assert len(gone) == count
    left = [event for event in events if not any(event is each for each in gone)]
    with sqlite3.connect(home.chain_db) as connection:
        packed = msgpack.packb([encode(event) for event in left])
        connection.execute("UPDATE events SET events = ? WHERE height = ?", (packed, height))
        connection.execute("DELETE FROM event_kinds WHERE height = ?", (height,))
        for name in {event.kind for event in left}:
            positions = [position for position, event in enumerate(left) if event.kind == name]
            row = name, height, struct.pack(f">{len(positions)}I", *positions)
            connection.execute("INSERT INTO event_kinds VALUES (?, ?, ?)", row)
    connection.close()
    return height


def test_an_honest_chain_passes(story: Story, home: Home, audit: Callable[..., dict[str, Any]]) -> None:
    answer = audit(home)
    with closing(SqliteStore.open_read_only(home.chain_db)) as store:
        rewards = sum(1 for _ in store.events(from_height=1, kind="rewarded"))
    assert rewards >= 2, "at least the two settlements are paid for"
    expected = {
        "ok": True,
        "blocks": story.chain.position.height - 1,
        "scores_checked": 2,
        "scores_out_of_tolerance": 0,
        "rewards_checked": rewards,
        "lineage_edges": 1,
        "skipped": 0,
        "problems": [],
    }
    assert expected == answer


@pytest.mark.parametrize(("scores", "checked"), [("all", 2), ("2", 2), ("1", 1), ("0", 0), ("none", 0), ("99", 2)])
def test_how_many_scores(home: Home, audit: Callable[..., dict[str, Any]], scores: str, checked: int) -> None:
    answer = audit(home, "--scores", scores)
    assert (checked, 2 - checked) == (answer["scores_checked"], answer["skipped"])


def test_a_recomputation_that_differs_is_named(home: Home, audit: Callable[..., dict[str, Any]], story: Story) -> None:
    answer = audit(home, status=1, falsify=half_the_distance)
    assert {ProblemKind.SCORE} == kinds(answer)
    assert (answer["scores_checked"], answer["scores_out_of_tolerance"]) == (2, 2)
    report = story.chain.checkpoint(story.cids[0]).report
    assert report is not None
    problem = next(p for p in answer["problems"] if cid_text(story.cids[0]) in p["where"])
    assert f"fid_micro {report.fid_micro}" in problem["expected"]
    assert f"fid_micro {report.fid_micro // 2}" in problem["found"]


def test_a_damaged_file_is_named_with_its_block(home: Home, audit: Callable[..., dict[str, Any]], story: Story) -> None:
    leaf = _leaf(home, story.cids[1])
    path = next(home.weights_dir.rglob(cid_text(leaf)))
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    answer = audit(home, status=1)
    (problem,) = answer["problems"]
    assert problem["kind"] == ProblemKind.WEIGHTS_DAMAGED
    for part in (cid_text(story.cids[1]), "file weights.bin", cid_text(leaf)):
        assert part in problem["where"]
    assert (answer["scores_checked"], answer["scores_out_of_tolerance"], answer["skipped"]) == (1, 0, 1)


def lose(home: Home, folder: Cid) -> None:
    store = WeightsStore(home.weights_dir)
    for cid in store.reachable(folder):
        assert store.delete_block(cid)


def test_missing_weights_are_told_apart_from_wrong_ones(
    home: Home, audit: Callable[..., dict[str, Any]], story: Story
) -> None:
    lose(home, story.cids[0])
    answer = audit(home, status=1)
    assert {ProblemKind.WEIGHTS_MISSING} == kinds(answer)
    assert (answer["scores_checked"], answer["scores_out_of_tolerance"], answer["skipped"]) == (1, 0, 1)
    assert audit(home, "--scores", "none")["ok"]


def test_a_missing_scorer_is_named_once(home: Home, audit: Callable[..., dict[str, Any]], story: Story) -> None:
    lose(home, story.chain.task.scorer)
    answer = audit(home, status=1)
    (problem,) = answer["problems"]
    assert problem["where"].startswith(f"scorer {cid_text(story.chain.task.scorer)}")
    assert (answer["scores_checked"], answer["skipped"]) == (0, 2)


def test_a_scoring_version_that_is_not_installed(
    home: Home, audit: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node.audit, "SCORING_VERSIONS", frozenset({2, 3}))
    answer = audit(home, status=1)
    assert {ProblemKind.SCORING_VERSION} == kinds(answer)
    assert [(p["expected"], p["found"]) for p in answer["problems"]] == [("version 1", "installed: 2, 3")] * 2


def test_the_versions_are_those_of_the_worker() -> None:
    assert frozenset({SCORING_VERSION}) == SCORING_VERSIONS


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM bodies WHERE height = 3",
        "UPDATE state SET value = x'00' WHERE key = (SELECT key FROM state LIMIT 1)",
    ],
)
def test_a_database_that_was_tampered_with(home: Home, audit: Callable[..., dict[str, Any]], damage: str) -> None:
    with sqlite3.connect(home.chain_db) as connection:
        assert connection.execute(damage).rowcount == 1
    connection.close()
    assert kinds(audit(home, status=1)) & {ProblemKind.DATABASE, "block", "state"}


def test_a_reward_that_is_not_due_is_named(home: Home, audit: Callable[..., dict[str, Any]]) -> None:
    height = forget_events(home, "rewarded", count=1)
    answer = audit(home, "--scores", "none", status=1)
    (problem,) = (problem for problem in answer["problems"] if problem["kind"] == ProblemKind.REWARD)
    assert (problem["where"], problem["found"]) == (f"block {height}", "no reward")


def test_rewards_cannot_be_checked_without_the_events_they_follow_from(
    home: Home, audit: Callable[..., dict[str, Any]]
) -> None:
    for _ in range(2):
        forget_events(home, "checkpoint-submitted", count=1)
    answer = audit(home, "--scores", "none", status=1)
    assert {"events", ProblemKind.REWARD} == kinds(answer)


def test_a_pruned_home_is_said_to_be_pruned(home: Home, audit: Callable[..., dict[str, Any]]) -> None:
    with closing(SqliteStore(home.chain_db)) as store:
        store.prune(below_height=5)
    answer = audit(home, status=1)
    assert [(problem["kind"], problem["where"]) for problem in answer["problems"]] == [("pruned", "blocks 1 to 4")]
    assert (answer["scores_checked"], answer["scores_out_of_tolerance"], answer["lineage_edges"]) == (2, 0, 1)


def test_a_home_that_began_with_a_snapshot_says_so(home: Home, audit: Callable[..., dict[str, Any]]) -> None:
    full = MemoryStore()
    with closing(SqliteStore(home.chain_db)) as store:
        genesis, last = store.genesis(), store.light_block(store.height())
        assert genesis is not None
        full.restore(genesis, list(store.handovers()), last, store.state(), store.next_authorities())
    for file in home.path.glob("chain.db*"):
        file.unlink()
    with closing(SqliteStore(home.chain_db)) as store:
        store.restore(genesis, list(full.handovers()), last, full.state(), full.next_authorities())
    height = last.header.height
    answer = audit(home, status=1)
    assert [(problem["kind"], problem["where"]) for problem in answer["problems"]] == [
        ("pruned", f"blocks 1 to {height}"),
        ("pruned", f"events of blocks 1 to {height}"),
    ]
    assert (answer["blocks"], answer["scores_checked"], answer["scores_out_of_tolerance"]) == (height, 2, 0)


def test_a_file_that_is_no_database(home: Home, audit: Callable[..., dict[str, Any]]) -> None:
    home.chain_db.write_bytes(b"nothing of the kind" * 500)
    answer = audit(home, status=1)
    assert [problem["kind"] for problem in answer["problems"]] == [ProblemKind.DATABASE]


def test_another_genesis_than_the_chains(
    home: Home, audit: Callable[..., dict[str, Any]], tmp_path: Path, story: Story
) -> None:
    other = HomeChain(tmp_path / "other")
    other.close()
    shutil.copy(other.home.genesis_path, home.genesis_path)
    answer = audit(home, "--scores", "none", status=1)
    (problem,) = answer["problems"]
    assert (ProblemKind.GENESIS, other.genesis.hash.hex()) == (problem["kind"], problem["expected"])
    assert story.chain.genesis.hash.hex() == problem["found"]


def test_people_are_told_the_same(
    home: Home, audit: Callable[..., dict[str, Any]], story: Story, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "--home", str(home.path), "--scores", "none"]) == 0
    assert "ok: " in capsys.readouterr().out
    audit(home, status=1, falsify=half_the_distance)
    assert main(["audit", "--home", str(home.path)]) == 1
    text = capsys.readouterr().out
    assert "NOT OK: " in text
    assert f"score: checkpoint {cid_text(story.cids[0])}" in text


@pytest.mark.parametrize("scores", ["some", "-1", "1.5", ""])
def test_wrong_use(home: Home, scores: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--home", str(home.path), f"--scores={scores}"]) == 2
    assert "--scores must be all, none or a number" in capsys.readouterr().err


def test_without_torch_scores_cannot_be_recomputed(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["audit", "--home", str(home.path)]) == 2
    assert 'pip install "pdfedchain[diffusion]"' in capsys.readouterr().err
    assert main(["audit", "--home", str(home.path), "--scores", "none"]) == 0


def test_what_agrees(story: Story) -> None:
    task, checkpoint = story.chain.task, story.chain.checkpoint(story.cids[0])
    report = checkpoint.report
    assert report is not None
    off_by_one = replace(report, fid_micro=report.fid_micro + 1)
    off_by_two = replace(report, fid_micro=report.fid_micro + 2)
    diverged = Unscorable(UnscorableReason.DIVERGED)
    unscorable = _unscorable(checkpoint, "malformed")
    assert compare(checkpoint, task, report) is None
    assert compare(checkpoint, task, off_by_one) is None
    assert compare(unscorable, task, diverged) is None
    for settled, found in ((checkpoint, off_by_two), (checkpoint, diverged), (unscorable, report)):
        problem = compare(settled, task, found)
        assert problem is not None
        assert problem.kind == ProblemKind.SCORE


def _unscorable(checkpoint: Checkpoint, reason: str) -> Checkpoint:
    return replace(checkpoint, status=CheckpointStatus.REJECTED, reason=RejectionReason(reason), report=None)


def _leaf(home: Home, folder: Cid) -> Cid:
    """The one block of the folder's one file."""
    store = WeightsStore(home.weights_dir)
    ((_, expected),) = children(Expected(folder), store.get_block(folder))
    return expected.cid
