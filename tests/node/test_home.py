"""Home directories: made once, read strictly, used by one process at a time."""

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from node.config import NodeRole
from node.errors import HomeInUse
from node.genesis_file import GenesisFile
from node.home import Card, Home, load_card, write_key
from node.host.identity import peer_id_of_seed
from node.new_home import create_home
from pdfedchain.crypto import SigningKey
from pdfedchain.errors import UsageError
from pdfedchain.ids import Cid
from pdfedchain.types.ledger import LedgerGenesis
from tests.support.ledger import small_genesis, small_task

LISTEN = "/ip4/127.0.0.1/tcp/4610"
TRAINER = (NodeRole.AUTHORITY, NodeRole.TRAINER)


@pytest.fixture
def made(tmp_path: Path) -> tuple[Home, Card]:
    return create_home(tmp_path / "home", name="alice", roles=TRAINER, listen=LISTEN)


def test_a_fresh_home_can_be_read(made: tuple[Home, Card]) -> None:
    home, card = made
    config = home.require().config()
    assert (config.node.name, config.node.roles, config.network.listen) == ("alice", TRAINER, LISTEN)
    assert card == home.card() == load_card(home.card_path)
    assert card.address == home.account_key().address
    assert card.peer_id == home.peer_id() == peer_id_of_seed(home.network_key().seed)
    assert card.dial == f"{LISTEN}/p2p/{card.peer_id}"
    assert home.data_dir(config) == home.path / "private" / "data"


def test_keys_differ_and_only_the_owner_reads_what_is_private(made: tuple[Home, Card]) -> None:
    home, _ = made
    assert home.account_key().seed != home.network_key().seed
    for path, mode in (
        (home.path, 0o700),
        (home.keys_dir, 0o700),
        (home.private_dir, 0o700),
        (home.account_key_path, 0o600),
        (home.network_key_path, 0o600),
    ):
        assert mode == stat.S_IMODE(path.stat().st_mode)
    assert home.account_key().seed.hex() not in home.card_path.read_text() + home.config_path.read_text()


def test_an_occupied_directory_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    create_home(tmp_path / "home", name="a", roles=TRAINER, listen=LISTEN)
    before = (tmp_path / "home" / "card.json").read_bytes()
    with pytest.raises(UsageError, match="is not empty"):
        create_home(tmp_path / "home", name="b", roles=TRAINER, listen=LISTEN)
    assert before == (tmp_path / "home" / "card.json").read_bytes()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be used as a directory"):
        create_home(tmp_path / "file", name="b", roles=TRAINER, listen=LISTEN)


def test_nobody_can_dial_a_wildcard(tmp_path: Path) -> None:
    wildcard = "/ip4/0.0.0.0/tcp/4610"
    with pytest.raises(UsageError, match="nobody can dial") as caught:
        create_home(tmp_path / "home", name="a", roles=TRAINER, listen=wildcard)
    assert "--advertise" in caught.value.hint
    assert not (tmp_path / "home").exists()
    _, card = create_home(
        tmp_path / "home", name="a", roles=TRAINER, listen=wildcard, advertise="/dns4/a.example/tcp/80"
    )
    assert (wildcard, f"/dns4/a.example/tcp/80/p2p/{card.peer_id}") == (card.listen, card.dial)


def test_a_key_that_others_can_read_is_refused_with_the_mending_command(made: tuple[Home, Card]) -> None:
    home, _ = made
    for mode in (0o640, 0o604, 0o620):
        home.account_key_path.chmod(mode)
        with pytest.raises(UsageError, match="can be read by others") as caught:
            home.account_key()
        assert caught.value.hint == f"chmod 600 {home.account_key_path}"
    home.account_key_path.chmod(0o600)
    home.account_key()


@pytest.mark.parametrize("text", ["", "00", "g" * 64, "A" * 64, "0" * 63 + "\n\n", "0" * 65, "0" * 200])
def test_a_file_that_is_no_key(made: tuple[Home, Card], text: str) -> None:
    home, _ = made
    home.network_key_path.write_text(text)
    with pytest.raises(UsageError, match="is no key file") as caught:
        home.network_key()
    assert len(text) < 60 or text.strip() not in str(caught.value)


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    write_key(tmp_path / "key", SigningKey(bytes(32)))
    with pytest.raises(FileExistsError):
        write_key(tmp_path / "key", SigningKey.generate())


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with pytest.raises(UsageError, match="is no home directory") as caught:
        home.require()
    assert "pdfed init" in caught.value.hint
    for load in (home.config, home.genesis, home.card, home.account_key):
        with pytest.raises(UsageError, match="cannot be read: No such file"):
            load()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": None}, "name is missing"),
        ({"name": 3}, "name must be a text"),
        ({"name": "a\nb"}, "name"),
        ({"address": "00"}, "an address has 64"),
        ({"peer_id": "nobody"}, "not a peer id|not the peer id"),
        ({"roles": ["king"]}, "king"),
        ({"roles": 3}, "card.json"),
        ({"roles": []}, "roles is empty"),
        ({"dial": "/ip4/1.2.3.4/tcp/1/p2p/other"}, "dial must be a multiaddr that ends in"),
    ],
)
def test_a_defective_card_names_file_and_key(made: tuple[Home, Card], change: dict[str, Any], message: str) -> None:
    home, card = made
    plain = {**card.to_plain(), **change}
    home.card_path.write_text(json.dumps({key: value for key, value in plain.items() if value is not None}))
    with pytest.raises(UsageError, match=f"card.json.*({message})|{message}"):
        home.card()


@pytest.mark.parametrize("text", ["", "[]", "{", "\x00", "7"])
def test_a_file_that_is_no_card(made: tuple[Home, Card], text: str) -> None:
    home, _ = made
    home.card_path.write_text(text)
    with pytest.raises(UsageError, match=r"card\.json"):
        home.card()


def test_peers_are_those_of_config_and_genesis_without_oneself(made: tuple[Home, Card]) -> None:
    home, card = made
    others = [f"/ip4/1.2.3.{i}/tcp/1/p2p/{peer_id_of_seed(bytes([i]) * 32)}" for i in range(3)]
    text = home.config_path.read_text().replace("peers = []", f'peers = ["{others[0]}", "{others[1]}"]')
    home.config_path.write_text(text)
    task = small_task(Cid(b"\x01\x70\x12\x20" + bytes(32)), Cid(b"\x01\x70\x12\x20" + bytes(32)))
    genesis = small_genesis([card.address], task)
    ledger = LedgerGenesis.__new__(LedgerGenesis)  # not looked at
    file = GenesisFile(genesis, ledger, (others[1], card.dial, others[2]))
    assert tuple(others) == home.peers(home.config(), file)


def test_one_process_at_a_time(made: tuple[Home, Card]) -> None:
    home, _ = made
    hold = (
        "import sys; from node.home import Home\n"
        "with Home(sys.argv[1]).lock():\n    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(home.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(HomeInUse, match=f"in use by process {other.pid}"), home.lock():
            raise AssertionError("the lock was given twice")
        other.kill()
    with home.lock():
        pass
    with home.lock():
        pass


def test_a_home_that_does_not_exist_cannot_be_locked(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"run\.lock cannot be opened"), Home(tmp_path / "nowhere").lock():
        raise AssertionError("there is nothing to lock")
