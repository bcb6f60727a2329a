"""Power cuts at every point at which something becomes durable or leaves: nothing signed twice, no block lost."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import ClassVar

import pytest

from pdfedchain.application import Execution
from pdfedchain.consensus.effects import Broadcast, Committed, Effect, SigningRefused
from pdfedchain.consensus.inputs import Timer, TimerKind
from pdfedchain.consensus.messages import ProposalMessage, VoteMessage, VotesMessage
from pdfedchain.crypto import SigningKey
from pdfedchain.ids import Hash
from pdfedchain.store.signer import MemorySigner
from pdfedchain.store.wal import MemoryLog
from pdfedchain.testing.fuse import PowerCutError
from pdfedchain.testing.simulator import START_MS, Links, Simulator
from pdfedchain.types.block import FinalBlock
from pdfedchain.types.genesis import ChainParameters
from tests.pdfedchain.consensus.world import KEYS, PRECOMMIT, PREVOTE, Home, block_of, of_type, proposed, vote

PEER = "peer"
CUT = 1


def survive(point: int, *, size: int, lose_tail: bool, heights: int) -> int:
    """Cut the power of node `CUT` at this point, 0 for never; how many points there were."""
    simulator = Simulator(
        seed=5,
        size=size,
        links=Links(loss_precommit=0.5),
        parameters=ChainParameters(heartbeat_idle_ms=1_500),
    )
    node = simulator.nodes[CUT % size]
    simulator.arm(node.index, point, lose_tail=lose_tail)
    simulator.start()
    while not simulator.run_to_height(heights, limit_ms=60_000) or node.replica is None:
        assert node.replica is None
        simulator.restart(node.index)
    assert [effect for effect in node.seen if isinstance(effect, SigningRefused)] == []
    assert simulator.counts["power cut in the middle"] == (point > 0)
    return node.fuse.points


@pytest.mark.parametrize(("size", "heights"), [(1, 3), (4, 2)])
@pytest.mark.parametrize("lose_tail", [False, True])
def test_a_power_cut_at_every_point(size: int, heights: int, lose_tail: bool) -> None:
    whole = survive(0, size=size, lose_tail=lose_tail, heights=heights)
    assert whole > 10 * heights
    for point in range(1, whole + 1):
        survive(point, size=size, lose_tail=lose_tail, heights=heights)


def own(effects: tuple[Effect, ...]) -> list[object]:
    messages = [e.message for e in of_type(effects, Broadcast)]
    return [m for m in messages if isinstance(m, VoteMessage | ProposalMessage)]


def precommitted(home: Home) -> tuple[Hash, list[object]]:
    """Member 0 has prevoted and precommitted the block of round 0."""
    block = block_of(0)
    replica = home.replica()
    effects = replica.start() + replica.on_message(proposed(block), PEER)
    effects += replica.on_message(VotesMessage(tuple(vote(KEYS[m], PREVOTE, block.hash) for m in (1, 2))), PEER)
    return block.hash, own(effects)


def test_replay_says_the_same_again_and_appends_nothing() -> None:
    home = Home()
    _, said = precommitted(home)
    before = home.log.entries()
    effects = home.replica().start()
    assert own(effects) == said
    assert home.log.entries() == before


def test_timers_of_the_round_run_again_after_a_restart() -> None:
    home = Home()
    replica = home.replica()
    replica.start()
    home.now_ms += 15_000
    first = replica.on_timeout(Timer(1, 0, TimerKind.HEARTBEAT))
    again = home.replica().start()
    assert [e for e in again if e in first] == list(first)


def test_an_expired_timer_stays_expired() -> None:
    home = Home()
    replica = home.replica()
    replica.start()
    home.now_ms += 15_000
    replica.on_timeout(Timer(1, 0, TimerKind.HEARTBEAT))
    replica.on_timeout(Timer(1, 0, TimerKind.PROPOSE))
    again = home.replica()
    again.start()
    assert again.step == "prevote"


def test_an_expired_timer_that_led_to_no_signature_stays_expired_too() -> None:
    home = Home()
    replica = home.replica()
    replica.start()
    home.now_ms += 15_000
    replica.on_timeout(Timer(1, 0, TimerKind.HEARTBEAT))
    replica.on_message(VotesMessage(tuple(vote(KEYS[m], PRECOMMIT, None) for m in (1, 2, 3))), PEER)
    replica.on_timeout(Timer(1, 0, TimerKind.PRECOMMIT))
    again = home.replica()
    again.start()
    assert (again.round, again.step) == (1, "propose")


def test_all_that_a_signature_follows_from_is_durable_before_the_signer_is_asked() -> None:
    class Witness(MemorySigner):
        asked: ClassVar[list[int]] = []

        def sign(
            self, height: int, round_: int, step: int, *, block: Hash | None, message: bytes, key: SigningKey
        ) -> bytes:
            survives = copy.deepcopy(home.log)
            survives.crash()
            assert (survives.height, survives.entries()) == (home.log.height, home.log.entries())
            self.asked.append(step)
            return super().sign(height, round_, step, block=block, message=message, key=key)

    home = Home()
    home.signer = Witness()
    precommitted(home)
    assert Witness.asked == [PREVOTE, PRECOMMIT]


def test_a_proposer_proposes_the_same_block_after_a_restart() -> None:
    home = Home(me=1)
    replica = home.replica()
    replica.start()
    home.now_ms += 15_000
    said = own(replica.on_timeout(Timer(1, 0, TimerKind.HEARTBEAT)))
    home.now_ms += 777
    home.pool = [b"a transaction that came since"]
    assert own(home.replica().start()) == said


def test_a_decision_that_was_not_stored_is_stored_after_the_restart() -> None:
    home = Home()
    block, _ = precommitted(home)
    commits = VotesMessage(tuple(vote(KEYS[m], PRECOMMIT, block) for m in (1, 2)))

    def no_power(final: FinalBlock, execution: Execution) -> None:
        raise PowerCutError

    replica = home.replica()
    replica.start()
    commit, home.store.commit = home.store.commit, no_power  # type: ignore[method-assign]
    with pytest.raises(PowerCutError):
        replica.on_message(commits, PEER)
    home.store.commit = commit  # type: ignore[method-assign]
    effects = home.replica().start()
    assert [c.final.block.hash for c in of_type(effects, Committed)] == [block]
    assert home.store.height() == 1


def lose_all(log: MemoryLog) -> MemoryLog:
    return MemoryLog()


def lose_half(log: MemoryLog) -> MemoryLog:
    rest = MemoryLog()
    rest.begin(log.height or 0)
    for entry in log.entries()[:2]:
        rest.append(entry)
    return rest


@pytest.mark.parametrize("lose", [lose_all, lose_half])
def test_without_its_log_a_node_still_keeps_its_word(lose: Callable[[MemoryLog], MemoryLog]) -> None:
    home = Home()
    _, said = precommitted(home)
    home.log = lose(home.log)
    for _ in range(2):  # the second restart finds what the first has written
        replica = home.replica()
        assert own(replica.start()) == said
        assert (replica.round, replica.step) == (0, "precommit")
    lifted = replica.on_message(VotesMessage(tuple(vote(KEYS[m], PREVOTE, None, round_=1) for m in (1, 2))), PEER)
    assert replica.round == 1
    other = block_of(1, transactions=(b"another block",))
    effects = lifted + replica.on_message(proposed(other), PEER)
    votes = [m.vote for m in own(effects) if isinstance(m, VoteMessage)]
    assert [(v.round, v.kind, v.block) for v in votes] == [(1, PREVOTE, None), (1, PRECOMMIT, None)]


def test_without_its_log_one_authority_goes_on_in_the_next_round() -> None:
    simulator = Simulator(seed=1, size=1)
    simulator.start()
    node = simulator.nodes[0]
    node.signer.sign(1, 0, 0, block=Hash(bytes(32)), message=b"a proposal whose block is lost", key=node.key)
    simulator.lose_log(0)
    simulator.start()
    assert simulator.run_to_height(2, limit_ms=60_000)
    assert node.store.final_block(1).certificate.round == 1
    assert simulator.now_ms > START_MS
