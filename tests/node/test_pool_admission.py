"""Who may leave what in a node's pool: the ledger's verdict and the sender's standing together."""

from dataclasses import replace
from pathlib import Path

import pytest

from node.core import Node
from node.mempool import PoolFull
from pdfedchain.codec import encode
from pdfedchain.consensus.replica import Replica
from pdfedchain.crypto import SigningKey
from pdfedchain.errors import InvalidTransaction
from pdfedchain.ids import Hash
from pdfedchain.state import Ledger, LedgerView
from pdfedchain.state.draft import Draft
from pdfedchain.types.checkpoint import Account
from pdfedchain.types.transaction import Register, Role, SignedTransaction, Transaction, Transfer
from tests.node.memory_testnet import KEYS, memory_testnet

STRANGER = SigningKey(b"stranger".ljust(32, b"."))
REGISTRATION = Register("node3", int(Role.EVALUATOR), Hash(bytes(32)), KEYS[3].address, "")
REGISTRATION_2 = Register("node2", int(Role.EVALUATOR), Hash(bytes(32)), KEYS[2].address, "")


def payment(node: Node, key: SigningKey, *, nonce: int) -> bytes:
    return encode(Transaction(node.chain_id, key.address, nonce, Transfer(KEYS[1].address, 1)).sign(key))


async def test_nothing_of_a_stranger_waits(tmp_path: Path) -> None:
    async with memory_testnet(tmp_path, running=(0,)) as testnet:
        (node,) = testnet.nodes
        for nonce in (0, 1, 2, 64):
            with pytest.raises(InvalidTransaction) as refused:
                node.mempool.add(payment(node, STRANGER, nonce=nonce))
            assert ("balance" if nonce == 0 else "stranger") == refused.value.rule
        assert len(node.mempool) == 0


async def test_an_authority_may_be_early_without_a_reason_for_a_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons: list[int] = []
    monkeypatch.setattr(Replica, "on_transactions_waiting", lambda replica: reasons.append(1) or ())
    async with memory_testnet(tmp_path, running=(0,)) as testnet:
        (node,) = testnet.nodes
        assert node.mempool.add(payment(node, KEYS[3], nonce=1))
        node.driver.transactions_waiting()
        assert (len(node.mempool), node.mempool.has_ready, reasons) == (1, False, [])
        assert node.mempool.add(encode(Transaction(node.chain_id, KEYS[3].address, 0, REGISTRATION).sign(KEYS[3])))
        node.driver.transactions_waiting()
        assert (node.mempool.has_ready, reasons) == (True, [1])


async def test_a_flood_of_one_nonce_costs_one_signature_check_and_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = 0
    verify = SignedTransaction.verify_encoded

    def counting(signed: SignedTransaction, data: bytes) -> None:
        nonlocal checked
        checked += 1
        verify(signed, data)

    monkeypatch.setattr(SignedTransaction, "verify_encoded", counting)
    async with memory_testnet(tmp_path, running=(0,)) as testnet:
        (node,) = testnet.nodes
        refused = 0
        for count in range(1_000):
            registration = Register("node3", int(Role.EVALUATOR), Hash(bytes(32)), KEYS[3].address, str(count))
            flood = Transaction(node.chain_id, KEYS[3].address, 0, registration).sign(KEYS[3])
            try:
                node.mempool.add(encode(flood))
            except PoolFull:
                refused += 1
        assert (refused, len(node.mempool), checked) == (999, 1, 1)
        honest = encode(Transaction(node.chain_id, KEYS[2].address, 0, REGISTRATION_2).sign(KEYS[2]))
        assert node.mempool.add(honest)
        for _ in range(3):
            node.mempool.settle(())
        assert (len(node.mempool), checked) == (2, 2)


async def test_after_a_block_only_transfers_of_accounts_it_has_touched_are_checked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with memory_testnet(tmp_path, running=(0,)) as testnet:
        (node,) = testnet.nodes
        waiting = [payment(node, key, nonce=0) for key in KEYS[:3]]
        accounts: dict[bytes, int] = {}
        monkeypatch.setattr(
            LedgerView, "account", lambda view, address: Account(10 + accounts.get(bytes(address), 0), 0)
        )
        monkeypatch.setattr(Draft, "account", LedgerView.account)
        for transaction in waiting:
            assert node.mempool.add(transaction)
        checked: list[bytes] = []
        monkeypatch.setattr(Ledger, "check", lambda ledger, state, context, data: checked.append(data))
        node.mempool.settle(())
        assert checked == []
        accounts[bytes(KEYS[1].address)] = -3
        node.mempool.settle(())
        assert checked == [waiting[1]]
        assert node.mempool.candidates() == tuple(waiting)


async def test_a_change_of_the_rules_has_every_transfer_checked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with memory_testnet(tmp_path, running=(0,)) as testnet:
        (node,) = testnet.nodes
        monkeypatch.setattr(LedgerView, "account", lambda view, address: Account(10, 0))
        monkeypatch.setattr(Draft, "account", LedgerView.account)
        waiting = [payment(node, key, nonce=0) for key in KEYS[:3]]
        for transaction in waiting:
            assert node.mempool.add(transaction)
        parameters = node.head.view.parameters
        dearer = replace(parameters, economy=replace(parameters.economy, fee=100))
        monkeypatch.setattr(LedgerView, "parameters", dearer)
        monkeypatch.setattr(Draft, "parameters", dearer)
        node.mempool.settle(())
        assert len(node.mempool) == 0
