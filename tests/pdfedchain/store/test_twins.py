"""The store in memory and the one on disk answer alike, whatever is done to them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pdfedchain.errors import NotFound, StateError
from pdfedchain.ids import Hash
from pdfedchain.store.interface import Store
from pdfedchain.store.memory import MemoryStore
from pdfedchain.store.sqlite import SqliteStore
from pdfedchain.types.transaction import transaction_hash
from tests.pdfedchain.chain_world import Maker, words_genesis

WORDS = st.sampled_from([b"a=1", b"a=22", b"-a", b"b/x=3", b"b/y=", b"@authority1 authority2", b"@authority3"])
STEPS = st.lists(
    st.tuples(st.just("commit"), st.lists(WORDS, max_size=3))
    | st.tuples(st.just("prune"), st.integers(0, 12), st.booleans())
    | st.tuples(st.just("batch"), st.lists(st.lists(WORDS, max_size=3), max_size=4), st.booleans())
    | st.tuples(st.just("restore"))
    | st.tuples(st.just("refuse"))
    | st.tuples(st.just("reopen")),
    max_size=12,
)


def answer(ask: Callable[[], Any]) -> Any:
    """What it gives, or how it refuses."""
    try:
        return ask()
    except (NotFound, StateError) as error:
        return type(error), str(error)


def everything(store: Store) -> dict[str, Any]:
    """All that can be asked."""
    height = store.height()
    found: dict[str, Any] = {
        "height": height,
        "from": (store.headers_from(), store.bodies_from(), store.events_from()),
        "genesis": store.genesis(),
        "root": store.state().root,
        "authorities": store.next_authorities(),
        "state": list(store.state_items(b"")),
        "prefix": list(store.state_items(b"b/")),
        "handovers": list(store.handovers()),
        "later handovers": list(store.handovers(from_height=3, to_height=6)),
        "events": list(store.events(from_height=0)),
        "some events": list(store.events(from_height=2, to_height=5, kind="written", subject=b"a")),
        "about": list(store.transactions_about(b"a")),
        "about lately": list(store.transactions_about(b"any", from_height=2, to_height=4)),
        "about any": list(store.transactions_about(b"any")),
        "written": list(store.events(from_height=1, kind="written")),
        "where": [store.transaction_height(transaction_hash(word)) for word in (b"a=1", b"-a", b"never")],
    }
    for at in range(height + 3):
        found[f"block {at}"] = answer(lambda at=at: store.final_block(at))  # type: ignore[misc]
        light = found[f"header {at}"] = answer(lambda at=at: store.light_block(at))  # type: ignore[misc]
        if not isinstance(light, tuple):
            found[f"hash {at}"] = answer(lambda name=light.hash: store.block_by_hash(name))  # type: ignore[misc]
    found["no hash"] = answer(lambda: store.block_by_hash(Hash(bytes(32))))
    return found


class Twins:
    """Two stores to which the same is done."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = 0
        self.maker = Maker.start(words_genesis(3))
        self.memory, self.disk = MemoryStore(), self._file()
        for store in (self.memory, self.disk):
            store.initialise(self.maker.genesis, self.maker.position.state)

    def _file(self) -> SqliteStore:
        self._files += 1
        return SqliteStore(self._folder / f"{self._files}.db")

    def commit(self, words: list[bytes]) -> None:
        final, execution = self.maker.advance(*words)
        for store in (self.memory, self.disk):
            store.commit(final, execution)

    def batch(self, blocks: list[list[bytes]], look: bool) -> None:
        """Blocks that become durable together; asked for in between, they are all there."""
        with self.memory.batch(), self.disk.batch():
            for words in blocks:
                self.commit(words)
                if look:
                    assert everything(self.memory) == everything(self.disk)

    def prune(self, below_height: int, events: bool) -> None:
        memory, disk = (store.prune(below_height=below_height, events=events) for store in (self.memory, self.disk))
        assert memory == disk

    def restore(self) -> None:
        """Both go on as stores that have begun here."""
        height = self.memory.height()
        if height == 0:
            return
        old, self.memory = self.memory, MemoryStore()
        self.disk.close()
        self.disk = self._file()
        for store in (self.memory, self.disk):
            handovers = list(old.handovers(to_height=height - 1))
            genesis = self.maker.genesis
            store.restore(genesis, handovers, old.light_block(height), old.state(), old.next_authorities())

    def refuse(self) -> None:
        """A block that does not follow changes nothing."""
        final, execution = Maker.start(words_genesis(3, b"another")).next(b"a=1")
        memory, disk = (answer(lambda s=store: s.commit(final, execution)) for store in (self.memory, self.disk))  # type: ignore[misc]
        assert memory == disk
        assert memory[0] is StateError

    def reopen(self) -> None:
        self.disk.close()
        self.disk = SqliteStore(self._folder / f"{self._files}.db")


@given(steps=STEPS)
@settings(max_examples=25, deadline=None)
def test_twins_answer_alike(steps: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        twins = Twins(Path(folder))
        for name, *arguments in steps:
            getattr(twins, name)(*arguments)
        with closing(twins.disk):
            assert everything(twins.memory) == everything(twins.disk)
