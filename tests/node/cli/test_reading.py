"""Commands that read a chain: status, blocks, checkpoints, participants, provenance, export."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from node.__main__ import main
from pdfedchain.ids import address_text, cid_text
from pdfedchain.types.score import Unscorable, UnscorableReason
from tests.support.home_chain import HomeChain, unknown_cid
from tests.support.ledger import ALLOCATION, ECONOMY, POOL, REWARDS

COMMANDS = ("status", "blocks", "checkpoints", "participants")


class Story:
    """A chain with three checkpoints: one from scratch, one from it, one that cannot be scored."""

    def __init__(self, directory: Path) -> None:
        self.chain = HomeChain(directory / "alice", money=True)
        self.chain.register()
        self.first = self.chain.submit("first")
        self.chain.settle(self.first)
        self.second = self.chain.submit("second", self.first)
        self.chain.settle(self.second)
        self.broken = self.chain.submit("broken", self.first, self.second)
        self.chain.settle(self.broken, Unscorable(UnscorableReason.NON_FINITE))
        self.chain.close()
        self.home = str(self.chain.home.path)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return Story(tmp_path_factory.mktemp("story"))


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """The answer with --json; the same command without it says something, too."""
    assert main([*words]) == 0
    assert capsys.readouterr().out.strip()
    assert main([*words, "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1, "nothing but the object goes to standard output"
    answer: dict[str, Any] = json.loads(lines[0])
    return answer


def test_status(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask(capsys, "status", "--home", story.home)
    position = story.chain.position
    assert (position.height - 1, position.parent.hex()) == (answer["height"], answer["block"])
    assert position.state.root.hex() == answer["state_root"]
    assert story.chain.genesis.hash.hex() == answer["genesis"]
    expected = {"submitted": 3, "settled": 3, "accepted": 2, "rejected": 1, "ballots": 3, "participants": 1}
    assert expected == {name: answer[name] for name in expected}
    units = answer["units"]
    assert units["issued"] == ALLOCATION + POOL == sum(units.values()) - units["issued"]
    # One bond was lost to the pool, and it paid for three settlements.
    assert units["pools"] == POOL + ECONOMY.submission_bond - 3 * REWARDS.scorers


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "not run"),
        ("torn", "not run"),
        ('{"gauges": {"self_test_passed": 1}}', "passed"),
        ('{"gauges": {"self_test_passed": 0}}', "failed: scores nothing, see the log"),
    ],
)
def test_status_says_whether_the_node_may_score(
    story: Story, text: str | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    activity = story.chain.home.activity_path
    activity.unlink(missing_ok=True)
    if text is not None:
        activity.write_text(text)
    assert ask(capsys, "status", "--home", story.home)["self_test"] == said
    activity.unlink(missing_ok=True)


def test_blocks_newest_first(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask(capsys, "blocks", "--home", story.home, "--last", "3")
    top = answer["height"]
    assert [top, top - 1, top - 2] == [block["height"] for block in answer["blocks"]]
    assert {"alice"} == {block["proposer_name"] for block in answer["blocks"]}
    everything = ask(capsys, "blocks", "--home", story.home, "--last", "1000")
    assert list(range(top, 0, -1)) == [block["height"] for block in everything["blocks"]]
    assert main(["blocks", "--home", story.home, "--last", "0"]) == 2


def test_checkpoints_in_order_with_scores_as_fractions(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask(capsys, "checkpoints", "--home", story.home)
    first, second, broken = answer["checkpoints"]
    assert [cid_text(cid) for cid in (story.first, story.second, story.broken)] == [
        row["cid"] for row in answer["checkpoints"]
    ]
    report = story.chain.checkpoint(story.first).report
    assert report is not None
    assert report.confirmed / report.n == first["score"]["r_c"]
    assert report.fid_micro / 1e6 == first["score"]["fid"]
    assert report.qn_micro(story.chain.task.scoring.novelty_weight) / 1e6 == first["score"]["qn"]
    assert [cid_text(story.first)] == second["parents"]
    assert (broken["status"], broken["reason"], broken["score"]) == ("rejected", "non_finite", None)
    assert first["ballots"]["score"] == {"committed": 1, "revealed": 1}
    best = min((first, second), key=lambda row: row["score"]["qn"])
    assert best["cid"] == answer["best"]


def test_participants(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask(capsys, "participants", "--home", story.home)
    (row,) = answer["participants"]
    assert ("alice", address_text(story.chain.key.address)) == (row["name"], row["address"])
    assert (row["roles"], row["authority"], row["submitted"]) == (["trainer", "evaluator"], True, 3)
    assert row["balance"] == story.chain.view.account(story.chain.key.address).balance > 0
    assert row["earned"] >= 3 * REWARDS.scorers


def test_provenance_is_a_graph_down_to_scratch(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, broken = (cid_text(cid) for cid in (story.first, story.second, story.broken))
    answer = ask(capsys, "provenance", broken, "--home", story.home)
    assert {first, second, broken} == {row["cid"] for row in answer["checkpoints"]}
    assert sorted([[first, broken], [second, broken], [first, second]]) == sorted(answer["edges"])
    assert main(["provenance", broken, "--home", story.home]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [broken, f"  {first}", f"  {second}", f"    {first}"] == [line.split("  alice")[0] for line in lines]
    assert "see above" in lines[-1]


def test_a_checkpoint_may_be_named_by_its_ending(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    text = cid_text(story.second)
    assert text == ask(capsys, "provenance", text[-8:], "--home", story.home)["cid"]


@pytest.mark.parametrize("name", ["provenance", "export", "sample"])
@pytest.mark.parametrize("cid", [cid_text(unknown_cid()), "b", "", "nonsense", "aaaaaaaa"])
def test_an_unknown_checkpoint(
    story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, cid: str
) -> None:
    out = [] if name == "provenance" else ["--out", str(tmp_path / "out")]
    assert main([name, cid, "--home", story.home, *out, "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert "no checkpoint" in answer["error"]
    assert "pdfed checkpoints" in answer["hint"]
    assert not (tmp_path / "out").exists()


def test_export_gives_the_folder_back(story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = ["export", cid_text(story.first), "--home", story.home, "--out", str(out)]
    assert main([*words, "--json"]) == 0
    assert {"cid": cid_text(story.first), "out": str(out)} == json.loads(capsys.readouterr().out)
    assert (out / "weights.bin").read_bytes() == b"first" * 100
    assert main(words) == 2
    assert "exists already" in capsys.readouterr().err


def test_export_of_weights_that_are_not_here(story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(story.home, copy)
    shutil.rmtree(copy / "weights")
    assert main(["export", cid_text(story.first), "--home", str(copy), "--out", str(tmp_path / "out")]) == 3
    assert "is not stored here" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_no_home_and_no_chain(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert main([command, "--home", str(tmp_path / "nowhere")]) == 2
    assert "is no home directory" in capsys.readouterr().err
    main(["init", "--home", str(tmp_path / "h"), "--name", "a"])
    assert main([command, "--home", str(tmp_path / "h"), "--json"]) == 2
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert "has no chain yet" in answer["error"]
    assert "pdfed run" in answer["hint"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_damaged_database(story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(story.home, copy)
    (copy / "chain.db").write_bytes(b"not a database at all" * 100)
    assert main([command, "--home", str(copy)]) == 3
    assert "chain.db" in capsys.readouterr().err


def test_reading_changes_nothing(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(story.home) / "chain.db"
    before = path.read_bytes()
    for command in COMMANDS:
        ask(capsys, command, "--home", story.home)
    assert before == path.read_bytes()
