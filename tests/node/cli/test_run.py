"""``pdfed run`` refuses what it cannot run before it imports a network (how it runs: tests/e2e)."""

import json
import sys
from pathlib import Path

import pytest

from node.__main__ import main
from node.home import Home
from tests.support.home_chain import HomeChain


@pytest.fixture
def home(tmp_path: Path) -> Home:
    chain = HomeChain(tmp_path / "alice")
    chain.close()
    return chain.home


def refused(home: Home, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["run", "--home", str(home.path), "--json"]) == 2
    error: str = json.loads(capsys.readouterr().out)["error"]
    assert "\n" not in error
    return error


def test_no_home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is no home directory" in refused(Home(tmp_path / "nowhere"), capsys)


def test_an_unreadable_config(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.config_path.write_text("[node\n")
    assert "config.toml is not TOML" in refused(home, capsys)
    home.config_path.write_bytes(b"\xff")
    assert "config.toml is not UTF-8" in refused(home, capsys)


def test_no_genesis(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.genesis_path.unlink()
    assert "genesis.json cannot be read" in refused(home, capsys)


def test_a_bad_genesis(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    text = home.genesis_path.read_text()
    home.genesis_path.write_text(text.replace('"chain_id": "home"', '"chain_id": "hole"'))
    assert "genesis.json: hash is" in refused(home, capsys)


def test_no_torch(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert 'pip install "pdfedchain[diffusion]"' in refused(home, capsys)


@pytest.mark.parametrize("words", [["--until-height", "soon"], ["--log-level", "loud"]])
def test_wrong_options(home: Home, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--home", str(home.path), *words]) == 2
    assert words[0] in capsys.readouterr().err
