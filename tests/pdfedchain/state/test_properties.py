"""Random courses of events: what must hold after every single transaction, valid or not."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pdfedchain.codec import decode
from pdfedchain.crypto import SigningKey
from pdfedchain.errors import InvalidBlock
from pdfedchain.ids import Cid
from pdfedchain.state.ledger import Ledger
from pdfedchain.state.view import ACCOUNT_PREFIX, CHECKPOINT_PREFIX
from pdfedchain.types.ballot import BallotKind
from pdfedchain.types.block import BlockBody
from pdfedchain.types.checkpoint import Account, Checkpoint, CheckpointStatus, RejectionReason
from pdfedchain.types.transaction import Have, Payload, Transfer
from tests.pdfedchain.ledger_world import GOOD, World, cid_of, key_of, offer, registration, varied

PEOPLE = [key_of(name) for name in ("authority0", "authority1", "authority2", "trainer", "voter", "stranger")]
NAMES = ("one", "two", "three", "four")
ORDER = {status: rank for rank, status in enumerate(CheckpointStatus)}
MAY_RETURN = (RejectionReason.UNAVAILABLE, RejectionReason.DISAGREEMENT)

people = st.sampled_from(PEOPLE)
names = st.sampled_from(NAMES)
reports = st.sampled_from((GOOD, GOOD, GOOD, varied(confirmed=15)))
kinds = st.sampled_from(BallotKind)


@st.composite
def payloads(draw: st.DrawFn, world: World) -> tuple[SigningKey, Payload]:
    """Something somebody might send; most of it makes sense sometimes."""
    key, name = draw(people), draw(names)
    match draw(st.integers(0, 7)):
        case 0:
            return key, Transfer(draw(people).address, draw(st.integers(1, 1_500)))
        case 1:
            return key, registration("someone", roles=draw(st.integers(1, 3)))
        case 2 | 3:
            parents = (cid_of(draw(names)),) if draw(st.booleans()) else ()
            return key, offer(name, parents=parents, digest=draw(st.sampled_from((name, name, "shared"))))
        case 4 | 5:
            return key, Have(cid_of(name))
        case 6:
            return world.commitment(name, key, draw(reports), draw(kinds))
        case _:
            return world.opening(name, key, draw(reports), draw(kinds))


def push(world: World, name: str) -> None:
    """The next thing that honest authorities do for a checkpoint, in one block; an empty one where they cannot."""
    checkpoint = world.view.checkpoint(cid_of(name))
    actions: list[tuple[SigningKey, Payload]] = []
    if checkpoint is not None:
        ballots = {ballot.voter: ballot for ballot in world.view.score_ballots(checkpoint)}
        for key in world.authorities:
            ballot = ballots.get(key.address)
            if checkpoint.status is CheckpointStatus.SUBMITTED and key.address not in checkpoint.holders:
                actions.append((key, Have(checkpoint.weights)))
            elif checkpoint.status is CheckpointStatus.SCORING and ballot is None:
                actions.append(world.commitment(name, key, GOOD))
            elif checkpoint.reveal_height is not None and ballot is not None and ballot.report is None:
                actions.append(world.opening(name, key, GOOD))
    try:
        world.block(*actions)
    except InvalidBlock:  # a deadline has passed, or somebody sealed another report before
        world.block()


def balances(world: World) -> int:
    accounts = (value for key, value in world.state.items() if key.startswith(ACCOUNT_PREFIX))
    return sum(decode(Account, value, size_bytes_max=100).balance for value in accounts)


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
        assert ORDER[new.status] >= ORDER[old.status] or retried
        assert (new.author, new.weights_digest) == (old.author, old.weights_digest) or retried
        if old.seed is not None:
            assert new.seed == old.seed
        if old.status is CheckpointStatus.ACCEPTED:
            assert new == old
    for record in world.view.task_records():
        for listed, statuses in ((record.queue, ("queued",)), (record.open, ("submitted", "held", "scoring"))):
            expected = {cid for cid, checkpoint in after.items() if checkpoint.status.value in statuses}
            assert (expected, len(expected)) == (set(listed), len(listed))
    for checkpoint in after.values():
        unsettled = [c for c in after.values() if c.author == checkpoint.author and c.settled_height is None]
        assert world.view.open_count(checkpoint.task, checkpoint.author) == len(unsettled)
        assert (checkpoint.settled_height is None) == (
            checkpoint.status not in (CheckpointStatus.ACCEPTED, CheckpointStatus.REJECTED)
        )


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_whatever_is_sent_no_refusal_changes_anything_and_no_balance_is_lost(data: st.DataObject) -> None:
    world = World(3)
    issued = balances(world)
    if data.draw(st.booleans(), label="with an accepted checkpoint"):
        world.accept("one")
    for _ in range(data.draw(st.integers(20, 60), label="blocks")):
        before, root = checkpoints(world), world.state.root
        action = data.draw(st.integers(0, 9), label="action")
        if action == 0:
            world.settle_all()
        elif action <= 4:
            push(world, data.draw(names))
        elif action == 5:
            world.block(advance_ms=data.draw(st.sampled_from((1_000, 1_000, 1_000, 40_000))))
        else:
            item = data.draw(payloads(world))
            try:
                world.block(item)
            except InvalidBlock:
                assert world.state.root == root
        assert balances(world) == issued
        check_step(before, world)


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_what_a_proposer_executed_while_choosing_is_what_everybody_executes(data: st.DataObject) -> None:
    world = World(3)
    if data.draw(st.booleans(), label="with an accepted checkpoint"):
        world.accept("one")
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
