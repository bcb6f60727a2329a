"""``pdfed tx`` and ``pdfed proposals``: signed here, carried by the outbox, found in a block."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.__main__ import main
from node.config import NodeRole
from node.new_home import create_home
from node.outbox import Outbox
from pdfedchain.codec import decode
from pdfedchain.ids import address_text
from pdfedchain.types.governance import AddAuthority, SetChainParameters, SetLedgerParameters, UpgradeVersion
from pdfedchain.types.transaction import Payload, ProposeChange, SignedTransaction, Transfer
from tests.support.home_chain import HomeChain
from tests.support.waiting import wait_until

OTHER = "ab" * 32


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[HomeChain]:
    chain = HomeChain(tmp_path / "alice", money=True)
    chain.block()
    yield chain
    chain.close()


def left(chain: HomeChain) -> list[Payload]:
    """What lies in the outbox."""
    waiting = Outbox(chain.home.outbox_dir).waiting()
    return [decode(SignedTransaction, data, size_bytes_max=100_000).transaction.payload for _, data in waiting]


def tx(chain: HomeChain, *words: str) -> int:
    return main(["tx", *words, "--home", str(chain.home.path), "--wait", "0", "--json"])


def answer(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def test_a_transfer_is_left_for_the_node_under_its_hash(chain: HomeChain, capsys: pytest.CaptureFixture[str]) -> None:
    assert tx(chain, "transfer", OTHER, "5") == 0
    said = answer(capsys)
    ((name, _),) = Outbox(chain.home.outbox_dir).waiting()
    assert (said["hash"], said["kind"], said["height"]) == (name.hex(), "transfer", None)
    assert left(chain) == [Transfer(bytes.fromhex(OTHER), 5)]  # type: ignore[arg-type]


def test_the_next_transaction_has_the_next_nonce(chain: HomeChain) -> None:
    for _ in range(3):
        assert tx(chain, "transfer", OTHER, "5") == 0
    assert sorted(Outbox(chain.home.outbox_dir).nonces(chain.key.address)) == [0, 1, 2]


def test_what_the_chain_refuses_is_not_left(chain: HomeChain, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        (["transfer", OTHER, "999999999"], "balance"),
        (["transfer", "xyz", "1"], "not an address"),
        (["transfer", OTHER, "0"], "positive number"),
        (["remove-authority", OTHER], "is no authority"),
        (["upgrade", "2", "3"], "too near"),
        (["approve", "00"], "names 0 open proposals"),
        (["set-parameters", "colour=5"], "is no NAME=VALUE"),
        (["set-parameters", "have=5"], "no single value"),
        (["set-parameters", "have.blocks=many"], "no number"),
        (["set-parameters", "have.blocks=0"], "outside"),
        (["set-parameters", "have.blocks=5", "heartbeat_idle_ms=5"], "of ledger and chain"),
        (["fund-task", "nothing", "5"], "no task"),
    ):
        assert tx(chain, *words) == 2, words
        assert message in answer(capsys)["error"]
    assert left(chain) == []


def test_changes_are_proposed_with_what_is_not_named_as_it_was(chain: HomeChain, tmp_path: Path) -> None:
    newcomer, card = create_home(
        tmp_path / "bob", name="bob", roles=(NodeRole.AUTHORITY,), listen="/ip4/127.0.0.1/tcp/4611"
    )
    assert tx(chain, "set-parameters", "heartbeat_idle_ms=5000") == 0
    assert tx(chain, "set-parameters", "have.blocks=9", "open_registration=true") == 0
    assert tx(chain, "upgrade", "1", "500") == 0
    assert tx(chain, "add-authority", str(newcomer.card_path)) == 0
    changes = {type(payload.change): payload.change for payload in left(chain) if isinstance(payload, ProposeChange)}
    paced, ruled = changes[SetChainParameters], changes[SetLedgerParameters]
    assert isinstance(paced, SetChainParameters)
    assert isinstance(ruled, SetLedgerParameters)
    before = chain.view.chain_parameters
    assert (paced.parameters.heartbeat_idle_ms, paced.parameters.timeout_max_ms) == (5_000, before.timeout_max_ms)
    assert (ruled.parameters.have.blocks, ruled.parameters.open_registration) == (9, True)
    assert ruled.parameters.scoring == chain.view.parameters.scoring
    assert changes[UpgradeVersion] == UpgradeVersion(1, 500)
    assert changes[AddAuthority] == AddAuthority(card.address, card.onion)


def test_waiting_ends_with_the_height_of_the_block(chain: HomeChain, capsys: pytest.CaptureFixture[str]) -> None:
    home, box = str(chain.home.path), Outbox(chain.home.outbox_dir)
    statuses: list[int] = []
    command = threading.Thread(
        target=lambda: statuses.append(main(["tx", "transfer", OTHER, "5", "--home", home, "--json"]))
    )
    command.start()
    wait_until(lambda: bool(box.waiting()))
    chain.include([data for _, data in box.waiting()])
    command.join(30)
    assert (statuses, answer(capsys)["height"]) == ([0], chain.position.height - 1)


def test_a_transaction_whose_nonce_was_taken_is_signed_anew(
    chain: HomeChain, capsys: pytest.CaptureFixture[str]
) -> None:
    home, box = str(chain.home.path), Outbox(chain.home.outbox_dir)
    statuses: list[int] = []
    command = threading.Thread(
        target=lambda: statuses.append(main(["tx", "transfer", OTHER, "5", "--home", home, "--json"]))
    )
    command.start()
    wait_until(lambda: bool(box.waiting()))
    ((first, _),) = box.waiting()
    chain.block(Transfer(bytes.fromhex(OTHER), 1))  # type: ignore[arg-type]
    box.refuse(first, "nonce: 0, the account's next one is 1")
    wait_until(lambda: bool(box.waiting()))
    chain.include([data for _, data in box.waiting()])
    command.join(30)
    assert statuses == [0]
    assert answer(capsys)["hash"] != first.hex()


def test_a_block_that_does_not_come_is_a_negative_answer(chain: HomeChain, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tx", "transfer", OTHER, "5", "--home", str(chain.home.path), "--wait", "0.3"]
    assert main(words) == 1
    assert "not in a block" in capsys.readouterr().err


def test_proposals_show_who_decides_and_what_is_open_and_scheduled(
    chain: HomeChain, capsys: pytest.CaptureFixture[str]
) -> None:
    chain.block(ProposeChange(UpgradeVersion(1, 500)))
    chain.block(ProposeChange(AddAuthority(bytes.fromhex(OTHER), None)))  # type: ignore[arg-type]
    chain.block()
    chain.block(ProposeChange(UpgradeVersion(1, 600)))
    assert main(["proposals", "--home", str(chain.home.path), "--json"]) == 0
    said = answer(capsys)
    assert said["authorities"] == [address_text(chain.key.address), OTHER]
    assert [(one["height"], one["change"]) for one in said["scheduled"]] == [(500, "upgrade-version")]
    (opened,) = said["proposals"]
    assert (opened["change"], opened["details"]) == ("upgrade-version", {"version": 1, "height": 600})
    assert opened["approvals"] == [address_text(chain.key.address)]
    assert main(["proposals", "--home", str(chain.home.path)]) == 0
    text = capsys.readouterr().out
    assert f"open: {opened['proposal']}" in text
    assert "approved by 1 of 2" in text
