"""Private ballots against the ceiling: quarantine, what it means, and its end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pdfedchain.crypto import hash_of
from pdfedchain.errors import InvalidBlock
from pdfedchain.state.events import CheckpointQuarantined, QuarantineLifted
from pdfedchain.types.ballot import BallotKind
from pdfedchain.types.checkpoint import NO_DATA_COMMITMENT, CheckpointStatus
from pdfedchain.types.economy import Economy
from pdfedchain.types.ledger import PrivateWindow
from pdfedchain.types.score import ScoreReport, Unscorable, UnscorableReason
from pdfedchain.types.transaction import LiftQuarantine, Transfer
from tests.pdfedchain.ledger_world import GOOD, PARAMETERS, TASK, World, cid_of, key_of, registration, varied

#: The ceiling is a tenth of 100 images.
COPIES = varied(confirmed=15, checked=20)
CLEAN = varied(confirmed=10, checked=20)
VOTERS = ("voter", "authority0", "authority1", "authority2", "authority3")


def voted(above: int, voters: int, *, name: str = "one", world: World | None = None) -> World:
    """A world with an accepted checkpoint on which so many of so many voters found too many copies."""
    world = world or World()
    world.accept(name)
    reports: dict[str, ScoreReport | None] = {}
    for i, voter in enumerate(VOTERS[:voters]):
        reports[voter] = COPIES if i < above else CLEAN
    world.vote(name, reports)
    return world


@pytest.mark.parametrize(
    ("above", "voters", "quarantined"),
    [(0, 4, False), (1, 4, False), (2, 4, True), (4, 4, True), (1, 5, False), (2, 5, True), (3, 3, False)],
)
def test_a_third_of_enough_voters_quarantines(above: int, voters: int, quarantined: bool) -> None:
    world = voted(above, voters)
    expected = CheckpointStatus.QUARANTINED if quarantined else CheckpointStatus.ACCEPTED
    assert world.checkpoint("one").status is expected
    event = CheckpointQuarantined(cid_of("one"), key_of("trainer").address, voters, above)
    assert (event in world.events) == quarantined
    found = world.view.quarantine(cid_of("one"))
    assert (None if found is None else (found.voters, found.above)) == ((voters, above) if quarantined else None)


def test_exactly_a_third_is_enough() -> None:
    world = World(parameters=replace(PARAMETERS, quarantine_voters_min=3))
    assert voted(1, 3, world=world).checkpoint("one").status is CheckpointStatus.QUARANTINED


def test_ballots_that_stay_sealed_are_no_voters_and_unscorable_weights_show_no_copies() -> None:
    world = World(parameters=replace(PARAMETERS, quarantine_voters_min=3))
    world.accept("one")
    world.vote("one", {"voter": COPIES, "authority0": CLEAN, "authority1": None, "authority2": None})
    assert world.checkpoint("one").status is CheckpointStatus.ACCEPTED
    world.accept("two")
    finding = Unscorable(UnscorableReason.DIVERGED)
    keys = [key_of(name) for name in VOTERS[:3]]
    world.block(*(world.commitment("two", key, finding, BallotKind.PRIVATE) for key in keys))
    for _ in range(4):
        world.block(advance_ms=10_000)
    world.block(*(world.opening("two", key, finding, BallotKind.PRIVATE) for key in keys))
    for _ in range(3):
        world.block(advance_ms=10_000)
    assert world.checkpoint("two").status is CheckpointStatus.ACCEPTED


def test_a_quarantined_checkpoint_is_no_parent_not_the_best_and_never_offered_again() -> None:
    world = World()
    world.accept("good", report=varied(fid_micro=50_000))
    world.accept("better", report=varied(fid_micro=45_000))
    voted(4, 4, world=world)
    assert world.view.task_record(hash_of(TASK)).best == cid_of("better")
    with pytest.raises(InvalidBlock, match="parents"):
        world.submit("child", parents=(cid_of("one"),))
    with pytest.raises(InvalidBlock, match="weights-seen"):
        world.submit("one")
    with pytest.raises(InvalidBlock, match="digest-seen"):
        world.submit("copy", digest="one")
    with pytest.raises(InvalidBlock, match="not-accepted"):
        world.block(world.commitment("one", key_of("authority3"), GOOD.coarse(), BallotKind.PRIVATE))


def test_the_best_after_a_quarantine_may_be_one_whose_window_is_still_open() -> None:
    world = World()
    world.accept("one")
    reports: dict[str, ScoreReport | None] = dict.fromkeys(VOTERS[:4], COPIES)
    world.accept("second", report=varied(fid_micro=41_000))
    assert world.view.task_record(hash_of(TASK)).best == cid_of("one")
    world.block(*(world.commitment("one", key_of(name), COPIES.coarse(), BallotKind.PRIVATE) for name in reports))
    while world.checkpoint("one").status is CheckpointStatus.ACCEPTED:
        if world.view.private_window(cid_of("one")).value == "reveal":
            openings = [world.opening("one", key_of(name), COPIES.coarse(), BallotKind.PRIVATE) for name in reports]
            world.block(*openings)
            reports = {}
        world.block(advance_ms=5_000)
    record = world.view.task_record(hash_of(TASK))
    assert record.best == cid_of("second")


def test_the_best_after_a_quarantine_is_of_the_same_task_and_the_first_of_equals() -> None:
    other = replace(TASK, name="other")
    world = World(tasks=(TASK, other))
    world.accept("good", report=varied(fid_micro=50_000))
    world.accept("one")
    world.accept("elsewhere", report=varied(fid_micro=1_000), task=other)
    voters = [key_of(name) for name in VOTERS[:4]]
    world.block(*(world.commitment("one", key, COPIES.coarse(), BallotKind.PRIVATE) for key in voters))
    world.wait_for("one", PrivateWindow.REVEAL)
    world.block(*(world.opening("one", key, COPIES.coarse(), BallotKind.PRIVATE) for key in voters))
    world.accept("as good", report=varied(fid_micro=50_000))
    world.wait_for("one", PrivateWindow.CLOSED)
    assert world.checkpoint("one").status is CheckpointStatus.QUARANTINED
    assert cid_of("as good") in world.view.index.private
    records = [world.view.task_record(hash_of(task)).best for task in (TASK, other)]
    assert records == [cid_of("good"), cid_of("elsewhere")]


def test_the_only_checkpoint_under_quarantine_leaves_no_best() -> None:
    assert voted(4, 4).view.task_record(hash_of(TASK)).best is None


def test_a_quorum_of_authorities_lifts_a_quarantine() -> None:
    world = voted(2, 4)
    lift = LiftQuarantine(cid_of("one"))
    with pytest.raises(InvalidBlock, match="not-an-authority"):
        world.block((key_of("trainer"), lift))
    world.block((world.authorities[0], lift), (world.authorities[1], lift))
    assert world.checkpoint("one").status is CheckpointStatus.QUARANTINED
    with pytest.raises(InvalidBlock, match="lifted"):
        world.block((world.authorities[0], lift))
    world.block((world.authorities[3], lift))
    assert world.checkpoint("one").status is CheckpointStatus.ACCEPTED
    by = tuple(world.authorities[i].address for i in (0, 1, 3))
    assert QuarantineLifted(cid_of("one"), by) in world.events
    assert world.view.quarantine(cid_of("one")) is None
    assert world.view.task_record(hash_of(TASK)).best == cid_of("one")
    with pytest.raises(InvalidBlock, match="not-quarantined"):
        world.block((world.authorities[2], lift))
    world.submit("child", parents=(cid_of("one"),))


def test_what_is_not_quarantined_cannot_be_lifted() -> None:
    world = voted(0, 4)
    for name in ("one", "unknown"):
        with pytest.raises(InvalidBlock, match="not-quarantined"):
            world.block((world.authorities[0], LiftQuarantine(cid_of(name))))


def test_private_reports_are_rounded_and_small_counts_hidden() -> None:
    exact = varied(checked=23, confirmed=4, v_a_micro=512_345, v_c_micro=912_345, fid_micro=40_987)
    coarse = exact.coarse()
    assert (coarse.checked, coarse.confirmed, coarse.v_a_micro, coarse.v_c_micro) == (20, 0, 500_000, 0)
    assert coarse.fid_micro == 40_000
    assert coarse.images_hash == bytes(32)
    assert coarse.coarse() == coarse
    world = World()
    world.accept("one")
    voter = key_of("voter")
    world.block(world.commitment("one", voter, exact, BallotKind.PRIVATE))
    for _ in range(4):
        world.block(advance_ms=10_000)
    with pytest.raises(InvalidBlock, match="rounded"):
        world.block(world.opening("one", voter, exact, BallotKind.PRIVATE))


def test_who_has_not_committed_to_data_has_no_private_ballot() -> None:
    world = World()
    world.block((key_of("voter"), replace(registration("voter"), data_commitment=NO_DATA_COMMITMENT)))
    world.accept("one")
    with pytest.raises(InvalidBlock, match="data-commitment"):
        world.block(world.commitment("one", key_of("voter"), GOOD.coarse(), BallotKind.PRIVATE))


def test_a_window_takes_a_bounded_number_of_ballots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdfedchain.state.ballots.PRIVATE_VOTERS_MAX", 2)
    world = World()
    world.accept("one")
    world.block(*(world.commitment("one", key, GOOD.coarse(), BallotKind.PRIVATE) for key in world.authorities[:2]))
    with pytest.raises(InvalidBlock, match="voters"):
        world.block(world.commitment("one", key_of("voter"), GOOD.coarse(), BallotKind.PRIVATE))


def test_newcomers_keep_no_earlier_participant_out_of_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdfedchain.state.ballots.PRIVATE_VOTERS_MAX", 2)
    world = World(parameters=replace(PARAMETERS, open_registration=True, economy=Economy(private_deposit=1)))
    newcomers = [key_of("new0"), key_of("new1")]
    nonce = world.view.account(key_of("trainer").address).nonce
    world.block(
        *(world.sign(key_of("trainer"), Transfer(key.address, 1), nonce=nonce + i) for i, key in enumerate(newcomers))
    )
    world.block(*((key, registration(f"new{i}")) for i, key in enumerate(newcomers)))
    world.accept("one")
    report = GOOD.coarse()
    world.block(*(world.commitment("one", key, report, BallotKind.PRIVATE) for key in newcomers))
    world.block(world.commitment("one", key_of("voter"), report, BallotKind.PRIVATE))
    assert [world.view.account(key.address).balance for key in newcomers] == [0, 1]
    world.wait_for("one", PrivateWindow.REVEAL)
    with pytest.raises(InvalidBlock, match="taken this ballot's place"):
        world.block(world.opening("one", newcomers[1], report, BallotKind.PRIVATE))
    world.block(*(world.opening("one", key, report, BallotKind.PRIVATE) for key in (newcomers[0], key_of("voter"))))
    assert [world.view.account(key.address).balance for key in newcomers] == [1, 1]
