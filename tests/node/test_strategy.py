"""What trainers are offered to train from, and what they choose."""

from __future__ import annotations

import pytest

from node.ballot_book import BallotBook
from node.head import Head
from node.strategy import STRATEGIES, candidates, strategy_named
from pdfedchain.crypto import hash_of
from pdfedchain.errors import UsageError
from pdfedchain.ids import Cid
from pdfedchain.store.memory import MemoryStore
from pdfedchain.types.ballot import BallotKind
from pdfedchain.types.score import Unscorable, UnscorableReason
from tests.pdfedchain.ledger_world import TASK, World, cid_of, key_of, varied

WEIGHT = TASK.scoring.novelty_weight


@pytest.fixture(scope="module")
def world() -> World:
    """Three accepted checkpoints by two authors, one rejected, one with the best score under quarantine."""
    world = World()
    world.accept("first", report=varied(fid_micro=60_000))
    world.accept("second", "voter", report=varied(fid_micro=50_000))
    world.accept("third", report=varied(fid_micro=40_000))
    world.submit("rejected")
    world.score("rejected", Unscorable(UnscorableReason.NON_FINITE))
    world.accept("suspect", report=varied(fid_micro=1_000))
    world.vote("suspect", dict.fromkeys(("voter", "authority0", "authority1", "authority2"), varied(confirmed=15)))
    assert world.checkpoint("suspect").status.value == "quarantined"
    return world


def head_of(world: World) -> Head:
    store = MemoryStore()
    store.initialise(world.genesis, world.state)
    return Head(store)


def test_only_accepted_checkpoints_outside_quarantine_are_offered(world: World) -> None:
    found = candidates(head_of(world), BallotBook(":memory:"), hash_of(TASK), TASK)
    assert {one.checkpoint.weights for one in found} == {cid_of("first"), cid_of("second"), cid_of("third")}
    assert all(one.own_private_qn_micro is None for one in found)


@pytest.mark.parametrize(
    ("strategy", "author", "chosen"),
    [
        ("best", "trainer", ("third",)),
        ("best-of-others", "trainer", ("second",)),
        ("best-of-others", "voter", ("third",)),
        ("mean-of-two-best", "trainer", ("third", "second")),
        ("best-private", "trainer", ("first",)),
    ],
)
def test_strategies_choose_parents(world: World, strategy: str, author: str, chosen: tuple[str, ...]) -> None:
    book = BallotBook(":memory:")
    book.record(cid_of("first"), BallotKind.PRIVATE, varied(fid_micro=10_000).coarse())
    book.record(cid_of("second"), BallotKind.PRIVATE, varied(fid_micro=90_000).coarse())
    found = candidates(head_of(world), book, hash_of(TASK), TASK)
    expected: tuple[Cid, ...] = tuple(cid_of(name) for name in chosen)
    assert strategy_named(strategy)(found, key_of(author).address) == expected


def test_without_candidates_training_is_from_scratch_and_unknown_names_are_refused() -> None:
    assert {strategy([], key_of("trainer").address) for strategy in STRATEGIES.values()} == {()}
    with pytest.raises(UsageError, match="unknown strategy"):
        strategy_named("luckiest")
