"""The second derivation of rewards agrees with the ledger's own, over random lineages, votes and quarantines."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from node.reward_replay import RewardReplay
from pdfedchain.codec import decode
from pdfedchain.state.events import LedgerEvent, Rewarded
from pdfedchain.types.checkpoint import CheckpointStatus
from pdfedchain.types.economy import Economy, RewardKind, Rewards
from pdfedchain.types.ledger import LedgerGenesis
from pdfedchain.types.score import ScoreReport, Unscorable, UnscorableReason
from pdfedchain.types.task import TaskSpec
from pdfedchain.types.transaction import FundTask, LiftQuarantine
from tests.pdfedchain.ledger_world import GOOD, PARAMETERS, TASK, World, cid_of, key_of, registration, varied

PAYING = replace(
    TASK, rewards=Rewards(per_qn=1_000_003, noise_micro=5_000, decay_micro=417_000, scorers=101, voters=53)
)
COSTLY = replace(PARAMETERS, quarantine_voters_min=2, economy=Economy(submission_bond=211, score_deposit=7, fee=1))
AUTHORS = ("trainer", "voter", "authority0")
COPIES, CLEAN = varied(confirmed=15), varied(confirmed=0)


class RecordedWorld(World):
    """Keeps the events of every block."""

    def __init__(self, pool: int) -> None:
        self.history: list[list[LedgerEvent]] = []
        super().__init__(4, parameters=COSTLY, tasks=(PAYING,), amount=100_000, pool=pool)

    @property
    def task(self) -> TaskSpec:
        return PAYING

    def block(self, *transactions: object, **more: object) -> object:  # type: ignore[override]
        execution = super().block(*transactions, **more)  # type: ignore[arg-type]
        self.history.append(self.events)
        return execution

    def replayed(self) -> tuple[list[list[Rewarded]], list[list[Rewarded]]]:
        """Rewards due by the replay, and those paid, by block."""
        genesis = decode(LedgerGenesis, self.genesis.application_state, size_bytes_max=10**6)
        replay = RewardReplay(genesis, lambda _: PAYING)
        due = [replay.block(height, events) for height, events in enumerate(self.history, start=1)]
        paid = [[event for event in events if isinstance(event, Rewarded)] for events in self.history]
        return due, paid


def quality(qn_micro: int, copies: int = 0) -> ScoreReport:
    return varied(
        checked=40, confirmed=copies, v_a_micro=9_999, v_c_micro=999_999 if copies else 0, fid_micro=2 * qn_micro
    )


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_random_courses_of_events_are_paid_as_the_replay_says(data: st.DataObject) -> None:
    world = RecordedWorld(data.draw(st.sampled_from((0, 5_000, 10**9)), label="pool"))
    for number in range(data.draw(st.integers(2, 9), label="checkpoints")):
        name, author = f"c{number}", data.draw(st.sampled_from(AUTHORS))
        usable = [f"c{i}" for i in range(number) if world.checkpoint(f"c{i}").status is CheckpointStatus.ACCEPTED]
        parents = data.draw(st.lists(st.sampled_from(usable), max_size=3, unique=True)) if usable else []
        world.submit(name, author, task=PAYING, parents=tuple(cid_of(parent) for parent in parents))
        outcome = data.draw(
            st.one_of(
                st.builds(quality, st.integers(1_000, 500_000), st.integers(0, 3)),
                st.just(Unscorable(UnscorableReason.NON_FINITE)) if number % 3 == 2 else st.nothing(),
            )
        )
        world.score(name, outcome)
        if world.checkpoint(name).status is CheckpointStatus.ACCEPTED:
            voters = [voter for voter in ("voter", "authority1", "authority2", "authority3") if voter != author]
            votes: dict[str, ScoreReport | None] = {
                voter: data.draw(st.sampled_from((CLEAN, COPIES, None))) for voter in voters
            }
            world.vote(name, votes)
        action = data.draw(st.integers(0, 3))
        if world.checkpoint(name).status is CheckpointStatus.QUARANTINED and action <= 1:
            world.block(*((key, LiftQuarantine(cid_of(name))) for key in world.authorities[:3]))
        elif action == 2:
            world.block((key_of("voter"), FundTask(world.view.index.tasks[0], 1_001)))
        elif action == 3:
            moved = replace(registration(author), reward_address=key_of("vault").address)
            world.block((key_of(author), moved))
            world.block((key_of(author), registration(author)))
    due, paid = world.replayed()
    assert due == paid


def test_the_replay_notices_what_is_paid_wrongly() -> None:
    world = RecordedWorld(10**6)
    world.accept("one", report=quality(300_000), task=PAYING)
    world.vote("one", {"voter": CLEAN})
    due, paid = world.replayed()
    flat = [event for events in paid for event in events]
    assert {event.reward for event in flat} == {RewardKind.SCORER, RewardKind.VOTER, RewardKind.AUTHOR}
    assert due == paid
    for index, events in enumerate(world.history):
        world.history[index] = [
            replace(event, qn_micro=0, report=GOOD) if event.kind == "checkpoint-accepted" else event  # type: ignore[type-var, call-arg]
            for event in events
        ]
    due, paid = world.replayed()
    assert due != paid
