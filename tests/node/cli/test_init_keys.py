"""``pdfed init`` and ``pdfed keys``."""

import json
from pathlib import Path

import pytest

from node.__main__ import main
from node.home import Home
from pdfedchain.state.onion import OnionSecrets
from pdfedchain.types.governance import Onion, OnionAnchor


def test_init_makes_a_home_and_a_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["init", "--home", str(tmp_path / "h"), "--name", "alice", "--roles", "trainer", "--json"]
    assert main(words) == 0
    answer = json.loads(capsys.readouterr().out)
    card = json.loads((tmp_path / "h" / "card.json").read_text())
    assert {"home": str(tmp_path / "h"), **card} == answer
    assert (card["name"], card["roles"]) == ("alice", ["trainer"])


def test_a_new_card_differs_in_its_onion_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--home", str(tmp_path / "h"), "--name", "alice"]) == 0
    before = json.loads((tmp_path / "h" / "card.json").read_text())
    assert main(["keys", "--home", str(tmp_path / "h"), "--new-card"]) == 0
    after = json.loads((tmp_path / "h" / "card.json").read_text())
    assert before["onion"]["salt"] != after["onion"]["salt"]
    assert {**before, "onion": None} == {**after, "onion": None}
    assert OnionSecrets(Home(tmp_path / "h").account_key()).owns(onion_of(Home(tmp_path / "h").card().onion))


def onion_of(anchor: OnionAnchor | None) -> Onion:
    assert anchor is not None
    return Onion(anchor.salt, 0, anchor.length, anchor.anchor, None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--name", "a", "--roles", "king"], "unknown role 'king'"),
        (["--name", ""], "--name"),
        (["--name", "a", "--listen", "localhost:80"], "--listen must look like"),
        (["--name", "a", "--listen", "/ip4/0.0.0.0/tcp/80"], "nobody can dial"),
        (["--name", "a", "--advertise", "here"], "--advertise must look like"),
    ],
)
def test_wrong_use_of_init_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["init", "--home", str(tmp_path / "h"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "h").exists()


def test_init_refuses_an_occupied_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["init", "--home", str(tmp_path), "--name", "a"]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_keys_shows_addresses_and_no_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["init", "--home", str(tmp_path / "h"), "--name", "a", "--json"])
    card = json.loads(capsys.readouterr().out)
    assert main(["keys", "--home", str(tmp_path / "h"), "--json"]) == 0
    text = capsys.readouterr().out
    assert {"address": card["address"], "peer_id": card["peer_id"]} == json.loads(text)
    assert main(["keys", "--home", str(tmp_path / "h")]) == 0
    home = Home(tmp_path / "h")
    for key in (home.account_key(), home.network_key()):
        assert key.seed.hex() not in text + capsys.readouterr().out


def test_keys_of_no_home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "--home", str(tmp_path / "nowhere")]) == 2
    assert "is no home directory" in capsys.readouterr().err
