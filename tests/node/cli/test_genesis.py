"""``pdfed genesis``: what it writes where, with a worker that prepares nothing real; and every wrong use."""

import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

import node.cli.genesis
from node.__main__ import main
from node.config import NodeRole
from node.home import Home
from node.new_genesis import small_set_warning
from node.new_home import create_home
from node.weights.store import WeightsStore
from node.workers import Request, Result, Worker
from pdfedchain.errors import UsageError
from pdfedchain.state import Ledger
from pdfedchain.state.view import LedgerView
from pdfedchain.types.economy import Economy, Rewards
from pdfedchain.types.jobs import Prepare, Prepared, Progress
from pdfedchain.types.ledger import Deadline
from pdfedchain.types.score import ArithmeticProfile
from pdfedchain.types.task import Ceilings
from tests.support.ledger import MODEL, SCORING

SEED = "ab" * 32


class PreparingWorker(Worker):
    """Writes the folders that a `Prepare` job writes, with placeholders in them."""

    requests: ClassVar[list[Prepare]] = []
    fail_with: ClassVar[Exception | None] = None

    async def run(self, request: Request, on_progress: Callable[[Progress], None] | None = None) -> Result:
        assert isinstance(request, Prepare)
        type(self).requests.append(request)
        if self.fail_with is not None:
            raise self.fail_with
        output = Path(request.output)
        for part in ("reference", "scorer", *(f"private/{k}" for k in range(request.shards))):
            (output / part).mkdir(parents=True)
            (output / part / "images.safetensors").write_text(part)
        if on_progress is not None:
            on_progress(Progress("preparing", 1, 1, 0))
        return Prepared(MODEL, SCORING, Ceilings(1_000, 2_000), (1,) * request.shards)


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[Prepare]:
    """Replaces the worker; the requests it gets."""
    monkeypatch.setattr(PreparingWorker, "requests", [])
    monkeypatch.setattr(PreparingWorker, "fail_with", None)
    monkeypatch.setattr(node.cli.genesis, "Worker", PreparingWorker)
    monkeypatch.setattr(node.cli.genesis, "require_diffusion", lambda what: None)
    return PreparingWorker.requests


def homes(directory: Path, *roles: str) -> list[Home]:
    made = []
    for index, words in enumerate(roles):
        home, _ = create_home(
            directory / f"home{index}",
            name=f"node{index}",
            roles=tuple(NodeRole(word) for word in words.split("+")),
            listen=f"/ip4/127.0.0.1/tcp/{5_000 + index}",
        )
        made.append(home)
    return made


def genesis(directory: Path, made: list[Home], *more: str, status: int = 0) -> None:
    options = [word for home in made for word in ("--home", str(home.path))]
    words = ["genesis", "--chain-id", "test", "--dataset", "digits", "--out", str(directory / "out")]
    assert status == main([*words, *options, *more])


def test_the_arithmetic_of_scores_is_chosen(tmp_path: Path, prepared: list[Prepare]) -> None:
    genesis(tmp_path, homes(tmp_path, "authority+trainer"), "--arithmetic", "f32")
    assert prepared[0].profile is ArithmeticProfile.F32


def test_what_lies_where(tmp_path: Path, prepared: list[Prepare], capsys: pytest.CaptureFixture[str]) -> None:
    made = homes(tmp_path, "authority+trainer", "authority+evaluator", "authority", "trainer", "authority+trainer")
    genesis(tmp_path, made, "--seed", SEED, "--json")
    (request,) = prepared
    assert (request.dataset, request.shards, request.split_seed.hex(), request.device) == ("digits", 4, SEED, "cpu")
    assert request.profile is ArithmeticProfile.F64
    text = (tmp_path / "out" / "genesis.json").read_text()
    assert {text} == {home.genesis_path.read_text() for home in made}
    shards = [home.path / "private" / "data" / "images.safetensors" for home in made]
    assert [path.read_text() if path.exists() else None for path in shards] == [
        "private/0",
        "private/1",
        None,
        "private/2",
        "private/3",
    ]
    file = made[0].genesis()
    (task,) = file.ledger.tasks
    stores = [WeightsStore(home.weights_dir) for home in made]
    for cid in (task.reference, task.scorer):
        assert [store.complete(cid) for store in stores] == [True, False, False, False, False]
        assert cid in stores[0].pins.all()
    assert tuple(home.card().dial for home in made) == file.peers
    addresses = [home.card().address for home in made]
    assert (*addresses[:3], addresses[4]) == file.genesis.authorities.members
    assert [addresses[3]] == [participant.address for participant in file.ledger.participants]
    captured = capsys.readouterr()
    answer = json.loads(captured.out.splitlines()[-1])
    assert (file.genesis.hash.hex(), 4) == (answer["hash"], answer["authorities"])
    assert "warning" not in captured.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["genesis.json"]
    assert stat.S_IMODE((made[0].path / "private").stat().st_mode) == 0o700


def test_the_ledger_can_begin_with_it(tmp_path: Path, prepared: list[Prepare]) -> None:
    made = homes(tmp_path, "authority+trainer", "trainer")
    genesis(tmp_path, made)
    file = made[1].genesis()
    view = LedgerView(Ledger().genesis_state(file.genesis))
    assert list(file.ledger.tasks) == list(view.tasks())
    participant = view.participant(made[1].card().address)
    assert participant is not None
    assert participant.name == "node1"


def test_members_elsewhere(tmp_path: Path, prepared: list[Prepare], capsys: pytest.CaptureFixture[str]) -> None:
    made = homes(tmp_path, "authority+trainer", "authority+trainer", "observer")
    cards = [word for home in made for word in ("--card", str(home.card_path))]
    genesis(tmp_path, [], *cards)
    out = tmp_path / "out"
    assert not any(home.genesis_path.exists() for home in made)
    assert sorted(path.name for path in (out / "shards").iterdir()) == ["node0", "node1"]
    assert (out / "shards" / "node1" / "images.safetensors").read_text() == "private/1"
    text = capsys.readouterr()
    assert "send genesis.json" in text.out
    for home in made:
        home.genesis_path.write_text((out / "genesis.json").read_text())
    (task,) = made[0].genesis().ledger.tasks
    assert WeightsStore(out / "weights").complete(task.scorer)


def test_deadlines_and_paces(tmp_path: Path, prepared: list[Prepare]) -> None:
    made = homes(tmp_path, "authority")
    options = ["--scoring", "7/8", "--private-commit", "1/2", "--heartbeat-open-ms", "900", "--open-registration"]
    genesis(tmp_path, made, *options)
    file = made[0].genesis()
    assert Deadline(7, 8_000) == file.ledger.parameters.scoring
    assert Deadline(1, 2_000) == file.ledger.parameters.private_commit
    assert Deadline(5, 30_000) == file.ledger.parameters.have
    assert file.ledger.parameters.open_registration
    assert file.genesis.parameters.heartbeat_open_ms == 900


@pytest.mark.parametrize(("authorities", "warned"), [(1, True), (2, True), (3, True), (4, False), (7, False)])
def test_small_sets_are_warned_about(
    tmp_path: Path, prepared: list[Prepare], capsys: pytest.CaptureFixture[str], authorities: int, warned: bool
) -> None:
    genesis(tmp_path, homes(tmp_path, *["authority"] * authorities))
    assert warned == ("warning: " in capsys.readouterr().err)
    assert warned == (small_set_warning(authorities) is not None)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--seed", "xyz"], "--seed must be 64"),
        (["--seed", "AB" * 32], "--seed must be 64"),
        (["--scoring", "5"], "--scoring must be BLOCKS/SECONDS"),
        (["--have", "0/5"], "--have must be BLOCKS/SECONDS"),
        (["--private-reveal", "1/0"], "--private-reveal must be BLOCKS/SECONDS"),
        (["--heartbeat-idle-ms", "0"], "a duration is out of bounds"),
        (["--heartbeat-idle-ms", "soon"], "invalid int value"),
        (["--chain-id", ""], "--chain-id must be 1 to 64 bytes"),
        (["--chain-id", "a\nb"], "--chain-id must be 1 to 64 bytes"),
        (["--card", "/nowhere/card.json"], "/nowhere/card.json cannot be read"),
        (["--home", "/nowhere"], "is no home directory"),
    ],
)
def test_wrong_use_prepares_nothing(
    tmp_path: Path, prepared: list[Prepare], capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    genesis(tmp_path, homes(tmp_path, "authority"), *more, status=2)
    assert message in capsys.readouterr().err
    assert prepared == []
    assert not (tmp_path / "out").exists()


def _same_home_twice(made: list[Home]) -> list[Home]:
    return [made[0], made[0]]


def _has_a_genesis(made: list[Home]) -> list[Home]:
    made[1].genesis_path.write_text("{}")
    return made


def _has_images(made: list[Home]) -> list[Home]:
    (made[1].private_dir / "data").mkdir()
    (made[1].private_dir / "data" / "images.safetensors").touch()
    return made


def _same_port(made: list[Home]) -> list[Home]:
    card = json.loads(made[1].card_path.read_text())
    dial = made[0].card().dial.partition("/p2p/")[0]
    made[1].card_path.write_text(json.dumps({**card, "dial": f"{dial}/p2p/{card['peer_id']}"}))
    return made


def _no_authority(made: list[Home]) -> list[Home]:
    card = json.loads(made[0].card_path.read_text())
    made[0].card_path.write_text(json.dumps({**card, "roles": ["trainer"]}))
    return made[:1]


def _bad_config(made: list[Home]) -> list[Home]:
    made[1].config_path.write_text("[node]\nnam = 3\n")
    return made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_same_home_twice, "two members have the name node0"),
        (_same_port, "two members have the dial address /ip4/127.0.0.1/tcp/5000"),
        (_has_a_genesis, "belongs to a chain already"),
        (_has_images, "holds private images already"),
        (_no_authority, "no member is an authority"),
        (_bad_config, "unknown key node.nam"),
        (lambda made: [], "no member is an authority"),
    ],
)
def test_members_that_clash(
    tmp_path: Path,
    prepared: list[Prepare],
    capsys: pytest.CaptureFixture[str],
    change: Callable[[list[Home]], list[Home]],
    message: str,
) -> None:
    made = change(homes(tmp_path, "authority+trainer", "authority+trainer"))
    genesis(tmp_path, made, status=2)
    assert message in capsys.readouterr().err
    assert prepared == []


def test_a_genesis_is_never_written_over(
    tmp_path: Path, prepared: list[Prepare], capsys: pytest.CaptureFixture[str]
) -> None:
    genesis(tmp_path, homes(tmp_path, "authority"))
    before = (tmp_path / "out" / "genesis.json").read_bytes()
    genesis(tmp_path, homes(tmp_path / "more", "authority"), status=2)
    assert "genesis.json exists" in capsys.readouterr().err
    assert before == (tmp_path / "out" / "genesis.json").read_bytes()


def test_a_file_is_no_folder_to_write_into(
    tmp_path: Path, prepared: list[Prepare], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").touch()
    genesis(tmp_path, homes(tmp_path, "authority"), status=2)
    assert "is not a folder" in capsys.readouterr().err
    assert prepared == []


def test_a_failed_preparation_leaves_the_homes_as_they_were(
    tmp_path: Path, prepared: list[Prepare], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = UsageError("unknown data set 'digits'", hint="there are: none")
    monkeypatch.setattr(PreparingWorker, "fail_with", error)
    made = homes(tmp_path, "authority+trainer")
    genesis(tmp_path, made, status=2)
    assert "unknown data set" in capsys.readouterr().err
    assert not made[0].genesis_path.exists()
    assert not made[0].weights_dir.exists()
    assert list((tmp_path / "out").iterdir()) == []
    monkeypatch.setattr(PreparingWorker, "fail_with", None)
    genesis(tmp_path, made)
    assert made[0].genesis().genesis.chain_id == "test"


def test_the_preparation_may_use_the_whole_machine(
    tmp_path: Path, prepared: list[Prepare], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(
        node.cli.genesis, "Worker", lambda *args, **more: seen.append(more) or PreparingWorker(*args, **more)
    )
    genesis(tmp_path, homes(tmp_path, "authority"))
    cores = str(os.cpu_count())
    assert [{"environment": {"PDFED_THREADS": cores, "OMP_NUM_THREADS": cores}}] == seen


def test_without_torch_it_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    genesis(tmp_path, homes(tmp_path, "authority"), status=2)
    assert 'pip install "pdfedchain[diffusion]"' in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_prices_and_rewards_are_what_was_asked_for(tmp_path: Path, prepared: list[Prepare]) -> None:
    made = homes(tmp_path, "authority+trainer", "authority+trainer")
    words = {"allocation": 70, "pool": 500, "bond": 6, "score-deposit": 5, "private-deposit": 4, "fee": 3}
    words |= {
        "fee-per-byte": 2,
        "account-price": 1,
        "reward-per-qn": 11,
        "reward-scorers": 12,
        "reward-voters": 13,
        "reward-decay": 14,
    }
    words |= {"noise": 15, "quarantine-voters-min": 9, "open-registrations-max": 8}
    genesis(tmp_path, made, *(word for name, value in words.items() for word in (f"--{name}", str(value))))
    ledger = made[0].genesis().ledger
    assert {allocation.amount for allocation in ledger.allocations} == {70}
    assert [pool.amount for pool in ledger.pools] == [500]
    assert ledger.parameters.economy == Economy(6, 5, 4, 3, 2, 1)
    assert (ledger.parameters.quarantine_voters_min, ledger.parameters.open_registrations_max) == (9, 8)
    assert ledger.tasks[0].rewards == Rewards(per_qn=11, noise_micro=15, decay_micro=14, scorers=12, voters=13)


def test_the_noise_of_scores_is_a_tenth_of_the_worst_accepted_unless_told(
    tmp_path: Path, prepared: list[Prepare]
) -> None:
    made = homes(tmp_path, "authority+trainer")
    genesis(tmp_path, made)
    assert made[0].genesis().ledger.tasks[0].rewards.noise_micro == 50


@pytest.mark.parametrize("words", [("--bond", "-1"), ("--pool", "-1"), ("--quarantine-voters-min", "0")])
def test_amounts_out_of_bounds(tmp_path: Path, prepared: list[Prepare], words: tuple[str, str]) -> None:
    genesis(tmp_path, homes(tmp_path, "authority"), *words, status=2)
    assert prepared == []
