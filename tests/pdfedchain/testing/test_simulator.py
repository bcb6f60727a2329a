"""Whole chains in virtual time: many seeds of chaos, and the scenarios that have a name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pdfedchain.application import Judgement
from pdfedchain.consensus.effects import Evidence, ScoreOverridden
from pdfedchain.consensus.messages import CertificateMessage, Message, RoundStatus, VoteMessage, VotesMessage
from pdfedchain.testing.byzantine import LIARS, Actor, EquivocatesVotes, RepeatsNil, Silent, Situation, VotesForAll
from pdfedchain.testing.counter import CounterApplication
from pdfedchain.testing.invariants import InvariantBroken, Observer
from pdfedchain.testing.simulator import START_MS, Links, Simulator
from pdfedchain.types.block import FinalBlock
from pdfedchain.types.genesis import ChainParameters
from pdfedchain.types.vote import VoteKind
from tests.pdfedchain.consensus.world import (
    AUTHORITIES,
    GENESIS,
    KEYS,
    PRECOMMIT,
    PREVOTE,
    A,
    B,
    block_of,
    certificate,
    vote,
)

BRISK = ChainParameters(heartbeat_idle_ms=1_500)


@pytest.mark.parametrize("liar", LIARS)
@pytest.mark.parametrize("size", [4, 7])
def test_f_liars_of_each_kind_stop_nothing(liar: Callable[[Situation], Actor], size: int) -> None:
    byzantine = dict.fromkeys(range(1, 1 + (size - 1) // 3), liar)
    simulator = Simulator(seed=11, size=size, byzantine=byzantine, parameters=BRISK, links=Links(relay=True))
    simulator.start()
    assert simulator.run_to_height(6, limit_ms=120_000)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_an_honest_chain_decides_in_round_zero(size: int) -> None:
    simulator = Simulator(seed=2, size=size, parameters=BRISK)
    simulator.start()
    assert simulator.run_to_height(5, limit_ms=10_000)
    finals = [node.store.final_block(height) for node in simulator.nodes for height in range(1, 6)]
    assert {final.certificate.round for final in finals} == {0}


@pytest.mark.parametrize(("size", "silent"), [(2, 1), (3, 1), (4, 2), (7, 3)])
def test_more_than_f_silent_nodes_stall_the_chain(size: int, silent: int) -> None:
    simulator = Simulator(seed=1, size=size, byzantine=dict.fromkeys(range(silent), Silent), parameters=BRISK)
    simulator.start()
    simulator.run_ms(120_000)
    assert simulator.height == 0


def test_more_than_f_promiscuous_nodes_stall_or_decide_but_the_lone_honest_half_never_forks_by_itself() -> None:
    """Two of four vote for everything: with honest proposers there is still only one block to vote for."""
    simulator = Simulator(seed=1, size=4, byzantine=dict.fromkeys((0, 1), VotesForAll), parameters=BRISK)
    simulator.start()
    simulator.run_ms(60_000)
    assert simulator.height > 0


def test_a_minority_stalls_while_the_majority_goes_on_and_catches_up_afterwards() -> None:
    simulator = Simulator(seed=4, size=4, parameters=BRISK)
    simulator.start()
    simulator.run_to_height(2, limit_ms=20_000)
    simulator.partition({0}, {1, 2, 3})
    simulator.run_ms(30_000)
    assert simulator.nodes[0].store.height() <= 3
    assert simulator.height >= 8
    simulator.heal()
    assert simulator.run_to_height(simulator.height + 2, limit_ms=20_000)


def test_halves_stall_and_resume() -> None:
    simulator = Simulator(seed=4, size=4, parameters=BRISK)
    simulator.start()
    simulator.run_to_height(2, limit_ms=20_000)
    simulator.partition({0, 1}, {2, 3})
    simulator.run_ms(5_000)
    before = simulator.height
    simulator.run_ms(60_000)
    assert simulator.height == before
    simulator.heal()
    assert simulator.run_to_height(before + 3, limit_ms=60_000)


def test_an_idle_chain_makes_a_block_per_heartbeat_and_says_little_between() -> None:
    simulator = Simulator(seed=1, size=4)
    simulator.start()
    simulator.run_ms(151_000)
    assert simulator.height == 10
    assert simulator.events < 10 * 4 * 15


def test_a_transaction_known_to_one_node_gets_in() -> None:
    simulator = Simulator(seed=1, size=4)
    simulator.start()
    simulator.run_ms(1_000)
    simulator.submit(b"x", to=[3])
    assert simulator.run_to_height(1, limit_ms=14_000)
    simulator.run_ms(40_000)
    counts = {CounterApplication.count(node.store.state()) for node in simulator.nodes}
    assert counts == {1}


def test_waiting_transactions_start_blocks_at_the_minimum_interval() -> None:
    simulator = Simulator(seed=1, size=4, links=Links(delay_ms=(1, 5)))
    simulator.start()
    for number in range(20):
        simulator.submit(b"transaction %d" % number, to=range(4))
        simulator.run_ms(500)
    assert 15 <= simulator.height <= 20
    assert CounterApplication.count(simulator.nodes[0].store.state()) >= 18


def test_equivocation_is_seen_by_the_honest() -> None:
    simulator = Simulator(seed=1, size=4, byzantine={2: EquivocatesVotes}, parameters=BRISK, links=Links(relay=True))
    simulator.start()
    simulator.run_to_height(4, limit_ms=60_000)
    culprits = {e.culprit for node in simulator.honest for e in node.seen if isinstance(e, Evidence)}
    assert culprits == {simulator.nodes[2].key.address}


def test_a_liar_that_repeats_one_vote_for_nil_hides_no_polka_from_others() -> None:
    """Node 2 locks a block whose polka nodes 1 and 3 do not see; node 0 says nil for it over and over, then nothing."""
    simulator = Simulator(seed=5, size=4, byzantine={0: RepeatsNil}, parameters=replace(BRISK, timeout_max_ms=2_000))
    simulator.network.cut(2, 1)
    simulator.network.cut(2, 3)
    simulator.start()
    simulator.run_ms(60_000)
    replicas = [node.replica for node in simulator.nodes[1:]]
    assert simulator.height == 0
    assert all(replica is not None and replica.round > 6 for replica in replicas)
    assert simulator.counts["L38"] == 1
    simulator.crash(0, lose_tail=False)
    simulator.heal()
    assert simulator.run_to_height(2, limit_ms=60_000)


class SilentAfterPrevote(Silent):
    """Prevotes the first block honestly, towards the nodes that follow it in the list only, and is silent then."""

    def says(self, message: Message, recipient: int) -> tuple[Message, ...]:
        first = isinstance(message, VoteMessage) and message.vote.height == 1 and message.vote.round == 0
        prevote = first and isinstance(message, VoteMessage) and message.vote.kind is VoteKind.PREVOTE
        return (message,) if prevote and recipient in (0, 1) else ()


class Unrepaired(Simulator):
    """Node 2 gets no help with round 0: it never sees the polka in time."""

    def send(self, source: int, target: int, message: Message) -> None:
        early = self.now_ms < START_MS + 8_000
        if not (early and target == 2 and isinstance(message, RoundStatus | VotesMessage | CertificateMessage)):
            super().send(source, target, message)


def settling(disputing: int, verdict: Judgement) -> Callable[[int], CounterApplication]:
    def make(index: int) -> CounterApplication:
        opinion = verdict if index == disputing else Judgement.VALID
        return CounterApplication(opinion=lambda _: opinion, settles=lambda height: b"it" if height == 1 else b"")

    return make


@pytest.mark.parametrize("verdict", [Judgement.INVALID, Judgement.PENDING])
def test_a_disputed_settlement_with_locks_and_a_silent_node_ends(verdict: Judgement) -> None:
    """Two honest nodes lock a settling block, the third disputes it, the fourth falls silent: the height must end."""
    simulator = Unrepaired(
        seed=9,
        size=4,
        byzantine={3: SilentAfterPrevote},
        application=settling(2, verdict),
        parameters=BRISK,
    )
    simulator.start()
    assert simulator.run_to_height(2, limit_ms=60_000)
    final = simulator.nodes[0].store.final_block(1)
    assert final.block.body.extension == b"it"
    disputes = [e for e in simulator.nodes[2].seen if isinstance(e, ScoreOverridden)]
    assert len(disputes) == (1 if verdict is Judgement.INVALID else 0)
    assert final.certificate.round > 0
    proposer = final.block.header.proposer
    told = {node.key.address: node.application.failed for node in simulator.nodes[:3]}
    assert told == {address: [(1, b"it")] if address == proposer else [] for address in told}


def test_a_settlement_that_two_of_four_dispute_is_left_out() -> None:
    def make(index: int) -> CounterApplication:
        opinion = Judgement.INVALID if index >= 2 else Judgement.VALID
        return CounterApplication(opinion=lambda _: opinion, settles=lambda height: b"it" if height == 1 else b"")

    simulator = Simulator(seed=9, size=4, application=make, parameters=BRISK)
    simulator.start()
    assert simulator.run_to_height(2, limit_ms=60_000)
    final = simulator.nodes[0].store.final_block(1)
    assert (final.block.header.round, final.block.body.extension) == (1, b"")


def test_an_opinion_that_comes_in_time_saves_the_round() -> None:
    opinions = dict.fromkeys(range(4), Judgement.PENDING)
    opinions[1] = Judgement.VALID

    def make(index: int) -> CounterApplication:
        return CounterApplication(opinion=lambda _: opinions[index], settles=lambda height: b"it")

    simulator = Simulator(seed=9, size=4, application=make, parameters=BRISK)
    simulator.start()
    simulator.run_ms(2_500)
    assert simulator.height == 0
    for index in range(4):
        opinions[index] = Judgement.VALID
        simulator.poke(index, lambda replica: replica.on_judgement_changed())
    simulator.run_ms(500)
    assert simulator.height == 1
    assert simulator.nodes[0].store.final_block(1).certificate.round == 0


# -- the observer itself ------------------------------------------------------------------------------------------


def observer() -> Observer:
    return Observer(AUTHORITIES, frozenset(key.address for key in KEYS), GENESIS.hash)


def test_the_observer_sees_a_fork() -> None:
    watch = observer()
    for transactions in ((), (b"x",)):
        block = block_of(0, transactions=transactions)
        final = FinalBlock(block, certificate(PRECOMMIT, block.hash))
        if transactions:
            with pytest.raises(InvariantBroken, match="two final blocks"):
                watch.final(final, block.header.state_root)
        else:
            watch.final(final, block.header.state_root)


def test_the_observer_sees_a_small_certificate_a_foreign_parent_and_another_state() -> None:
    block = block_of(0)
    root = block.header.state_root
    with pytest.raises(InvariantBroken, match="2 of 4 signatures"):
        observer().final(FinalBlock(block, certificate(PRECOMMIT, block.hash, keys=KEYS[:2])), root)
    orphan = replace(block, header=replace(block.header, parent=A))
    with pytest.raises(InvariantBroken, match="does not extend"):
        observer().final(FinalBlock(orphan, certificate(PRECOMMIT, orphan.hash)), root)
    with pytest.raises(InvariantBroken, match="state roots differ"):
        observer().final(FinalBlock(block, certificate(PRECOMMIT, block.hash)), A)


def test_the_observer_sees_a_double_signature() -> None:
    watch = observer()
    watch.sent(VoteMessage(vote(KEYS[0], PREVOTE, A)))
    watch.sent(VoteMessage(vote(KEYS[0], PREVOTE, A)))
    with pytest.raises(InvariantBroken, match="signed twice"):
        watch.sent(VoteMessage(vote(KEYS[0], PREVOTE, None)))


def test_the_observer_sees_a_lock_ignored_and_accepts_a_justified_change() -> None:
    watch = observer()
    watch.sent(VoteMessage(vote(KEYS[0], PRECOMMIT, A)))
    with pytest.raises(InvariantBroken, match="was ignored"):
        watch.sent(VoteMessage(vote(KEYS[0], PREVOTE, B, round_=2)))
    justified = observer()
    justified.sent(VoteMessage(vote(KEYS[0], PRECOMMIT, A)))
    for key in KEYS[1:]:
        justified.sent(VoteMessage(vote(key, PREVOTE, B, round_=1)))
    justified.sent(VoteMessage(vote(KEYS[0], PREVOTE, B, round_=2)))
    assert justified.height == 0


def test_time_is_virtual() -> None:
    simulator = Simulator(seed=1, size=1)
    simulator.run_ms(10**12)
    assert simulator.now_ms == START_MS + 10**12
