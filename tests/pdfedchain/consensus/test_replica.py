"""The replica between messages, timers and storage: pacing, voting, catching up, stopping."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pdfedchain.application import Judgement
from pdfedchain.consensus.effects import (
    BehindPeer,
    BlockRefused,
    Broadcast,
    Committed,
    Effect,
    Evidence,
    PeerFault,
    Relay,
    ScoreOverridden,
    SendTo,
    SigningRefused,
    StartTimer,
)
from pdfedchain.consensus.inputs import Timer, TimerKind
from pdfedchain.consensus.messages import (
    CertificateMessage,
    FinalBlockMessage,
    ProposalMessage,
    RoundStatus,
    VoteMessage,
    VotesMessage,
)
from pdfedchain.consensus.repair import ANSWER_INTERVAL_MS, Answers
from pdfedchain.consensus.replica import Replica
from pdfedchain.errors import NotFound, StateError
from pdfedchain.ids import Hash
from pdfedchain.store.memory import MemoryStore
from pdfedchain.testing.counter import CounterApplication
from pdfedchain.testing.simulator import START_MS, make_genesis, make_keys
from pdfedchain.types.block import Block, FinalBlock
from pdfedchain.types.genesis import ChainParameters
from pdfedchain.types.vote import Proposal, Vote, VoteKind
from tests.pdfedchain.consensus.world import (
    KEYS,
    PRECOMMIT,
    PREVOTE,
    B,
    Home,
    block_of,
    certificate,
    of_type,
    proposed,
    proposer_of,
    vote,
)

PEER = "peer"


def own_votes(effects: tuple[Effect, ...]) -> list[tuple[int, VoteKind, Hash | None]]:
    messages = [e.message for e in of_type(effects, Broadcast) if isinstance(e.message, VoteMessage)]
    return [(m.vote.round, m.vote.kind, m.vote.block) for m in messages]


def timers(effects: tuple[Effect, ...]) -> dict[TimerKind, int]:
    return {e.timer.kind: e.delay_ms for e in of_type(effects, StartTimer)}


def started(home: Home, *, after_ms: int = 1_000) -> Replica:
    """A replica that is idle at height 1 with the minimum interval behind it."""
    replica = home.replica()
    replica.start()
    home.now_ms += after_ms
    return replica


def votes_of(kind: VoteKind, block: Hash | None, *members: int, round_: int = 0) -> VotesMessage:
    return VotesMessage(tuple(vote(KEYS[m], kind, block, round_=round_) for m in members))


def decide(replica: Replica, block: Block) -> tuple[Effect, ...]:
    effects = replica.on_message(proposed(block), PEER)
    effects += replica.on_message(votes_of(PREVOTE, block.hash, 1, 2, 3), PEER)
    return effects + replica.on_message(votes_of(PRECOMMIT, block.hash, 1, 2, 3), PEER)


# -- pacing -------------------------------------------------------------------------------------------------------


def test_an_idle_chain_is_quiet_until_the_heartbeat() -> None:
    home = Home()
    assert home.replica().start() == (StartTimer(Timer(1, 0, TimerKind.HEARTBEAT), 15_000),)


def test_an_open_deadline_shortens_the_heartbeat() -> None:
    class Open(CounterApplication):
        def has_open_deadline(self, state: object) -> bool:
            return True

    assert timers(Home(application=Open()).replica().start()) == {TimerKind.HEARTBEAT: 2_000}


def test_the_heartbeat_starts_the_height() -> None:
    home = Home()
    replica = started(home, after_ms=15_000)
    effects = replica.on_timeout(Timer(1, 0, TimerKind.HEARTBEAT))
    assert timers(effects) == {TimerKind.PROPOSE: 3_000, TimerKind.REBROADCAST: 1_000}
    assert replica.step == "propose"


def test_transactions_start_the_height_when_the_interval_has_passed() -> None:
    home = Home(me=1)
    replica = started(home, after_ms=200)
    home.pool = [b"x"]
    assert timers(replica.on_transactions_waiting()) == {TimerKind.INTERVAL: 300}
    assert replica.on_transactions_waiting() == ()
    home.now_ms += 300
    sent = of_type(replica.on_timeout(Timer(1, 0, TimerKind.INTERVAL)), Broadcast)[0].message
    assert isinstance(sent, ProposalMessage)
    assert sent.block.body.transactions == (b"x",)
    assert sent.block.header.time_ms == START_MS + 500


def test_a_timer_that_fires_early_is_started_again() -> None:
    home = Home()
    replica = started(home, after_ms=100)
    replica.on_transactions_waiting()
    assert timers(replica.on_timeout(Timer(1, 0, TimerKind.INTERVAL))) == {TimerKind.INTERVAL: 400}


def test_a_proposal_starts_the_height_at_once() -> None:
    replica = started(Home(), after_ms=0)
    block = block_of(0)
    assert own_votes(replica.on_message(proposed(block), PEER)) == [(0, PREVOTE, block.hash)]


def test_a_vote_starts_the_height_after_the_interval() -> None:
    home = Home()
    replica = started(home, after_ms=0)
    effects = replica.on_message(VoteMessage(vote(KEYS[1], PREVOTE, None)), PEER)
    assert timers(effects) == {TimerKind.INTERVAL: 500}
    assert replica.step == "new"


def test_a_vote_of_a_later_round_starts_the_height_at_once() -> None:
    replica = started(Home(), after_ms=0)
    replica.on_message(VoteMessage(vote(KEYS[1], PREVOTE, None, round_=1)), PEER)
    assert replica.step == "propose"


def test_a_neighbour_that_has_begun_is_a_reason() -> None:
    replica = started(Home())
    status = replace(replica.status(), begun=True, step=1)
    assert TimerKind.PROPOSE in timers(replica.on_message(status, PEER))


def test_a_neighbour_that_idles_is_none() -> None:
    replica = started(Home())
    assert replica.on_message(replica.status(), PEER) == ()


def test_stale_timers_are_ignored() -> None:
    replica = started(Home())
    for kind in TimerKind:
        assert replica.on_timeout(Timer(7, 0, kind)) == ()
    assert replica.on_timeout(Timer(1, 3, TimerKind.PREVOTE)) == ()
    assert replica.step == "new"


# -- one authority ------------------------------------------------------------------------------------------------


def alone() -> Home:
    keys = make_keys(1)
    return Home(genesis=make_genesis(keys, ChainParameters()), keys=keys)


def test_one_authority_decides_in_one_call() -> None:
    home = alone()
    replica = started(home)
    home.pool = [b"x"]
    effects = replica.on_transactions_waiting()
    assert [c.final.block.body.transactions for c in of_type(effects, Committed)] == [(b"x",)]
    assert timers(effects) == {TimerKind.HEARTBEAT: 15_000}
    assert (home.store.height(), replica.height) == (1, 2)


def test_produce_waits_for_nothing_and_time_goes_on() -> None:
    home = alone()
    replica = home.replica()
    replica.start()
    times = []
    for _ in range(60):
        times += [c.final.block.header.time_ms for c in of_type(replica.produce(), Committed)]
    assert times == [START_MS + 500 * (n + 1) for n in range(60)]


# -- voting -------------------------------------------------------------------------------------------------------


def test_a_decision_is_stored_before_it_is_told() -> None:
    home = Home()
    replica = started(home)
    block = block_of(0, transactions=(b"x",))
    (committed,) = of_type(decide(replica, block), Committed)
    assert home.store.final_block(1) == committed.final
    committed.final.certificate.verify("simulated", home.genesis.authorities)
    assert home.store.state().root == block.header.state_root


def test_news_are_relayed_and_known_messages_do_nothing() -> None:
    replica = started(Home())
    block = block_of(0)
    for message in (proposed(block), VoteMessage(vote(KEYS[1], PREVOTE, block.hash))):
        assert Relay(PEER, message) in replica.on_message(message, PEER)
        assert replica.on_message(message, PEER) == ()


def test_a_follower_signs_nothing() -> None:
    home = Home(me=None)
    effects = decide(started(home), block_of(0))
    assert own_votes(effects) == []
    assert home.store.height() == 1


def test_a_key_that_is_no_authority_follows() -> None:
    stranger = make_keys(5)
    home = Home(
        me=next(i for i, k in enumerate(stranger) if k.address not in Home().genesis.authorities), keys=stranger
    )
    assert own_votes(decide(started(home), block_of(0))) == []
    assert home.store.height() == 1


@pytest.mark.parametrize("distance_ms", [-15_001, 15_001])
def test_a_header_far_from_the_own_clock_is_prevoted_nil(distance_ms: int) -> None:
    home = Home()
    replica = home.replica()
    home.now_ms = START_MS + 60_000
    replica.start()
    block = block_of(0, time_ms=home.now_ms + distance_ms)
    assert own_votes(replica.on_message(proposed(block), PEER)) == [(0, PREVOTE, None)]


@pytest.mark.parametrize("distance_ms", [-15_000, 15_000])
def test_a_header_within_the_bound_is_prevoted(distance_ms: int) -> None:
    home = Home()
    replica = home.replica()
    home.now_ms = START_MS + 60_000
    replica.start()
    block = block_of(0, time_ms=home.now_ms + distance_ms)
    assert own_votes(replica.on_message(proposed(block), PEER)) == [(0, PREVOTE, block.hash)]


def test_a_structurally_invalid_block_is_refused_with_its_reason() -> None:
    replica = started(Home())
    block = block_of(0)
    wrong = Block(replace(block.header, state_root=Hash(bytes(32))), block.body)
    effects = replica.on_message(proposed(wrong), PEER)
    (refused,) = of_type(effects, BlockRefused)
    assert (refused.height, refused.block, refused.proposer) == (1, wrong.hash, wrong.header.proposer)
    assert "state root" in refused.reason
    assert own_votes(effects) == [(0, PREVOTE, None)]


def test_equivocation_is_reported_with_both_messages() -> None:
    replica = started(Home())
    one, two = vote(KEYS[1], PREVOTE, None), vote(KEYS[1], PREVOTE, B)
    replica.on_message(VoteMessage(one), PEER)
    effects = replica.on_message(VoteMessage(two), PEER)
    assert of_type(effects, Evidence) == [Evidence(KEYS[1].address, one, two)]


def settling(opinion: Judgement, me: int = 0) -> tuple[Home, CounterApplication, list[Judgement]]:
    opinions = [opinion]
    application = CounterApplication(opinion=lambda _: opinions[-1], settles=lambda _: b"one")
    return Home(me, application=application), application, opinions


def test_a_proposal_signed_twice_is_no_equivocation_and_hides_none() -> None:
    first, second = proposed(block_of(0)), proposed(block_of(0, transactions=(b"x",)))
    replica = Home().replica(signature=lambda message: None)  # one key can make many signatures of one text
    replica.start()
    twin = replace(first, proposal=replace(first.proposal, signature=bytes(64)))
    replica.on_message(first, PEER)
    assert replica.on_message(twin, PEER) == ()
    assert of_type(replica.on_message(second, PEER), Evidence) == [
        Evidence(proposer_of(0).address, first.proposal, second.proposal)
    ]


def test_the_block_of_a_second_proposal_is_not_kept() -> None:
    home = Home()
    replica, first, second = started(home), proposed(block_of(0)), proposed(block_of(0, transactions=(b"x",)))
    replica.on_message(first, PEER)
    replica.on_message(second, PEER)
    same_round = status(has_proposal=True, prevotes=b"\xff")
    assert answers(replica, replace(same_round, wanted=second.block.hash)) == []
    assert answers(replica, replace(same_round, wanted=first.block.hash)) == [first]
    replica.on_message(votes_of(PREVOTE, second.block.hash, 1, 2, 3), PEER)
    assert replica.status().wanted == second.block.hash
    replica.on_message(second, PEER)
    assert replica.status().wanted is None
    home.now_ms += ANSWER_INTERVAL_MS
    assert second in answers(replica, replace(same_round, wanted=second.block.hash))


def test_a_pending_opinion_is_asked_again_when_told() -> None:
    home, application, opinions = settling(Judgement.PENDING)
    replica = started(home)
    block = block_of(0, application=application)
    assert own_votes(replica.on_message(proposed(block), PEER)) == []
    assert replica.on_judgement_changed() == ()
    opinions.append(Judgement.VALID)
    assert own_votes(replica.on_judgement_changed()) == [(0, PREVOTE, block.hash)]
    assert replica.on_judgement_changed() == ()


def test_a_dispute_is_overridden_by_the_others_and_reported() -> None:
    home, application, _ = settling(Judgement.INVALID)
    block = block_of(0, application=application)
    effects = decide(started(home), block)
    assert own_votes(effects) == [(0, PREVOTE, None), (0, PRECOMMIT, block.hash)]
    assert of_type(effects, ScoreOverridden) == [ScoreOverridden(1, block.hash)]
    assert home.store.height() == 1


def test_the_proposer_learns_that_its_round_zero_failed() -> None:
    home, application, _ = settling(Judgement.VALID, me=1)
    replica = started(home)
    assert of_type(replica.produce(), Broadcast), "member 1 proposes in round 0"
    replica.on_message(votes_of(PREVOTE, None, 2, 3, round_=1), PEER)
    assert application.failed == [(1, b"one")]


def test_a_failed_proposal_of_another_teaches_nothing() -> None:
    home, application, _ = settling(Judgement.INVALID)
    replica = started(home)
    replica.on_message(proposed(block_of(0, application=application)), PEER)
    replica.on_message(votes_of(PREVOTE, None, 1, 2, round_=1), PEER)
    assert replica.round == 1
    assert application.failed == []


def test_on_entering_a_later_round_the_reason_is_told() -> None:
    replica = started(Home())
    replica.on_message(proposed(block_of(0)), PEER)
    replica.on_message(votes_of(PREVOTE, None, 1, 2), PEER)
    replica.on_message(votes_of(PRECOMMIT, None, 1, 2, 3), PEER)
    effects = replica.on_timeout(Timer(1, 0, TimerKind.PRECOMMIT))
    assert Broadcast(votes_of(PRECOMMIT, None, 1, 2, 3)) in effects
    assert replica.round == 1


def locked_in_round(round_: int) -> tuple[Replica, Block, tuple[Effect, ...]]:
    """Member 0 has locked a block of round 0 and is lifted into this round."""
    replica, block = started(Home()), block_of(0)
    replica.on_message(proposed(block), PEER)
    replica.on_message(votes_of(PREVOTE, block.hash, 1, 2), PEER)
    return replica, block, replica.on_message(votes_of(PREVOTE, None, 1, 2, round_=round_), PEER)


def test_a_lock_is_shown_by_its_polka_on_entering_a_round() -> None:
    _, block, effects = locked_in_round(1)
    messages = [e.message for e in of_type(effects, Broadcast)]
    assert CertificateMessage(certificate(PREVOTE, block.hash)) in messages
    assert proposed(block) not in messages


def test_a_hidden_lock_is_shown_with_its_block_from_round_two_on() -> None:
    _, block, effects = locked_in_round(2)
    assert Broadcast(proposed(block)) in effects


def test_a_locked_proposer_proposes_its_block_again_with_the_polka() -> None:
    _, block, effects = locked_in_round(3)
    again = [e.message for e in of_type(effects, Broadcast) if isinstance(e.message, ProposalMessage)]
    mine = [m for m in again if m.proposal.round == 3]
    assert [(m.proposal.valid_round, m.block, m.polka) for m in mine] == [(0, block, certificate(PREVOTE, block.hash))]


def test_own_votes_and_status_are_repeated_while_a_round_lasts() -> None:
    replica = started(Home())
    block = block_of(0)
    first = replica.on_message(proposed(block), PEER)
    effects = replica.on_timeout(Timer(1, 0, TimerKind.REBROADCAST))
    assert own_votes(effects) == own_votes(first)
    assert Broadcast(replica.status()) in effects
    assert timers(effects) == {TimerKind.REBROADCAST: 1_000}


def test_messages_of_the_next_height_wait_for_it() -> None:
    home = Home()
    replica = started(home)
    early = vote(KEYS[3], PREVOTE, None, height=2)
    assert replica.on_message(VoteMessage(early), PEER)  # idle: it tells where it is
    effects = decide(replica, block_of(0))
    assert Relay(PEER, VoteMessage(early)) in effects
    assert replica.status().prevotes == b"\x08"


def test_a_fault_found_late_is_still_told() -> None:
    replica = started(Home())
    forged = replace(vote(KEYS[3], PREVOTE, None, height=2), signature=bytes(64))
    replica.on_message(VoteMessage(forged), "liar")
    (fault,) = of_type(decide(replica, block_of(0)), PeerFault)
    assert fault.peer == "liar"


def test_one_fault_ends_what_is_looked_at_of_a_neighbour_and_not_of_others() -> None:
    checked: list[object] = []

    def check(message: Vote | Proposal) -> None:
        checked.append(message)
        message.verify()

    replica = Home().replica(signature=check)
    replica.start()
    forged = [replace(vote(key, PREVOTE, None, height=2), signature=bytes(64)) for key in KEYS[1:]]
    good = vote(KEYS[3], PREVOTE, None, height=2)
    for message in forged:
        replica.on_message(VoteMessage(message), "liar")
    replica.on_message(VoteMessage(good), "honest")
    effects = decide(replica, block_of(0))
    assert [fault.peer for fault in of_type(effects, PeerFault)] == ["liar"]
    assert Relay("honest", VoteMessage(good)) in effects
    assert [one for one in forged if one in checked] == forged[:1]


def test_messages_of_past_heights_are_ignored() -> None:
    replica = started(Home())
    block = block_of(0)
    decide(replica, block)
    assert replica.on_message(proposed(block), PEER) == ()
    assert replica.on_message(VoteMessage(vote(KEYS[1], PRECOMMIT, block.hash)), PEER) == ()


# -- catching up --------------------------------------------------------------------------------------------------


def final_of(block: Block) -> FinalBlock:
    return FinalBlock(block, certificate(PRECOMMIT, block.hash))


def test_a_final_block_from_a_neighbour_is_taken() -> None:
    home = Home()
    effects = started(home).on_message(FinalBlockMessage(final_of(block_of(0))), PEER)
    assert [c.final.block.header.height for c in of_type(effects, Committed)] == [1]


def test_a_neighbour_further_ahead_is_reported() -> None:
    replica = started(Home())
    assert replica.on_message(replace(replica.status(), height=9), PEER) == (BehindPeer(PEER, 8),)


def test_a_syncing_node_neither_votes_nor_reacts() -> None:
    home = Home()
    replica = started(home)
    replica.begin_sync()
    block = block_of(0)
    assert decide(replica, block) == ()
    assert replica.on_timeout(Timer(1, 0, TimerKind.HEARTBEAT)) == ()
    assert replica.on_transactions_waiting() == ()
    assert replica.on_judgement_changed() == ()
    assert replica.produce() == ()
    effects = replica.apply_synced(final_of(block))
    assert [type(e) for e in effects] == [Committed]
    assert home.signer.signed(1) == ()
    assert timers(replica.end_sync()) == {TimerKind.HEARTBEAT: 15_000}


def test_an_interrupted_sync_goes_on_where_voting_stopped() -> None:
    replica = started(Home())
    block = block_of(0)
    replica.on_message(proposed(block), PEER)
    replica.begin_sync()
    effects = replica.end_sync()
    assert own_votes(effects) == [(0, PREVOTE, block.hash)]
    assert timers(effects) == {TimerKind.PROPOSE: 3_000, TimerKind.REBROADCAST: 1_000}


def test_a_final_block_that_is_invalid_here_stops_the_node() -> None:
    home = Home()
    block = block_of(0)
    wrong = Block(replace(block.header, state_root=Hash(bytes(32))), block.body)
    with pytest.raises(StateError, match="state root"):
        started(home).apply_synced(final_of(wrong))
    assert home.store.height() == 0


def test_a_commit_of_a_block_that_is_invalid_here_stops_the_node() -> None:
    home = Home()
    replica = started(home)
    block = block_of(0)
    wrong = Block(replace(block.header, state_root=Hash(bytes(32))), block.body)
    replica.on_message(proposed(wrong), PEER)
    with pytest.raises(StateError, match="which this node finds invalid"):
        replica.on_message(CertificateMessage(certificate(PRECOMMIT, wrong.hash, keys=KEYS[1:])), PEER)
    assert home.store.height() == 0


def test_a_new_neighbour_is_told_where_we_are() -> None:
    replica = started(Home())
    assert replica.on_peer_connected(PEER) == (SendTo(PEER, replica.status()),)


# -- storage ------------------------------------------------------------------------------------------------------


def test_an_empty_store_is_refused() -> None:
    with pytest.raises(StateError, match="holds no chain yet"):
        Home().replica(store=MemoryStore())


def test_a_key_needs_a_signer_record() -> None:
    with pytest.raises(StateError, match="come together"):
        Home().replica(signer=None)


def test_what_the_record_forbids_is_not_said() -> None:
    home = Home()
    home.signer.sign(9, 0, 1, block=None, message=b"another life", key=KEYS[0])
    effects = started(home).on_message(proposed(block_of(0)), PEER)
    assert own_votes(effects) == []
    assert [e.height for e in of_type(effects, SigningRefused)] == [1]


def test_a_log_of_another_height_is_forgotten() -> None:
    home = Home()
    home.log.begin(5)
    home.log.append(b"something of another height")
    decide(started(home), block_of(0))
    assert home.log.height == 1


def test_a_log_of_another_program_is_refused() -> None:
    home = Home()
    home.log.begin(1)
    home.log.append(b"nothing that we wrote")
    with pytest.raises(StateError, match="cannot be read"):
        home.replica().start()


def test_a_restarted_node_starts_at_its_last_final_block() -> None:
    home = Home()
    decide(started(home), block_of(0, transactions=(b"x",)))
    replica = home.replica()
    replica.start()
    assert replica.height == 2
    assert CounterApplication.count(replica.position.state) == 1


def status(**changed: object) -> RoundStatus:
    blank = RoundStatus(1, 0, True, 1, False, b"\x00", b"\x00", 0, None)
    return replace(blank, **changed)  # type: ignore[arg-type]


def answers(replica: Replica, said: RoundStatus) -> list[object]:
    return [e.message for e in of_type(replica.on_message(said, PEER), SendTo)]


def in_round_zero() -> tuple[Replica, Block, Vote]:
    replica, block = started(Home()), block_of(0)
    replica.on_message(proposed(block), PEER)
    return replica, block, vote(KEYS[0], PREVOTE, block.hash)


def test_what_a_neighbour_lacks_is_sent() -> None:
    replica, block, own = in_round_zero()
    assert answers(replica, status()) == [proposed(block), VotesMessage((own,))]


def test_what_a_neighbour_has_is_not_sent() -> None:
    replica, _, _ = in_round_zero()
    assert answers(replica, status(has_proposal=True, prevotes=b"\x01")) == []


def test_answers_to_one_neighbour_are_rare() -> None:
    home = Home()
    replica, block = started(home), block_of(0)
    replica.on_message(proposed(block), PEER)
    assert answers(replica, status()) != []
    assert answers(replica, status()) == []
    home.now_ms += 250
    assert answers(replica, status()) != []


def test_a_neighbour_in_an_earlier_round_gets_the_reason_to_leave_it() -> None:
    replica, block, _ = locked_in_round(2)
    polka = CertificateMessage(certificate(PREVOTE, block.hash))
    assert answers(replica, status()) == [polka, votes_of(PREVOTE, None, 1, 2, round_=2)]


def test_a_neighbour_in_want_of_a_block_gets_it() -> None:
    replica, block, _ = locked_in_round(2)
    same_round = status(round=2, has_proposal=True, prevotes=b"\xff", valid_round=1, wanted=block.hash)
    assert answers(replica, same_round) == [proposed(block)]


@pytest.mark.parametrize("ahead", [status(round=5), status(height=2)])
def test_a_neighbour_ahead_is_told_where_we_are(ahead: RoundStatus) -> None:
    replica, _, _ = in_round_zero()
    assert answers(replica, ahead) == [replica.status()]


def test_a_neighbour_one_height_behind_gets_the_final_block() -> None:
    home = Home()
    replica = started(home)
    decide(replica, block_of(0))
    assert answers(replica, status()) == [FinalBlockMessage(home.store.final_block(1))]


def test_a_block_is_read_once_however_often_it_is_lacked() -> None:
    home = Home()
    replica = started(home)
    decide(replica, block_of(0))
    read: list[int] = []
    final_block = home.store.final_block

    def counted(height: int) -> FinalBlock:
        read.append(height)
        return final_block(height)

    home.store.final_block = counted  # type: ignore[method-assign]
    sent = [len(replica.on_message(status(), str(peer))) for peer in range(20) for _ in range(5)]
    assert (sum(sent), read) == (20, [1])


def test_what_is_not_answered_is_not_read() -> None:
    reads: list[int] = []

    class Emptied(MemoryStore):
        def final_block(self, height: int) -> FinalBlock:
            reads.append(height)
            raise NotFound("pruned")

    home = Home()
    replica = started(home)
    decide(replica, block_of(0))
    answers_ = Answers(lambda: home.now_ms, Emptied())
    assert answers_.to(PEER, lambda: [replica.status()]) != []
    assert answers_.to_status(PEER, status(), replica._run) == []
    assert reads == []
    assert answers_.to_status("other", status(), replica._run) == []
    assert reads == [1]


def test_neighbours_answered_long_ago_are_not_remembered() -> None:
    home = Home()
    replica = started(home)
    limiter = Answers(lambda: home.now_ms, home.store)
    for peer in range(1_000):
        limiter.to(str(peer), lambda: [replica.status()])
        home.now_ms += ANSWER_INTERVAL_MS // 10
    assert len(limiter._answered_ms) <= 10


def test_a_neighbour_far_behind_is_told_how_far() -> None:
    home = alone()
    replica = home.replica()
    replica.start()
    for _ in range(3):
        replica.produce()
    assert answers(replica, status()) == [replica.status()]


def test_a_forged_polka_is_neither_counted_nor_handed_on_where_the_true_one_is_known() -> None:
    replica, block, _ = locked_in_round(1)
    true = certificate(PREVOTE, block.hash)
    others = certificate(PREVOTE, block.hash, keys=KEYS[1:])
    false = replace(others, signatures=tuple(replace(entry, signature=bytes(64)) for entry in others.signatures))
    effects = replica.on_message(proposed(block, round_=1, valid_round=0, polka=false), PEER)
    again = proposed(block, round_=1, valid_round=0, polka=true)
    assert [relay.message for relay in of_type(effects, Relay)] == [again]
    tally = replica._run.engine.tally
    assert {each.voter for each in tally.votes(0, PREVOTE)} == {key.address for key in KEYS[:3]}
    assert tally.certificate(0, PREVOTE) == true
    assert replica._run.message_with(block.hash) == proposed(block)


def test_a_forged_polka_accuses_nobody() -> None:
    replica, block = started(Home()), block_of(0)
    replica.on_message(votes_of(PREVOTE, None, 1, 2, 3), PEER)
    replica.on_message(votes_of(PREVOTE, None, 1, 2, round_=1), PEER)
    false = replace(certificate(PREVOTE, None, keys=KEYS[1:]), block=block.hash)
    effects = replica.on_message(proposed(block, round_=1, valid_round=0, polka=false), PEER)
    assert of_type(effects, Evidence) == []
    assert [relay.message for relay in of_type(effects, Relay)] == [proposed(block, round_=1, valid_round=0)]


def test_a_misdated_proposal_is_handed_on_without_the_polka_of_another_block() -> None:
    """Its proposer claims a valid round that had a polka for something else; nobody may blame us for that."""
    replica, block = started(Home()), block_of(0)
    replica.on_message(votes_of(PREVOTE, None, 1, 2, 3), PEER)
    replica.on_message(votes_of(PRECOMMIT, None, 1, 2, 3, round_=0), PEER)
    replica.on_message(votes_of(PREVOTE, None, 1, 2, round_=1), PEER)
    replica.on_message(proposed(block, round_=1, valid_round=0), PEER)
    handed_on = [m for m in answers(replica, status(round=1)) if isinstance(m, ProposalMessage)]
    assert [(m.proposal.round, m.polka) for m in handed_on] == [(1, None)]
