"""``pdfed weights``: what is stored, what for, and making room."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import trio

from node.__main__ import main
from node.host.libp2p_host import open_host
from node.weights.bitswap import Bitswap
from node.weights.store import WeightsStore
from pdfedchain.ids import Cid, cid_text
from pdfedchain.types.score import Unscorable, UnscorableReason
from tests.support.home_chain import HomeChain

CID = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"


class Story:
    """A chain with an accepted and a rejected checkpoint, and one folder that nobody knows."""

    def __init__(self, directory: Path) -> None:
        self.chain = HomeChain(directory / "alice")
        self.chain.register()
        self.good = self.chain.submit("good")
        self.chain.settle(self.good)
        self.bad = self.chain.submit("bad", self.good)
        self.chain.settle(self.bad, Unscorable(UnscorableReason.NON_FINITE))
        self.chain.close()
        self.home = str(self.chain.home.path)
        self.store = WeightsStore(self.chain.home.weights_dir)
        (directory / "stray").mkdir()
        (directory / "stray" / "file").write_bytes(b"nobody needs this")
        self.stray = self.store.add_folder(directory / "stray")


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["weights", *words, "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def listed(capsys: pytest.CaptureFixture[str], home: str, *words: str) -> dict[str, str]:
    return {row["cid"]: row["needed_as"] for row in ask(capsys, "ls", "--home", home, *words)["folders"]}


def test_the_list_says_what_each_folder_is_needed_for(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    found = listed(capsys, story.home)
    assert found[cid_text(story.good)] == "checkpoint, accepted"
    assert found[cid_text(story.bad)] == "checkpoint, rejected"
    assert cid_text(story.stray) not in found
    assert sorted(word.split()[0] for word in found.values()) == ["checkpoint,", "checkpoint,", "reference", "scorer"]
    assert main(["weights", "ls", "--home", story.home]) == 0
    assert "MB only here" in capsys.readouterr().out


def test_collecting_deletes_strays_and_old_rejected_weights_only(
    story: Story, capsys: pytest.CaptureFixture[str]
) -> None:
    def here(cid: Cid) -> bool:
        return story.store.has_block(cid)

    good = here(story.good)
    assert ask(capsys, "gc", "--home", story.home)["blocks"] == 0, "everything is young"
    assert ask(capsys, "gc", "--home", story.home, "--grace", "0", "--dry-run")["blocks"] == 2
    assert here(story.stray)
    assert ask(capsys, "gc", "--home", story.home, "--grace", "0")["blocks"] == 2
    assert not here(story.stray)
    assert here(story.bad) == good
    ask(capsys, "gc", "--home", story.home, "--grace", "0", "--rejected-for", "0")
    assert cid_text(story.good) in listed(capsys, story.home, "--rejected-for", "0")
    assert here(story.good) == good


def test_a_pinned_folder_stays(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    text = cid_text(story.stray)
    assert ask(capsys, "pin", text, "--home", story.home) == {"cid": text, "pinned": True}
    assert listed(capsys, story.home)[text] == "pinned"
    ask(capsys, "gc", "--home", story.home, "--grace", "0")
    assert story.store.verify(story.stray) == ()
    assert ask(capsys, "unpin", text, "--home", story.home) == {"cid": text, "pinned": False}
    assert ask(capsys, "gc", "--home", story.home, "--grace", "0")["blocks"] == 2


@pytest.mark.parametrize(
    "words",
    [("pin",), ("fetch", CID), ("gc", "--from", "/ip4/127.0.0.1/tcp/1/p2p/x"), ("gc", CID), ("gc", "--grace", "-1")],
)
def test_wrong_words_are_refused(story: Story, words: tuple[str, ...]) -> None:
    assert main(["weights", *words, "--home", story.home]) == 2


def test_a_folder_is_fetched_from_an_address_and_pinned(
    story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "file").write_bytes(b"from somewhere else")
    origin = WeightsStore(tmp_path / "origin")
    cid = origin.add_folder(tmp_path / "far")
    address, stop = "", threading.Event()
    started = threading.Event()

    async def serve() -> None:
        nonlocal address
        async with open_host(b"s" * 32) as host:
            Bitswap(origin).attach(host)
            address = host.addresses[0]
            started.set()
            while not stop.is_set():
                await trio.sleep(0.05)

    server = threading.Thread(target=trio.run, args=(serve,))
    server.start()
    try:
        assert started.wait(10)
        answer = ask(capsys, "fetch", cid_text(cid), "--from", address, "--home", story.home)
    finally:
        stop.set()
        server.join()
    assert answer["blocks"] == 2
    assert story.store.verify(cid) == ()
    assert cid in story.store.pins.all()
