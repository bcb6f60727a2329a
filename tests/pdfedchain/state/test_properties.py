"""Random courses of events: what must hold after every single transaction, valid or not."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import replace
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from pdfedchain.codec import decode
from pdfedchain.crypto import SigningKey
from pdfedchain.errors import InputError, InvalidBlock
from pdfedchain.ids import Cid
from pdfedchain.state.ledger import Ledger
from pdfedchain.state.transition import apply_transaction, begin_block, open_transaction
from pdfedchain.state.view import ACCOUNT_PREFIX, BALLOT_PREFIX, CHECKPOINT_PREFIX, TASK_RECORD_PREFIX, TOTALS_KEY
from pdfedchain.types.ballot import Ballot, BallotKind
from pdfedchain.types.block import BlockBody
from pdfedchain.types.checkpoint import Account, Checkpoint, CheckpointStatus, RejectionReason, TaskRecord
from pdfedchain.types.economy import Economy, Rewards, Totals
from pdfedchain.types.ledger import PrivateWindow
from pdfedchain.types.score import ScoreReport
from pdfedchain.types.transaction import (
    Admit,
    CreateTask,
    FundTask,
    LiftQuarantine,
    Payload,
    Transfer,
)
from tests.pdfedchain.ledger_world import (
    GOOD,
    PARAMETERS,
    TASK,
    World,
    cid_of,
    key_of,
    offer,
    registration,
    varied,
)

#: Everything costs something and pays something, in amounts that share no factor.
COSTLY = replace(
    PARAMETERS,
    open_registration=True,
    open_registrations_max=1,
    quarantine_voters_min=2,
    economy=Economy(submission_bond=101, score_deposit=13, private_deposit=11, fee=2, account_price=3),
)
PAYING = replace(TASK, rewards=Rewards(per_qn=1_009, noise_micro=100, decay_micro=333_333, scorers=97, voters=43))
AMOUNT, POOL, AUTHORITIES = 1_000, 5_003, 3
#: Three authorities, "trainer" and "voter" have an account in genesis.
ISSUED = 5 * AMOUNT + POOL

PEOPLE = [key_of(name) for name in ("authority0", "authority1", "authority2", "trainer", "voter", "stranger")]
NAMES = ("one", "two", "three", "four")
ORDER = {status: rank for rank, status in enumerate(CheckpointStatus)}
MAY_RETURN = (RejectionReason.UNAVAILABLE, RejectionReason.DISAGREEMENT)

people = st.sampled_from(PEOPLE)
names = st.sampled_from(NAMES)
good = st.builds(lambda fid_micro: varied(fid_micro=fid_micro, confirmed=0, v_c_micro=0), st.integers(20_000, 900_000))
reports = st.sampled_from((GOOD, GOOD, GOOD, varied(confirmed=15)))
votes = st.sampled_from((GOOD, varied(confirmed=15)))
kinds = st.sampled_from(BallotKind)

T = TypeVar("T")


def costly_world() -> World:
    return World(AUTHORITIES, parameters=COSTLY, tasks=(PAYING,), amount=AMOUNT, pool=POOL)


@st.composite
def payloads(draw: st.DrawFn, world: World) -> tuple[SigningKey, Payload]:
    """Something somebody might send; most of it makes sense sometimes."""
    key, name = draw(people), draw(names)
    match draw(st.integers(0, 12)):
        case 0:
            return key, Transfer(draw(people).address, draw(st.integers(1, 1_500)))
        case 1:
            return key, registration("someone", roles=draw(st.integers(1, 3)))
        case 2 | 3:
            parents = (cid_of(draw(names)),) if draw(st.booleans()) else ()
            return key, offer(name, PAYING, parents=parents, digest=draw(st.sampled_from((name, name, "shared"))))
        case 4 | 5:
            return key, world.have(name)
        case 6:
            return key, Admit(draw(people).address)
        case 7:
            return key, FundTask(draw(st.sampled_from(world.view.index.tasks)), draw(st.integers(1, 1_500)))
        case 8:
            other = replace(PAYING, name=draw(st.sampled_from(("digits", "other", "third"))))
            return key, CreateTask(other, draw(st.integers(0, 1_500)))
        case 9:
            return key, LiftQuarantine(cid_of(name))
        case 10:
            return world.commitment(name, key, draw(reports), draw(kinds))
        case 11:
            return world.opening(name, key, draw(reports), draw(kinds))
        case _:
            return world.opening(name, key, draw(reports).coarse(), BallotKind.PRIVATE)


def push(world: World, name: str, report: ScoreReport = GOOD, *, all_but: int = 0) -> None:
    """The next thing that honest authorities do for a checkpoint, in one block; an empty one where they cannot.

    Args:
        all_but: so many of them do not open their scores.
    """
    checkpoint = world.view.checkpoint(cid_of(name))
    actions: list[tuple[SigningKey, Payload]] = []
    if checkpoint is not None:
        ballots = {ballot.voter: ballot for ballot in world.view.score_ballots(checkpoint)}
        for i, key in enumerate(world.authorities):
            ballot = ballots.get(key.address)
            if checkpoint.status is CheckpointStatus.SUBMITTED and key.address not in checkpoint.holders:
                actions.append((key, world.have(name)))
            elif checkpoint.status is CheckpointStatus.SCORING and ballot is None:
                actions.append(world.commitment(name, key, report))
            elif checkpoint.reveal_height is not None and ballot is not None and ballot.report is None:
                actions += [world.opening(name, key, report)] if i >= all_but else []
    send(world, actions)


def vote(world: World, name: str, report: ScoreReport) -> None:
    """Participants seal or open private ballots on a checkpoint, as its window says."""
    cid = cid_of(name)
    window = world.view.private_window(cid)
    actions: list[tuple[SigningKey, Payload]] = []
    for key in (*world.authorities, key_of("voter")):
        ballot = world.view.ballot(cid, BallotKind.PRIVATE, key.address)
        if window is PrivateWindow.COMMIT and ballot is None:
            actions.append(world.commitment(name, key, report.coarse(), BallotKind.PRIVATE))
        elif window is PrivateWindow.REVEAL and ballot is not None and ballot.report is None:
            actions.append(world.opening(name, key, report.coarse(), BallotKind.PRIVATE))
    send(world, actions)


def send(world: World, actions: list[tuple[SigningKey, Payload]]) -> None:
    """A block with what of this succeeds."""
    candidates = [world.sign(*action) for action in actions]
    world.block(*world.ledger.propose(world.state, world.context(), candidates).transactions)


def values(world: World, cls: type[T], prefix: bytes) -> list[T]:
    """What lies under a prefix, read without the ledger's own views."""
    found = (value for key, value in world.state.items() if key.startswith(prefix))
    return [decode(cls, value, size_bytes_max=1_000_000) for value in found]


def check_units(world: World) -> None:
    """Every unit that genesis issued is somewhere, once."""
    (totals,) = values(world, Totals, TOTALS_KEY)
    places = Counter(
        accounts=sum(account.balance for account in values(world, Account, ACCOUNT_PREFIX)),
        bonds=sum(checkpoint.bond for checkpoint in values(world, Checkpoint, CHECKPOINT_PREFIX)),
        deposits=sum(ballot.deposit for ballot in values(world, Ballot, BALLOT_PREFIX)),
        pools=sum(record.pool for record in values(world, TaskRecord, TASK_RECORD_PREFIX)),
        burned=totals.burned,
    )
    assert sum(places.values()) == ISSUED == totals.issued, places


def checkpoints(world: World) -> dict[Cid, Checkpoint]:
    values = (value for key, value in world.state.items() if key.startswith(CHECKPOINT_PREFIX))
    found = (decode(Checkpoint, value, size_bytes_max=10_000) for value in values)
    return {checkpoint.weights: checkpoint for checkpoint in found}


def check_step(before: dict[Cid, Checkpoint], world: World) -> None:
    """Statuses move forward, except for a retry; the lists say what the checkpoints say."""
    after = checkpoints(world)
    assert before.keys() <= after.keys()
    for cid, old in before.items():
        new = after[cid]
        # A block may reject at a deadline and take the next attempt in.
        retried = new.submitted_height == world.height and (old.reason in MAY_RETURN or old.settled_height is None)
        lifted = old.status is CheckpointStatus.QUARANTINED and new.status is CheckpointStatus.ACCEPTED
        assert ORDER[new.status] >= ORDER[old.status] or retried or lifted
        assert (new.author, new.weights_digest) == (old.author, old.weights_digest) or retried
        if old.seed is not None:
            assert new.seed == old.seed
        if old.status is CheckpointStatus.ACCEPTED:
            assert replace(new, status=old.status) == old
    for record in world.view.task_records():
        for listed, statuses in ((record.queue, ("queued",)), (record.open, ("submitted", "held", "scoring"))):
            for cid in listed:
                assert after[cid].status.value in statuses
            assert len(set(listed)) == len(listed)
    waiting = [cid for record in world.view.task_records() for cid in (*record.queue, *record.open)]
    assert sorted(waiting) == sorted(cid for cid, checkpoint in after.items() if checkpoint.settled_height is None)
    for checkpoint in after.values():
        assert (checkpoint.bond > 0) == (checkpoint.settled_height is None)
        assert (checkpoint.status is CheckpointStatus.QUARANTINED) == (
            world.view.quarantine(checkpoint.weights) is not None
        )
        unsettled = [c for c in after.values() if c.author == checkpoint.author and c.settled_height is None]
        assert world.view.open_count(checkpoint.task, checkpoint.author) == len(unsettled)
        assert (checkpoint.settled_height is None) == (
            checkpoint.status
            in (
                CheckpointStatus.QUEUED,
                CheckpointStatus.SUBMITTED,
                CheckpointStatus.HELD,
                CheckpointStatus.SCORING,
            )
        )


@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_whatever_is_sent_no_refusal_changes_anything_and_no_unit_is_lost(data: st.DataObject) -> None:
    world = costly_world()
    for name in NAMES[: data.draw(st.integers(0, 2), label="accepted checkpoints")]:
        world.accept(name, report=data.draw(good), task=PAYING)
    for _ in range(data.draw(st.integers(20, 60), label="blocks")):
        before, root = checkpoints(world), world.state.root
        action = data.draw(st.integers(0, 13), label="action")
        if action <= 1:
            world.settle_all()
        elif action <= 5:
            push(world, data.draw(names), data.draw(good), all_but=data.draw(st.integers(0, 1)))
        elif action <= 8:
            vote(world, data.draw(names), data.draw(votes))
            world.block(advance_ms=data.draw(st.sampled_from((1_000, 20_000))))
        elif action == 9:
            world.block(advance_ms=data.draw(st.sampled_from((1_000, 1_000, 1_000, 40_000))))
        elif action == 10:
            for _ in range(data.draw(st.integers(1, 4))):
                world.block(advance_ms=10_000)
        else:
            item = data.draw(payloads(world))
            try:
                world.block(item)
            except InvalidBlock:
                assert world.state.root == root
        check_units(world)
        check_step(before, world)


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_what_a_proposer_executed_while_choosing_is_what_everybody_executes(data: st.DataObject) -> None:
    world = costly_world()
    if data.draw(st.booleans(), label="with an accepted checkpoint"):
        world.accept("one", task=PAYING)
    for _ in range(data.draw(st.integers(1, 8), label="blocks")):
        push(world, data.draw(names))
        candidates = [world.sign(*data.draw(payloads(world))) for _ in range(data.draw(st.integers(0, 6)))]
        before, context = world.state, world.context()
        body = world.ledger.propose(before, context, candidates)
        own, other = (ledger.execute(before, context, body) for ledger in (world.ledger, Ledger()))
        assert (own.state.root, own.events, own.next_authorities, own.transaction_subjects) == (
            other.state.root,
            other.events,
            other.next_authorities,
            other.transaction_subjects,
        )
        assert dict(own.state.items()) == dict(other.state.items())
        assert world.ledger.execute(before, context, BlockBody((), b"")).state.root == world.block().state.root


@functools.cache
def stages() -> list[World]:
    """One world for every stage of a life, in which something can be refused for its own reasons."""
    found = [costly_world() for _ in range(10)]
    for world in found[1:]:
        world.submit("one", task=PAYING)
    for world in found[2:6]:
        world.start_scoring("one")
    all_of_them = dict.fromkeys(range(AUTHORITIES), GOOD)
    for world in found[3:5]:
        world.commit("one", dict(all_of_them))
    found[4].reveal("one", dict(all_of_them))
    found[5].commit("one", {**all_of_them, 1: varied(confirmed=15)})
    found[5].reveal("one", {0: GOOD, 1: varied(confirmed=15)})
    while found[5].checkpoint("one").settled_height is None:
        found[5].block(advance_ms=10_000)
    for world in found[6:]:
        world.score("one")
    for world in found[7:]:
        vote(world, "one", varied(confirmed=15))
        world.wait_for("one", PrivateWindow.REVEAL)
    for world in found[8:]:
        vote(world, "one", varied(confirmed=15))
        world.wait_for("one", PrivateWindow.CLOSED)
    found[9].block((found[9].authorities[0], LiftQuarantine(cid_of("one"))))
    return found


@given(data=st.data(), stage=st.integers(0, 9))
@settings(max_examples=200, deadline=None)
def test_a_refused_transaction_leaves_neither_state_nor_event(data: st.DataObject, stage: int) -> None:
    world = stages()[stage]
    draft = begin_block(world.state, world.context(), None)
    for _ in range(4):
        key, payload = data.draw(payloads(world))
        signed = open_transaction(world.sign(key, payload), world.genesis.chain_id)
        root, events = draft.commit().root, draft.events
        try:
            with draft.attempt():
                apply_transaction(draft, world.context(), signed)
        except InputError:
            assert (draft.commit().root, draft.events) == (root, events)
        else:
            assert draft.commit().root != root


@given(
    order=st.permutations(range(7)),
    liars=st.lists(st.integers(0, 9), min_size=2, max_size=2),
    together=st.booleans(),
)
@settings(max_examples=15, deadline=None)
def test_the_order_of_reveals_does_not_change_the_settlement(
    order: list[int], liars: list[int], together: bool
) -> None:
    reports = {i: varied(fid_micro=40_000 + i % 3) for i in range(5)}
    reports |= {5 + i: varied(confirmed=liar) for i, liar in enumerate(liars)}
    world = World(7)
    world.submit("one")
    world.start_scoring("one")
    world.commit("one", dict(reports))
    if together:
        world.reveal("one", {i: reports[i] for i in order})
    else:
        for i in order:
            world.reveal("one", {i: reports[i]})
    world.settle_all()
    settled = world.checkpoint("one")
    assert settled.report is not None
    # Both liars may have hit the true counts with their own distance, 40,000.
    middle = sorted([40_000, 40_001, 40_002, 40_000, 40_001] + [40_000 for liar in liars if liar == 2])
    assert settled.report == varied(fid_micro=middle[(len(middle) - 1) // 2])
