"""A submission's way through the ledger, step by step and with everything that can go wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pdfedchain.crypto import hash_of
from pdfedchain.errors import InvalidBlock
from pdfedchain.state.events import (
    CheckpointAccepted,
    CheckpointHeld,
    CheckpointOpened,
    CheckpointRejected,
    CheckpointSubmitted,
    RevealOpened,
    ScoringStarted,
)
from pdfedchain.types.checkpoint import CheckpointStatus, RejectionReason
from pdfedchain.types.ledger import PrivateWindow
from pdfedchain.types.score import Unscorable, UnscorableReason
from tests.pdfedchain.ledger_world import GOOD, TASK, World, cid_of, digest_of, key_of, offer, varied

EVERYBODY = dict.fromkeys(range(4), GOOD)


def scoring_world(name: str = "one") -> World:
    world = World()
    world.submit(name)
    world.start_scoring(name)
    return world


def test_a_submission_is_held_scored_and_accepted() -> None:
    world = World()
    world.submit("one")
    assert [type(event) for event in world.events] == [CheckpointSubmitted]
    assert world.checkpoint("one").status is CheckpointStatus.SUBMITTED

    world.block(*((key, world.have("one")) for key in world.authorities[:2]))
    assert world.checkpoint("one").status is CheckpointStatus.SUBMITTED
    world.block((world.authorities[3], world.have("one")))
    held = world.checkpoint("one")
    assert (held.status, held.electorate) == (CheckpointStatus.HELD, world.genesis.authorities.members)
    assert isinstance(world.events[-1], CheckpointHeld)
    assert held.seed is None

    world.block()
    scoring = world.checkpoint("one")
    assert scoring.status is CheckpointStatus.SCORING
    assert scoring.seed is not None
    assert world.events == [ScoringStarted(cid_of("one"), scoring.seed)]

    world.commit("one", {0: GOOD, 1: GOOD, 2: GOOD})
    assert world.checkpoint("one").reveal_height == world.height + 1
    assert RevealOpened(cid_of("one"), world.height + 1) in world.events
    world.reveal("one", {0: GOOD, 1: GOOD, 2: GOOD})
    assert world.settle_all() == (cid_of("one"),)

    accepted = world.checkpoint("one")
    assert (accepted.status, accepted.report, accepted.reason) == (CheckpointStatus.ACCEPTED, GOOD, None)
    assert accepted.settled_height == world.height
    event = world.events[0]
    assert isinstance(event, CheckpointAccepted)
    assert event.best
    assert len(event.agreeing) == 3
    record = world.view.task_record(hash_of(TASK))
    assert (record.best, record.open, record.queue) == (cid_of("one"), (), ())
    assert world.view.open_count(hash_of(TASK), key_of("trainer").address) == 0


def test_the_seed_depends_on_the_block_after_the_have_quorum() -> None:
    early, late = World(), World()
    for world in (early, late):
        world.submit("one")
    late.block()
    for world in (early, late):
        world.start_scoring("one")
    assert early.checkpoint("one").seed != late.checkpoint("one").seed


def test_weights_nobody_can_fetch_are_rejected_when_blocks_and_time_have_passed() -> None:
    world = World()
    world.submit("one")
    world.block((world.authorities[0], world.have("one")))
    for _ in range(6):  # blocks, but not the time
        world.block()
    assert world.checkpoint("one").status is CheckpointStatus.SUBMITTED
    world.block(advance_ms=30_000)
    rejected = world.checkpoint("one")
    assert (rejected.status, rejected.reason) == (CheckpointStatus.REJECTED, RejectionReason.UNAVAILABLE)
    assert isinstance(world.events[0], CheckpointRejected)


def test_time_alone_does_not_pass_a_deadline() -> None:
    world = World()
    world.submit("one")
    world.block(advance_ms=10**9)
    assert world.checkpoint("one").status is CheckpointStatus.SUBMITTED


def test_no_agreement_by_the_deadline_is_a_disagreement() -> None:
    world = scoring_world()
    reports = {i: varied(confirmed=i) for i in range(4)}
    world.commit("one", reports)
    world.reveal("one", reports)
    assert world.settle_all() == ()
    for _ in range(10):
        world.block(advance_ms=10_000)
    assert world.checkpoint("one").reason is RejectionReason.DISAGREEMENT


def test_an_agreement_outlives_the_deadline_until_a_block_settles_it() -> None:
    world = scoring_world()
    world.commit("one", EVERYBODY)
    world.reveal("one", EVERYBODY)
    for _ in range(20):
        world.block(advance_ms=10_000)
    assert world.checkpoint("one").status is CheckpointStatus.SCORING
    world.settle_all()
    assert world.checkpoint("one").status is CheckpointStatus.ACCEPTED


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        (varied(fid_micro=1_000_001), RejectionReason.FID_CEILING),
        (varied(confirmed=11), RejectionReason.MEMORISATION_CEILING),
        (varied(confirmed=11, fid_micro=10**9), RejectionReason.MEMORISATION_CEILING),
        (Unscorable(UnscorableReason.MALFORMED), RejectionReason.MALFORMED),
        (Unscorable(UnscorableReason.DIVERGED), RejectionReason.DIVERGED),
    ],
)
def test_ceilings_and_findings_reject(report: object, reason: RejectionReason) -> None:
    world = World()
    world.submit("one")
    world.score("one", report)  # type: ignore[arg-type]
    rejected = world.checkpoint("one")
    assert (rejected.status, rejected.reason) == (CheckpointStatus.REJECTED, reason)
    assert rejected.report == (None if isinstance(report, Unscorable) else report)
    assert world.view.task_record(hash_of(TASK)).best is None


def test_a_score_at_the_ceilings_is_accepted() -> None:
    world = World()
    world.accept("one", report=varied(confirmed=10, fid_micro=1_000_000))
    assert world.checkpoint("one").status is CheckpointStatus.ACCEPTED


def test_the_best_is_the_lowest_score_and_the_first_of_equals() -> None:
    world = World()
    best = hash_of(TASK)
    for name, fid_micro, expected in (("a", 50_000, "a"), ("b", 50_000, "a"), ("c", 40_000, "c"), ("d", 60_000, "c")):
        world.accept(name, report=varied(fid_micro=fid_micro))
        assert world.view.task_record(best).best == cid_of(expected)


def test_submissions_beyond_the_task_s_capacity_wait_in_a_queue() -> None:
    world = World()
    for name, author in (("one", "trainer"), ("two", "trainer"), ("three", "voter"), ("four", "voter")):
        world.submit(name, author)
    statuses = [world.checkpoint(name).status.value for name in ("one", "two", "three", "four")]
    assert statuses == ["submitted", "submitted", "queued", "queued"]
    world.score("two")
    record = world.view.task_record(hash_of(TASK))
    assert (record.open, record.queue) == ((cid_of("one"), cid_of("three")), (cid_of("four"),))
    assert CheckpointOpened(cid_of("three")) in world.events
    opened = world.checkpoint("three")
    assert (opened.status, opened.phase_height) == (CheckpointStatus.SUBMITTED, world.height)


def test_several_checkpoints_are_settled_by_one_block_in_their_order_only() -> None:
    world = World()
    for name, author in (("one", "trainer"), ("two", "voter")):
        world.submit(name, author)
    for name in ("two", "one"):
        world.start_scoring(name)
        world.commit(name, EVERYBODY)
        world.reveal(name, EVERYBODY)
    with pytest.raises(InvalidBlock, match="order"):
        world.block(settle=(cid_of("two"), cid_of("one")))
    world.block(settle=(cid_of("one"), cid_of("two")))
    assert {world.checkpoint(name).status for name in ("one", "two")} == {CheckpointStatus.ACCEPTED}


@pytest.mark.parametrize("round_", [1, 7])
def test_only_round_0_settles(round_: int) -> None:
    world = scoring_world()
    world.commit("one", EVERYBODY)
    world.reveal("one", EVERYBODY)
    with pytest.raises(InvalidBlock, match="round"):
        world.block(settle=(cid_of("one"),), round_=round_)


def test_what_is_not_agreed_on_before_the_block_cannot_be_settled_by_it() -> None:
    world = scoring_world()
    world.commit("one", EVERYBODY)
    with pytest.raises(InvalidBlock, match="settled"):
        world.block(*(world.opening("one", key, GOOD) for key in world.authorities), settle=(cid_of("one"),))
    for cids in ((cid_of("unknown"),), (cid_of("one"), cid_of("one"))):
        with pytest.raises(InvalidBlock, match="settled"):
            world.block(settle=cids)


def test_unavailable_weights_may_be_offered_again_by_anybody() -> None:
    world = World()
    world.submit("one")
    for _ in range(5):
        world.block(advance_ms=10_000)
    world.submit("one", "voter")
    again = world.checkpoint("one")
    assert (again.status, again.author) == (CheckpointStatus.SUBMITTED, key_of("voter").address)
    event = world.events[0]
    assert isinstance(event, CheckpointSubmitted)
    assert event.retry


def disputed_world() -> World:
    world = scoring_world()
    reports = {i: varied(confirmed=i) for i in range(4)}
    world.commit("one", reports)
    world.reveal("one", reports)
    for _ in range(10):
        world.block(advance_ms=10_000)
    assert world.checkpoint("one").reason is RejectionReason.DISAGREEMENT
    return world


def test_after_a_disagreement_the_author_tries_again_with_the_same_seed_and_new_ballots() -> None:
    world = disputed_world()
    seed = world.checkpoint("one").seed
    world.submit("one")
    assert world.view.score_ballots(world.checkpoint("one")) == ()
    world.start_scoring("one")
    assert world.checkpoint("one").seed == seed
    world.commit("one", EVERYBODY)
    world.reveal("one", EVERYBODY)
    world.settle_all()
    assert world.checkpoint("one").status is CheckpointStatus.ACCEPTED


@pytest.mark.parametrize(
    ("author", "changed"), [("voter", {}), ("trainer", {"digest": "other"})], ids=["other author", "other digest"]
)
def test_after_a_disagreement_nothing_else_may_change(author: str, changed: dict[str, str]) -> None:
    world = disputed_world()
    with pytest.raises(InvalidBlock, match="retry"):
        world.submit("one", author, **changed)


def test_a_digest_is_held_while_open_and_kept_once_it_is_proven() -> None:
    world = World()
    world.submit("one")
    with pytest.raises(InvalidBlock, match="digest-seen"):
        world.submit("copy", "voter", digest="one")
    world.score("one")
    with pytest.raises(InvalidBlock, match="digest-seen"):
        world.submit("copy", "voter", digest="one")


@pytest.mark.parametrize("reason", list(UnscorableReason))
def test_rubbish_under_a_copied_digest_does_not_keep_the_owner_out(reason: UnscorableReason) -> None:
    world = World()
    world.submit("rubbish", "voter", digest="mine")
    world.score("rubbish", Unscorable(reason))
    proven = reason is UnscorableReason.DIVERGED
    assert (world.view.digest_holder(digest_of("mine")) is not None) == proven
    if not proven:
        world.submit("mine")
        assert world.checkpoint("mine").status is CheckpointStatus.SUBMITTED


def test_parents_are_accepted_checkpoints_of_the_same_task() -> None:
    other = replace(TASK, name="other")
    world = World(tasks=(TASK, other))
    world.accept("parent")
    world.submit("child", parents=(cid_of("parent"),))
    assert world.checkpoint("child").parents == (cid_of("parent"),)
    world.submit("rejected", "voter")
    world.score("rejected", Unscorable(UnscorableReason.MALFORMED))
    for parents in ((cid_of("unknown"),), (cid_of("child"),), (cid_of("rejected"),), (cid_of("parent"),) * 2):
        with pytest.raises(InvalidBlock, match="parents"):
            world.submit("grandchild", parents=parents)
    with pytest.raises(InvalidBlock, match="parents"):
        world.block((key_of("trainer"), offer("grandchild", other, parents=(cid_of("parent"),))))


def test_private_windows_open_with_acceptance_and_turn_by_blocks_and_time() -> None:
    world = World()
    world.accept("one")
    cid = cid_of("one")
    assert world.view.private_window(cid) is PrivateWindow.COMMIT
    for _ in range(5):
        world.block()
    assert world.view.private_window(cid) is PrivateWindow.COMMIT  # the time has not passed
    world.block(advance_ms=20_000)
    assert world.view.private_window(cid) is PrivateWindow.REVEAL
    world.block(advance_ms=10**6)
    assert world.view.private_window(cid) is PrivateWindow.REVEAL  # the blocks have not
    world.block()
    world.block()
    assert world.view.private_window(cid) is PrivateWindow.CLOSED
    assert world.view.index.private == ()
    assert not world.ledger.has_open_deadline(world.state)


def test_deadlines_are_open_from_submission_until_private_ballots_close() -> None:
    world = World()
    assert not world.ledger.has_open_deadline(world.state)
    world.submit("one")
    assert world.ledger.has_open_deadline(world.state)
    world.score("one")
    assert world.ledger.has_open_deadline(world.state)


def test_what_was_signed_for_one_attempt_counts_for_no_other() -> None:
    world = World()
    world.submit("one")
    old = [world.sign(key, world.have("one")) for key in world.authorities[:2]]
    world.block(*old)
    while world.checkpoint("one").status is not CheckpointStatus.REJECTED:
        world.block(advance_ms=10_000)
    world.submit("one")
    for data in old:
        with pytest.raises(InvalidBlock, match="for the submission of block"):
            world.block(data)
    world.block((world.authorities[2], world.have("one")))
    assert world.checkpoint("one").holders == (world.authorities[2].address,)


def test_an_old_commitment_keeps_no_elector_from_sealing_another_report() -> None:
    world = World()
    elector = world.authorities[3]
    world.submit("one")
    world.start_scoring("one")
    old = world.sign(*world.commitment("one", elector, varied(confirmed=9)))
    world.commit("one", {0: GOOD, 1: varied(confirmed=3)})
    while (
        world.checkpoint("one").status is not CheckpointStatus.REJECTED
        or world.view.unopened(cid_of("one")) is not None
    ):
        world.block(advance_ms=10_000)
    world.submit("one")
    world.start_scoring("one")
    with pytest.raises(InvalidBlock, match="for the submission of block"):
        world.block(old)
    world.block(world.commitment("one", elector, GOOD))
