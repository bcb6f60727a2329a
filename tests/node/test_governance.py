"""What nodes do for the rules of their chain by themselves, and what commands leave for them to send."""

from dataclasses import replace
from pathlib import Path

import pytest
import trio

from node.core import Node
from node.governance import GovernanceDuties
from node.head import Head
from node.outbox import Outbox
from node.submitter import Submitter
from node.telemetry import Activity
from pdfedchain.codec import encode
from pdfedchain.consensus.effects import Evidence
from pdfedchain.crypto import SigningKey
from pdfedchain.errors import StateError
from pdfedchain.ids import Address, Hash
from pdfedchain.state.onion import OnionSecrets
from pdfedchain.types.governance import AddAuthority, RemoveAuthority
from pdfedchain.types.transaction import ApproveChange, Payload, ProposeChange, Transaction, Transfer
from pdfedchain.types.vote import Vote, VoteKind
from tests.node.memory_testnet import KEYS, MemoryTestnet, memory_testnet

SALT = Hash(b"s" * 32)


def signed(payload: Payload, *, by: int = 0, nonce: int = 0) -> bytes:
    return encode(Transaction("memory", KEYS[by].address, nonce, payload).sign(KEYS[by]))


def outbox(testnet: MemoryTestnet, node: int = 0) -> Outbox:
    box = testnet.nodes[node].parts.outbox
    assert box is not None
    return box


def next_nonce(testnet: MemoryTestnet, node: int = 0) -> int:
    return testnet.nodes[node].head.view.account(KEYS[node].address).nonce


def voting(node: Node) -> tuple[Address, ...]:
    return node.head.view.governance.voting.members


async def registered(testnet: MemoryTestnet) -> None:
    """Nodes register by themselves first, which uses nonces of their accounts."""
    await testnet.wait(
        lambda node: all(node.head.view.participant(key.address) is not None for key in KEYS[: len(testnet.nodes)])
    )


async def decide(testnet: MemoryTestnet, change: AddAuthority | RemoveAuthority, approving: tuple[int, ...]) -> None:
    name = outbox(testnet).put(signed(ProposeChange(change), nonce=next_nonce(testnet)))
    await testnet.wait(lambda node: node.parts.store.transaction_height(name) is not None)
    for index in approving:
        outbox(testnet, index).put(signed(ApproveChange(name), by=index))
    await testnet.wait(lambda node: node.head.view.proposal(name) is None)


async def test_a_change_travels_from_outboxes_to_a_new_set(tmp_path: Path) -> None:
    async with memory_testnet(tmp_path, nodes=4, trainers=0, heartbeat_ms=150, onion_length=200) as testnet:
        await registered(testnet)
        await decide(testnet, RemoveAuthority(KEYS[3].address), (1, 2))
        await testnet.wait(lambda node: len(voting(node)) == 3)
        height = testnet.nodes[0].head.height
        await testnet.wait(lambda node: node.head.height > height + 3)
        anchor = OnionSecrets(KEYS[3]).anchor(SALT, 200)
        await decide(testnet, AddAuthority(KEYS[3].address, anchor), (1, 2))
        await testnet.wait(lambda node: len(voting(node)) == 4)

        def contributed(node: Node) -> bool:
            onion = node.head.view.onion(KEYS[3].address)
            return onion is not None and onion.remaining < 200

        await testnet.wait(contributed)
        for index in (0, 1, 2):
            with trio.fail_after(10):
                while outbox(testnet, index).waiting():
                    await trio.sleep(0.05)


async def test_evidence_that_consensus_reports_is_submitted_and_evicts(tmp_path: Path) -> None:
    def vote(block: Hash | None) -> Vote:
        unsigned = Vote("memory", 0, 1, 0, VoteKind.PREVOTE, block, KEYS[3].address, bytes(64))
        return replace(unsigned, signature=KEYS[3].sign(unsigned.signing_bytes()))

    async with memory_testnet(tmp_path, nodes=4, trainers=0, heartbeat_ms=150) as testnet:
        await testnet.wait(lambda node: node.head.height >= 1)
        testnet.nodes[1].driver._execute((Evidence(KEYS[3].address, vote(None), vote(Hash(bytes(32)))),))
        await testnet.wait(lambda node: voting(node) == tuple(key.address for key in KEYS[:3]))
        height = testnet.nodes[0].head.height
        await testnet.wait(lambda node: node.head.height > height + 3)
        assert testnet.nodes[1].parts.activity.gauges["evidence"] == 1


async def test_onions_are_renewed_before_they_are_used_up(tmp_path: Path) -> None:
    async with memory_testnet(tmp_path, nodes=2, trainers=0, heartbeat_ms=150, onion_length=3) as testnet:

        def renewed(node: Node) -> bool:
            onions = [node.head.view.onion(key.address) for key in KEYS[:2]]
            return all(onion is not None and onion.number == 1 for onion in onions)

        await testnet.wait(renewed)


async def test_what_can_never_succeed_comes_back_with_its_reason(tmp_path: Path) -> None:
    async with memory_testnet(tmp_path, nodes=1, trainers=0, heartbeat_ms=150) as testnet:
        await registered(testnet)
        box = outbox(testnet)
        name = box.put(signed(Transfer(KEYS[1].address, 10**9), nonce=next_nonce(testnet)))
        reason = None
        with trio.fail_after(10):
            while reason is None:
                await trio.sleep(0.05)
                reason = box.take_refusal(name)
        assert "balance" in reason
        assert (box.waiting(), box.take_refusal(name)) == ([], None)


def test_an_outbox_keeps_to_its_own_files(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "outbox")
    assert box.waiting() == []
    data = signed(Transfer(KEYS[1].address, 1), nonce=5)
    name = box.put(data)
    (box.path / f"{'0' * 64}.tx").write_bytes(b"foreign")
    assert box.waiting() == [(name, data)]
    assert (box.nonces(KEYS[0].address), box.nonces(KEYS[1].address)) == ([5], [])
    box.forget(name)
    assert box.waiting() == []


async def test_a_node_whose_key_did_not_make_its_onion_says_so_at_the_start(tmp_path: Path) -> None:
    async with memory_testnet(tmp_path, nodes=1, trainers=0, heartbeat_ms=150, onion_length=10) as testnet:
        head = Head(testnet.nodes[0].parts.store)
        stranger = SigningKey(KEYS[0].seed)
        activity = Activity(tmp_path / "activity.json")

        async def spread(transaction: bytes) -> None:
            raise AssertionError("nothing is sent")

        submitter = Submitter("memory", stranger, spread)
        GovernanceDuties(stranger, head, submitter, activity, range(1, 2)).check()
        duties = GovernanceDuties(stranger, head, submitter, activity, range(1, 2))
        duties._secrets = OnionSecrets(KEYS[5])
        with pytest.raises(StateError, match="not made with this home"):
            duties.check()
