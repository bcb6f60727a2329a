"""What every store promises, asked of each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pdfedchain.crypto import StateTree
from pdfedchain.errors import NotFound, Pruned, StateError
from pdfedchain.ids import Hash
from pdfedchain.store.interface import Store
from pdfedchain.store.memory import MemoryStore
from pdfedchain.store.sqlite import SqliteStore
from pdfedchain.types.event import StoredEvent
from pdfedchain.types.transaction import transaction_hash
from tests.pdfedchain.chain_world import Maker, words_genesis

MakeStore = Callable[[], Store]


@pytest.fixture(params=["memory", "sqlite"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeStore]:
    stores: list[Store] = []

    def make() -> Store:
        stores.append(MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / f"{len(stores)}.db"))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def store(make_store: MakeStore) -> Store:
    return make_store()


def begin(store: Store) -> Maker:
    maker = Maker.start()
    store.initialise(maker.genesis, maker.position.state)
    return maker


def test_blocks_of_a_batch_are_there_at_once_and_after_it(store: Store) -> None:
    maker = begin(store)
    with store.batch():
        for height in (1, 2, 3):
            final, execution = maker.advance(b"word%d" % height)
            store.commit(final, execution)
            assert (store.height(), store.state().root) == (height, execution.state.root)
    assert (store.height(), store.state_value(b"word3")) == (3, execution.state.get(b"word3"))
    assert store.final_block(2).block.header.height == 2


def test_what_a_batch_had_committed_before_it_failed_stays(store: Store) -> None:
    maker = begin(store)
    first, execution = maker.advance(b"first")

    def commit_twice() -> None:
        with store.batch():
            store.commit(first, execution)
            store.commit(first, execution)

    with pytest.raises(StateError, match="follow"):
        commit_twice()
    assert (store.height(), store.state().root) == (1, execution.state.root)
    second, execution = maker.advance(b"second")
    store.commit(second, execution)
    assert store.height() == 2


def test_an_empty_store_holds_nothing(store: Store) -> None:
    assert (store.genesis(), store.height(), store.state_value(b"genesis")) == (None, 0, None)
    assert list(store.events(from_height=0)) == []
    assert list(store.state_items(b"")) == []
    final, execution = Maker.start().next()
    for use in (store.state, store.next_authorities, lambda: store.commit(final, execution)):
        with pytest.raises(NotFound, match="empty"):
            use()


def test_a_store_begins_with_a_genesis_once(store: Store) -> None:
    maker = begin(store)
    assert (store.genesis(), store.height()) == (maker.genesis, 0)
    assert store.next_authorities() == maker.genesis.authorities
    assert store.state().root == maker.position.state.root
    assert store.state_value(b"genesis") == b"once upon a time"
    with pytest.raises(StateError, match="words"):
        store.initialise(words_genesis(text=b"another"), StateTree())
    assert store.genesis() == maker.genesis


def test_blocks_come_back_by_height_and_hash(store: Store) -> None:
    maker = begin(store)
    finals = []
    for word in (b"a=1", b"b=2", b"-a"):
        final, execution = maker.advance(word)
        store.commit(final, execution)
        finals.append(final)
    assert store.height() == 3
    assert [store.final_block(height) for height in (1, 2, 3)] == finals
    assert [store.block_by_hash(final.block.hash) for final in finals] == finals
    for height in (0, 4, -1, 2**63 - 1, 2**70):
        with pytest.raises(NotFound):
            store.final_block(height)
    with pytest.raises(NotFound):
        store.block_by_hash(Hash(bytes(32)))


def test_the_state_follows_the_blocks(store: Store) -> None:
    maker = begin(store)
    for words in ((b"a=1", b"b=2"), (), (b"-a", b"c=3"), (b"c=4",)):
        store.commit(*maker.advance(*words))
        assert store.state().root == maker.position.state.root
    assert dict(store.state_items(b"")) == {b"genesis": b"once upon a time", b"b": b"2", b"c": b"4"}
    assert (store.state_value(b"a"), store.state_value(b"c")) == (None, b"4")


def test_state_items_are_those_with_the_prefix_in_order(store: Store) -> None:
    maker = begin(store)
    words = [b"p/%03d=x" % i for i in range(600)] + [b"p=1", b"p0=2", b"o/=3", b"p/\xff\xff=4", b"q=5"]
    store.commit(*maker.advance(*words))
    keys = [key for key, _ in store.state_items(b"p/")]
    assert keys == [b"p/%03d" % i for i in range(600)] + [b"p/\xff\xff"]
    assert [key for key, _ in store.state_items(b"p/\xff")] == [b"p/\xff\xff"]
    assert list(store.state_items(b"zzz")) == []


def test_events_are_found_by_height_kind_and_subject(store: Store) -> None:
    maker = begin(store)
    for words in ((b"a=1", b"b=2"), (), (b"-a",), (b"a=5",)):
        store.commit(*maker.advance(*words))

    def found(**query: object) -> list[tuple[int, int, bytes]]:
        return [(s.height, s.index, s.event.subjects[0]) for s in store.events(**query)]  # type: ignore[arg-type]

    assert found(from_height=0) == [(1, 0, b"a"), (1, 1, b"b"), (3, 0, b"a"), (4, 0, b"a")]
    assert found(from_height=2, to_height=3) == [(3, 0, b"a")]
    assert found(from_height=0, kind="written") == [(1, 0, b"a"), (1, 1, b"b"), (4, 0, b"a")]
    assert found(from_height=0, subject=b"a") == [(1, 0, b"a"), (3, 0, b"a"), (4, 0, b"a")]
    assert found(from_height=2, subject=b"any", kind="written") == [(4, 0, b"a")]
    assert found(from_height=5) == found(from_height=0, kind="no") == found(from_height=0, subject=b"no") == []
    first = next(store.events(from_height=1))
    assert isinstance(first, StoredEvent)
    assert first.event.data == b"1"


def test_many_events_come_in_order(store: Store) -> None:
    maker = begin(store)
    for start in (0, 300):
        store.commit(*maker.advance(*[b"k%d=v" % i for i in range(start, start + 300)]))
    for query in ({}, {"subject": b"any"}, {"kind": "written"}):
        found = [(s.height, s.index) for s in store.events(from_height=0, **query)]  # type: ignore[arg-type]
        assert found == [(1, i) for i in range(300)] + [(2, i) for i in range(300)]


def test_transactions_are_found_by_hash(store: Store) -> None:
    maker = begin(store)
    for words in ((b"a=1",), (b"b=1", b"c=1")):
        store.commit(*maker.advance(*words))
    heights = [store.transaction_height(transaction_hash(word)) for word in (b"a=1", b"b=1", b"c=1", b"d=1")]
    assert heights == [1, 2, 2, None]


def test_transactions_are_found_by_what_they_are_about(store: Store) -> None:
    maker = begin(store)
    for words in ((b"a=1", b"b=1", b"a=2"), (), (b"-a",)):
        store.commit(*maker.advance(*words))

    def found(subject: bytes, **heights: int) -> list[tuple[int, int, Hash]]:
        return [(each.height, each.index, each.transaction) for each in store.transactions_about(subject, **heights)]

    one, two, gone = (transaction_hash(word) for word in (b"a=1", b"a=2", b"-a"))
    assert found(b"a") == [(1, 0, one), (1, 2, two), (3, 0, gone)]
    assert found(b"a", from_height=2) == found(b"a", from_height=3, to_height=3) == [(3, 0, gone)]
    assert found(b"a", to_height=2) == [(1, 0, one), (1, 2, two)]
    assert found(b"no") == []
    store.commit(*maker.advance(*[b"k%d=v" % i for i in range(300)]))
    assert [index for _, index, _ in found(b"any", from_height=4)] == list(range(300))
    store.prune(below_height=4)
    assert len(found(b"a")) == 3


def test_headers_and_handovers_are_found_by_height(store: Store) -> None:
    maker = begin(store)
    finals = []
    for word in (b"a=1", b"@authority1 authority2", b"b=2", b"@authority3", b"c=3"):
        final, execution = maker.advance(word)
        store.commit(final, execution)
        finals.append(final)
    light = [store.light_block(height) for height in range(1, 6)]
    assert [(each.header, each.certificate) for each in light] == [(f.block.header, f.certificate) for f in finals]
    assert [each.hash for each in light] == [final.block.hash for final in finals]
    assert [each.next_authorities is not None for each in light] == [False, True, False, True, False]
    assert light[3].next_authorities == store.next_authorities() == maker.position.authorities
    assert list(store.handovers()) == [light[1], light[3]]
    assert list(store.handovers(from_height=3)) == list(store.handovers(from_height=4, to_height=4)) == [light[3]]
    assert list(store.handovers(to_height=1)) == []
    for height in (0, 6, 2**70):
        with pytest.raises(NotFound, match="no header"):
            store.light_block(height)


def test_pruning_forgets_bodies_and_keeps_headers(store: Store) -> None:
    maker = begin(store)
    finals = []
    for i in range(6):
        final, execution = maker.advance(b"key%d=value" % i)
        store.commit(final, execution)
        finals.append(final)
    assert store.bodies_from() == 1
    assert store.prune(below_height=4) == 3
    assert store.prune(below_height=4) == 0
    assert (store.bodies_from(), store.headers_from(), store.height()) == (4, 1, 6)
    for height in (1, 3):
        with pytest.raises(Pruned, match="pruned"):
            store.final_block(height)
        assert store.light_block(height).header == finals[height - 1].block.header
    with pytest.raises(Pruned):
        store.block_by_hash(finals[0].block.hash)
    assert store.final_block(4) == finals[3]
    assert (len(list(store.events(from_height=0))), store.events_from()) == (6, 1)
    assert store.transaction_height(transaction_hash(b"key0=value")) == 1
    assert store.state().root == maker.position.state.root
    assert store.prune(below_height=100, events=True) == 2
    assert store.final_block(6) == finals[5]
    assert [stored.height for stored in store.events(from_height=0)] == [6]
    assert store.prune(below_height=2, events=True) == 0
    assert store.events_from() == 6
    store.commit(*maker.advance(b"more=1"))
    assert store.bodies_from() == 6


def test_a_store_begins_after_a_block(make_store: MakeStore) -> None:
    full, restored = make_store(), make_store()
    maker = begin(full)
    for word in (b"a=1", b"@authority1 authority2", b"b=2", b"c=3"):
        full.commit(*maker.advance(word))
    state, authorities, last = maker.position.state, maker.position.authorities, full.light_block(4)
    handovers = list(full.handovers())
    for wrong in ((last, StateTree(), authorities), (last, state, maker.genesis.authorities)):
        with pytest.raises(StateError, match="block 4"):
            restored.restore(maker.genesis, handovers, *wrong)
        assert (restored.genesis(), restored.height(), list(restored.handovers())) == (None, 0, [])
    restored.restore(maker.genesis, handovers, last, state, authorities)
    assert (restored.genesis(), restored.height()) == (maker.genesis, 4)
    assert (restored.headers_from(), restored.bodies_from(), restored.events_from()) == (4, 5, 5)
    assert (restored.state().root, restored.next_authorities()) == (state.root, authorities)
    assert dict(restored.state_items(b"")) == dict(full.state_items(b""))
    assert [block.header.height for block in restored.handovers()] == [2]
    assert restored.light_block(4) == last
    for height in (1, 3):
        with pytest.raises(Pruned):
            restored.light_block(height)
    with pytest.raises(Pruned):
        restored.final_block(4)
    for word in (b"d=4", b"-a"):
        final, execution = maker.advance(word)
        full.commit(final, execution)
        restored.commit(final, execution)
    assert restored.state().root == full.state().root
    assert restored.final_block(6) == full.final_block(6)
    assert restored.bodies_from() == 5
    for again in (full, restored):
        with pytest.raises(StateError, match="holds chain"):
            again.restore(maker.genesis, handovers, last, state, authorities)


def test_what_does_not_follow_is_refused_and_changes_nothing(store: Store) -> None:
    maker = begin(store)
    first, execution = maker.advance(b"a=1")
    second, second_execution = maker.advance(b"b=2")
    other, other_execution = Maker.start(words_genesis(text=b"another")).next(b"a=1")
    wrong = [
        (second, second_execution, "does not follow"),
        (other, other_execution, "does not follow"),
        (first, second_execution, "root"),
        (replace(first, certificate=second.certificate), execution, "certificate"),
    ]
    for final, outcome, message in wrong:
        with pytest.raises(StateError, match=message):
            store.commit(final, outcome)
        assert (store.height(), store.state_value(b"a")) == (0, None)
        assert list(store.events(from_height=0)) == []
    store.commit(first, execution)
    with pytest.raises(StateError, match="does not follow"):
        store.commit(first, execution)
    store.commit(second, second_execution)
    assert store.height() == 2


def test_a_store_may_be_used_from_a_worker_thread(store: Store) -> None:
    maker = begin(store)
    thread = Thread(target=lambda: store.commit(*maker.advance(b"a=1")))
    thread.start()
    thread.join()
    assert store.state_value(b"a") == b"1"


WORDS = st.builds(
    lambda key, value: b"-" + key if value is None else key + b"=" + value,
    st.sampled_from([b"a", b"b", b"c/1", b"c/2"]),
    st.none() | st.sampled_from([b"", b"1", b"22"]),
)


@given(blocks=st.lists(st.lists(WORDS, max_size=5), max_size=5))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_history_leaves_the_state_of_its_execution(make_store: MakeStore, blocks: list[list[bytes]]) -> None:
    store = make_store()
    maker = begin(store)
    for words in blocks:
        store.commit(*maker.advance(*words))
    expected = dict(maker.position.state.items())
    assert dict(store.state_items(b"")) == expected
    assert dict(store.state().items()) == expected
