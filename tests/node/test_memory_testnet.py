"""The whole protocol between nodes in one process: train, hold, score, settle, vote."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from node.core import Node
from node.memory_host import MemoryHost
from node.participant import Participant
from node.reader import ChainReader
from node.self_test import PASSED_GAUGE
from pdfedchain.codec import encode
from pdfedchain.ids import Address, Hash
from pdfedchain.state.events import BondSettled, CheckpointSubmitted, ScoringStarted, ledger_event
from pdfedchain.types.ballot import BallotKind
from pdfedchain.types.checkpoint import Checkpoint, CheckpointStatus, RejectionReason
from pdfedchain.types.jobs import Score, SelfTested
from pdfedchain.types.score import ArithmeticProfile, ScoreReport, Tolerance
from pdfedchain.types.transaction import Transaction, Transfer
from tests.node.memory_testnet import KEYS, memory_testnet
from tests.support.fake_worker import FakeWorker, half_the_distance, report_of
from tests.support.ledger import ALLOCATION, ECONOMY, POOL, SCORING

SETTLED = (CheckpointStatus.ACCEPTED, CheckpointStatus.REJECTED)


def settled(node: Node) -> list[Checkpoint]:
    return [checkpoint for checkpoint in node.head.checkpoints() if checkpoint.status in SETTLED]


async def test_checkpoints_are_trained_held_scored_settled_and_trained_further(tmp_path: Path) -> None:
    async with memory_testnet(tmp_path) as testnet:
        await testnet.wait(lambda node: len(settled(node)) >= 6)
        checkpoints = settled(testnet.nodes[0])
        assert {checkpoint.status for checkpoint in checkpoints} == {CheckpointStatus.ACCEPTED}
        authors = {checkpoint.weights: checkpoint.author for checkpoint in checkpoints}
        assert set(authors.values()) == {KEYS[0].address, KEYS[1].address}
        lineage = [(c.author, authors[parent]) for c in checkpoints for parent in c.parents if parent in authors]
        assert any(author != parent_author for author, parent_author in lineage)
        for checkpoint in checkpoints:
            assert checkpoint.seed is not None
            assert checkpoint.report == report_of(checkpoint.weights_digest, checkpoint.seed, 100)
        lowest = min(node.head.height for node in testnet.nodes)
        assert len({node.parts.store.final_block(lowest).block.hash for node in testnet.nodes}) == 1


class Damaged(Participant):
    """Finds half a file where its last submission should be."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._pending_file.write_bytes(b"\x93torn")


async def test_a_damaged_note_of_a_submission_costs_one_training(tmp_path: Path) -> None:
    async with memory_testnet(tmp_path, trainers=1, participants={0: Damaged}) as testnet:
        await testnet.wait(lambda node: len(settled(node)) >= 1)
        assert {checkpoint.author for checkpoint in settled(testnet.nodes[0])} == {KEYS[0].address}


async def test_private_ballots_are_sealed_then_opened_by_others_than_the_author(tmp_path: Path) -> None:
    def private_voters(node: Node) -> dict[Address, int]:
        voters: dict[Address, int] = {}
        for checkpoint in settled(node):
            for ballot in node.head.ballots(checkpoint.weights, BallotKind.PRIVATE):
                assert ballot.voter != checkpoint.author
                voters[ballot.voter] = voters.get(ballot.voter, 0) + (ballot.report is not None)
        return voters

    async with memory_testnet(tmp_path) as testnet:
        await testnet.wait(lambda node: sum(count > 0 for count in private_voters(node).values()) == 4)
        excluded = [node.parts.participant for node in testnet.nodes if node.parts.participant]
        assert all((settings.private / "memorised.json").exists() for settings in excluded)


async def test_with_prices_everybody_goes_on_and_authors_and_scorers_earn(tmp_path: Path) -> None:
    """Nobody's deposit is burned: scores that a settlement did not wait for are opened after it."""
    async with memory_testnet(tmp_path, money=True) as testnet:
        await testnet.wait(lambda node: len(settled(node)) >= 4)
        view = testnet.nodes[0].head.view
        assert view.totals.burned == 0
        assert view.task_record(view.index.tasks[0]).pool < POOL
        evaluators = [view.account(key.address).balance for key in KEYS[2:4]]
        deposits = ECONOMY.private_deposit + ECONOMY.score_deposit
        assert all(balance > ALLOCATION - 4 * deposits for balance in evaluators)
        for node in testnet.nodes:
            assert ChainReader(node.parts.store, testnet.genesis).units()["issued"] == 4 * ALLOCATION + POOL


async def test_one_liar_of_four_does_not_move_what_is_settled(tmp_path: Path) -> None:
    liar = FakeWorker(tmp_path / "logs", falsify=half_the_distance)
    async with memory_testnet(tmp_path, workers={3: liar}) as testnet:
        await testnet.wait(lambda node: len(settled(node)) >= 2)
        for checkpoint in settled(testnet.nodes[3]):
            assert checkpoint.seed is not None
            assert checkpoint.report == report_of(checkpoint.weights_digest, checkpoint.seed, 100)


async def test_a_node_that_fails_its_self_test_validates_and_does_not_score(tmp_path: Path) -> None:
    broken = FakeWorker(tmp_path / "logs", self_test=SelfTested(("confirmed is 1 instead of 2",), ()))
    async with memory_testnet(tmp_path, trainers=1, workers={3: broken}) as testnet:
        node = testnet.nodes[3]
        await testnet.wait(lambda each: len(settled(each)) >= 3)
        assert not any(isinstance(job, Score) for job in broken.jobs)
        assert node.parts.activity.gauges[PASSED_GAUGE] == 0
        assert testnet.nodes[0].parts.activity.gauges[PASSED_GAUGE] == 1
        for checkpoint in settled(testnet.nodes[0]):
            voters = {ballot.voter for ballot in node.head.ballots(checkpoint.weights, BallotKind.SCORE)}
            assert voters == {key.address for key in KEYS[:3]}
        proposers = {node.parts.store.final_block(h).block.header.proposer for h in range(1, node.head.height + 1)}
        assert KEYS[3].address in proposers


def as_another_machine(report: ScoreReport) -> ScoreReport:
    """What float32 may do: small differences everywhere, and one pair on the other side of both thresholds."""
    return replace(
        report,
        checked=report.checked + 1,
        confirmed=report.confirmed + 1,
        v_a_micro=report.v_a_micro + 1_000_000 // (report.checked + 1),
        v_c_micro=report.v_c_micro - 30,
        fid_micro=report.fid_micro + 900,
        images_hash=Hash(bytes(32)),
    )


async def test_in_float32_machines_that_differ_by_a_pair_agree_and_a_liar_is_left_out(tmp_path: Path) -> None:
    tolerance = Tolerance(checked=1, confirmed=1, v_a_micro=100, v_c_micro=100, fid_micro=1_000)
    scoring = replace(SCORING, profile=ArithmeticProfile.F32, tolerance=tolerance)
    workers = {
        2: FakeWorker(tmp_path / "logs", falsify=as_another_machine),
        3: FakeWorker(tmp_path / "logs", falsify=half_the_distance),
    }
    async with memory_testnet(tmp_path, trainers=1, workers=workers, scoring_ms=8_000, scoring=scoring) as testnet:

        def agreed(node: Node) -> list[Checkpoint]:
            return [checkpoint for checkpoint in settled(node) if checkpoint.report is not None]

        await testnet.wait(lambda node: len(agreed(node)) >= 1)
        for checkpoint in agreed(testnet.nodes[3]):
            assert checkpoint.seed is not None
            assert checkpoint.report is not None
            honest = report_of(checkpoint.weights_digest, checkpoint.seed, 100)
            assert checkpoint.report.agrees_with(honest, tolerance)
            assert checkpoint.report.agrees_with(as_another_machine(honest), tolerance)
            assert checkpoint.report.fid_micro in (honest.fid_micro, honest.fid_micro + 900)


async def test_two_liars_of_four_get_nothing_settled_but_a_disagreement(tmp_path: Path) -> None:
    liars = {index: FakeWorker(tmp_path / "logs", falsify=half_the_distance) for index in (2, 3)}
    async with memory_testnet(tmp_path, trainers=1, workers=liars, scoring_ms=5_000) as testnet:
        await testnet.wait(lambda node: len(settled(node)) >= 1)
        assert [checkpoint.reason for checkpoint in settled(testnet.nodes[0])] == [RejectionReason.DISAGREEMENT]


async def test_a_score_that_came_too_late_is_not_computed_in_vain(tmp_path: Path) -> None:
    """Three of three are needed and one takes longer than scoring is open: its author offers the same once more."""
    slow = {2: FakeWorker(tmp_path / "logs", delay_s=7.0)}
    async with memory_testnet(
        tmp_path, running=[0, 1, 2], trainers=1, workers=slow, money=True, scoring_ms=5_000
    ) as testnet:
        await testnet.wait(lambda node: any(each.report is not None for each in settled(node)))
        happened = [ledger_event(stored.event) for stored in testnet.nodes[0].parts.store.events(from_height=1)]
        offers = [event for event in happened if isinstance(event, CheckpointSubmitted)]
        assert [(offer.checkpoint, offer.retry) for offer in offers[:2]] == [
            (offers[0].checkpoint, False),
            (offers[0].checkpoint, True),
        ]
        starts = [event for event in happened if isinstance(event, ScoringStarted)]
        assert starts[0] == starts[1]
        bonds = [event.returned for event in happened if isinstance(event, BondSettled)]
        assert bonds[:2] == [True, True]


async def test_three_of_four_nodes_go_on_without_the_fourth(tmp_path: Path) -> None:
    async with memory_testnet(tmp_path, running=[0, 1, 2]) as testnet:
        await testnet.wait(lambda node: len(settled(node)) >= 2)
        assert all(checkpoint.status is CheckpointStatus.ACCEPTED for checkpoint in settled(testnet.nodes[0]))


async def test_a_cut_off_node_catches_up_after_healing(tmp_path: Path) -> None:
    async with memory_testnet(tmp_path) as testnet:
        lonely, *others = testnet.nodes
        await testnet.wait(lambda node: node.head.height >= 2)
        for other in others:
            testnet.network.cut(lonely.parts.host.peer_id, other.parts.host.peer_id)
        behind = lonely.head.height
        testnet.nodes = others
        await testnet.wait(lambda node: node.head.height >= behind + 10)
        for other in others:
            testnet.network.heal(lonely.parts.host.peer_id, other.parts.host.peer_id)
        testnet.nodes = [lonely]
        await testnet.wait(lambda node: node.head.height >= behind + 10)


async def test_a_transaction_that_gossip_loses_altogether_is_pulled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lose(host: MemoryHost, topic: str, data: bytes) -> None:
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(MemoryHost, "publish", lose)
    monkeypatch.setattr("node.core.RECONCILIATION_INTERVAL_S", 0.2)
    async with memory_testnet(tmp_path, trainers=0) as testnet:
        await testnet.wait(lambda node: len(node._peer_ids()) == 3)
        # The nonces before it are missing, so it waits.
        early = Transaction(testnet.genesis.chain_id, KEYS[0].address, 7, Transfer(KEYS[1].address, 1))
        transaction = encode(early.sign(KEYS[0]))
        await testnet.nodes[0].spread(transaction)
        await testnet.wait(lambda node: transaction in node.mempool)
