"""``pdfed successor``: a new chain from the state of one that lost its quorum."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from node.__main__ import main
from node.config import NodeRole
from node.genesis_file import GenesisFile, load_genesis_file
from node.home import Home
from node.new_home import create_home, renew_card
from pdfedchain.state import Ledger, LedgerView
from pdfedchain.types.transaction import Have
from tests.support.home_chain import HomeChain
from tests.support.ledger import ALLOCATION, POOL


@pytest.fixture
def old(tmp_path: Path) -> HomeChain:
    """A chain with one accepted checkpoint and one under way, whose bond is locked."""
    chain = HomeChain(tmp_path / "alice", money=True)
    chain.register()
    chain.settle(chain.submit("first"))
    second = chain.submit("second")
    chain.block(Have(second, chain.checkpoint(second).submitted_height))
    chain.block()
    chain.close()
    return chain


def bob(tmp_path: Path) -> Home:
    home, _ = create_home(tmp_path / "bob", name="bob", roles=(NodeRole.AUTHORITY,), listen="/ip4/127.0.0.1/tcp/4612")
    return home


def succeed(old: HomeChain, cards: list[Path], *words: str) -> int:
    out = str(old.home.path.parent / "genesis.json")
    named = [word for card in cards for word in ("--card", str(card))]
    words = words or ("--chain-id", "second", "--time-ms", "4000000000000")
    return main(["successor", "--home", str(old.home.path), "--out", out, *named, *words, "--json"])


def answer(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def made(old: HomeChain) -> GenesisFile:
    return load_genesis_file(old.home.path.parent / "genesis.json")


def test_every_unit_participant_and_task_goes_on(
    old: HomeChain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    renew_card(old.home)
    before = old.view
    assert before.account(old.key.address).balance < ALLOCATION + POOL - before.task_record(before.index.tasks[0]).pool
    assert succeed(old, [old.home.card_path, bob(tmp_path).card_path]) == 0
    said, file = answer(capsys), made(old)
    assert (said["genesis"], said["units"]) == (file.genesis.hash.hex(), ALLOCATION + POOL)
    assert said["from_state_root"] == old.position.state.root.hex()
    after = LedgerView(Ledger().genesis_state(file.genesis))
    assert list(after.tasks()) == list(before.tasks())
    assert after.parameters == before.parameters
    participant = after.participant(old.key.address)
    assert participant is not None
    assert participant.name == "alice"
    assert (len(file.genesis.authorities), len(file.ledger.onions), len(file.peers)) == (2, 2, 2)
    assert after.totals.issued == ALLOCATION + POOL
    assert after.account(old.key.address).balance == ALLOCATION + POOL - after.task_record(after.index.tasks[0]).pool


def test_two_members_make_the_same_file(old: HomeChain, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = bob(tmp_path).card_path
    hashes = []
    for _ in range(2):
        assert succeed(old, [card]) == 0
        hashes.append(answer(capsys)["genesis"])
        (old.home.path.parent / "genesis.json").unlink()
    assert hashes[0] == hashes[1]


def test_what_would_be_unsafe_is_refused(old: HomeChain, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = bob(tmp_path)
    card = home.card_path
    trainer, _ = create_home(
        tmp_path / "carol", name="carol", roles=(NodeRole.TRAINER,), listen="/ip4/127.0.0.1/tcp/4613"
    )
    for cards, words, message in (
        ([card, card], (), "two cards have one address"),
        ([trainer.card_path], (), "is no authority's"),
        ([card], ("--chain-id", "home"), "the old chain's name"),
        ([card], ("--chain-id", "second", "--time-ms", "5"), "cannot begin"),
        ([card], ("--chain-id", ""), "--chain-id must"),
    ):
        assert succeed(old, cards, *words) == 2
        assert message in answer(capsys)["error"]
    assert succeed(old, [card]) == 0
    assert succeed(old, [card]) == 2
    assert "exists" in answer(capsys)["error"]
    shutil.rmtree(tmp_path / "bob")
