"""``pdfed prove`` and ``pdfed verify``: from one home to somebody who has none."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

import node.cli.verify
from node.__main__ import main
from pdfedchain.ids import address_text, cid_text
from tests.support.home_chain import HomeChain, unknown_cid


class Story:
    """A home with one accepted checkpoint."""

    def __init__(self, directory: Path) -> None:
        self.chain = HomeChain(directory / "alice")
        self.chain.register()
        self.cid = self.chain.submit("first")
        self.chain.settle(self.cid)
        self.chain.close()
        self.home = str(self.chain.home.path)
        self.address = address_text(self.chain.home.account_key().address)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return Story(tmp_path_factory.mktemp("story"))


def ask(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> dict[str, Any]:
    assert main([*words]) == status
    said = capsys.readouterr()
    assert (said.out + said.err).strip()
    assert main([*words, "--json"]) == status
    answer: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return answer


def test_what_one_home_proves_another_machine_believes(
    story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, absent = str(tmp_path / "proof"), cid_text(unknown_cid())
    proven = ask(capsys, "prove", cid_text(story.cid), absent, story.address, "--home", story.home, "--out", file)
    assert proven["trust"] == story.chain.genesis.hash.hex()
    assert (proven["height"], proven["values"]) == (story.chain.position.height - 1, 4)
    answer = ask(capsys, "verify", file, "--trust", proven["trust"])
    assert (answer["ok"], answer["chain_id"], answer["height"]) == (
        True,
        story.chain.genesis.chain_id,
        proven["height"],
    )
    checkpoint, missing, account, participant = answer["values"]
    assert (checkpoint["what"], checkpoint["subject"]) == ("checkpoint", cid_text(story.cid))
    assert checkpoint["value"]["status"] == "accepted"
    assert (missing["subject"], missing["value"]) == (absent, None)
    assert account["value"]["nonce"] > 0
    assert participant["value"]["address"] == story.address


def test_a_proof_may_begin_at_a_block_and_name_a_checkpoint_by_its_ending(
    story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, ending = str(tmp_path / "proof"), cid_text(story.cid)[-8:]
    proven = ask(
        capsys, "prove", ending, "key:" + b"index".hex(), "--home", story.home, "--out", file, "--from-height", "2"
    )
    assert proven["trust"] != story.chain.genesis.hash.hex()
    answer = ask(capsys, "verify", file, "--trust", proven["trust"])
    assert [value["what"] for value in answer["values"]] == ["checkpoint", "key"]
    assert b"pdfed/ledger-index/" in bytes.fromhex(answer["values"][1]["value"])


def test_what_does_not_convince_is_a_negative_answer(
    story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "proof"
    proven = ask(capsys, "prove", story.address, "--home", story.home, "--out", str(file))
    other = ask(capsys, "verify", str(file), "--trust", "00" * 32, status=1)
    assert (other["ok"], other["reason"]) == (False, "UntrustedAnchor")
    assert ask(capsys, "verify", str(file), "--trust", proven["trust"], "--trusting-days", "1")["ok"]
    monkeypatch.setattr(node.cli.verify, "_now_ms", lambda: time.time_ns() // 1_000_000 + 2 * 24 * 3_600_000)
    old = ask(capsys, "verify", str(file), "--trust", proven["trust"], "--trusting-days", "1", status=1)
    assert old["reason"] == "TrustExpired"
    changed = bytearray(file.read_bytes())
    changed[-40] ^= 1
    file.write_bytes(changed)
    assert ask(capsys, "verify", str(file), "--trust", proven["trust"], status=1)["ok"] is False
    file.write_bytes(b"nothing of the kind")
    assert ask(capsys, "verify", str(file), "--trust", proven["trust"], status=1)["reason"] == "DecodeError"


def test_wrong_use_is_named(story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "proof")
    for words, message in (
        (("prove", "nobody", "--home", story.home, "--out", out), "no checkpoint"),
        (("prove", "key:zz", "--home", story.home, "--out", out), "is no key"),
        (("prove", story.address, "--home", story.home, "--out", str(tmp_path)), "cannot be written"),
        (("prove", story.address, "--home", story.home, "--out", out, "--from-height", "999"), "no header 999"),
        (("verify", out, "--trust", "00" * 32), "cannot be read"),
        (("verify", out, "--trust", "12"), "64 hexadecimal digits"),
        (("verify", out, "--trust", "00" * 32, "--trusting-days", "0"), "at least 1"),
    ):
        assert message in ask(capsys, *words, status=2)["error"]
