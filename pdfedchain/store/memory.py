"""A store in memory: the twin of `pdfedchain.store.sqlite` for tests, simulations and embedded chains."""

from __future__ import annotations

import copy
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

from pdfedchain.application import Execution
from pdfedchain.crypto import StateTree
from pdfedchain.errors import NotFound
from pdfedchain.ids import Hash
from pdfedchain.store.checks import (
    check_follows,
    check_restored,
    empty_store,
    light_block_of,
    not_empty,
    not_here,
)
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.block import Block, BlockBody, FinalBlock
from pdfedchain.types.event import StoredEvent, StoredTransaction
from pdfedchain.types.genesis import Genesis
from pdfedchain.types.light import LightBlock
from pdfedchain.types.transaction import transaction_hash

__all__ = ["MemoryStore"]


class MemoryStore:
    """See `pdfedchain.store.interface.Store`. Nothing survives the process."""

    def __init__(self) -> None:
        self._genesis: Genesis | None = None
        self._state: StateTree | None = None
        self._authorities: AuthoritySet | None = None
        self._height = 0
        self._headers_from = 1
        self._events_from = 1
        self._light: dict[int, LightBlock] = {}
        self._handovers: list[int] = []
        self._bodies: dict[int, BlockBody] = {}
        self._heights: dict[Hash, int] = {}
        self._transactions: dict[Hash, int] = {}
        self._about: dict[bytes, list[StoredTransaction]] = {}
        self._events: list[StoredEvent] = []
        self._values: dict[bytes, bytes] = {}

    def initialise(self, genesis: Genesis, state: StateTree) -> None:
        if self._genesis is not None:
            raise not_empty(self._genesis)
        self._genesis, self._state, self._authorities = genesis, state, genesis.authorities
        self._values = dict(state.items())

    def restore(
        self,
        genesis: Genesis,
        handovers: Sequence[LightBlock],
        last: LightBlock,
        state: StateTree,
        authorities: AuthoritySet,
    ) -> None:
        check_restored(self._genesis, last, state, authorities)
        for block in (*handovers, last):
            self._add_light(block)
        self._headers_from, self._events_from = last.header.height, last.header.height + 1
        self._genesis, self._state, self._authorities = genesis, state, authorities
        self._values = dict(state.items())

    def genesis(self) -> Genesis | None:
        return self._genesis

    def height(self) -> int:
        return self._height

    def commit(self, final: FinalBlock, execution: Execution) -> None:
        before = self.state()
        check_follows(final, execution, self._genesis, self._light.get(self._height))
        height = final.block.header.height
        for key, value in execution.state.changes_since(before):
            if value is None:
                del self._values[key]
            else:
                self._values[key] = value
        self._events += [StoredEvent(height, index, event) for index, event in enumerate(execution.events)]
        for index, transaction in enumerate(final.block.body.transactions):
            self._add_transaction(StoredTransaction(height, index, transaction_hash(transaction)), execution)
        self._bodies[height] = final.block.body
        self._add_light(light_block_of(final, execution))
        self._state, self._authorities = execution.state, execution.next_authorities

    def _add_light(self, block: LightBlock) -> None:
        height = block.header.height
        self._light[height], self._heights[block.hash], self._height = block, height, height
        if block.is_handover:
            self._handovers.append(height)

    def batch(self) -> AbstractContextManager[None]:
        return nullcontext()

    def _add_transaction(self, stored: StoredTransaction, execution: Execution) -> None:
        self._transactions[stored.transaction] = stored.height
        if execution.transaction_subjects:
            for subject in set(execution.transaction_subjects[stored.index]):
                self._about.setdefault(subject, []).append(stored)

    def final_block(self, height: int) -> FinalBlock:
        body = self._bodies.get(height)
        if body is None:
            raise not_here("block", height, kept_from=self.bodies_from(), last=self._height)
        light = self._light[height]
        return FinalBlock(Block(light.header, body), light.certificate)

    def block_by_hash(self, block: Hash) -> FinalBlock:
        height = self._heights.get(block)
        if height is None:
            raise NotFound(f"no block {block.hex()} is stored")
        return self.final_block(height)

    def light_block(self, height: int) -> LightBlock:
        light = self._light.get(height)
        if light is None:
            raise not_here("header", height, kept_from=self._headers_from, last=self._height)
        return light

    def handovers(self, *, from_height: int = 1, to_height: int | None = None) -> Iterator[LightBlock]:
        for height in self._handovers[bisect_left(self._handovers, from_height) :]:
            if to_height is not None and height > to_height:
                return
            yield self._light[height]

    def headers_from(self) -> int:
        return self._headers_from

    def events_from(self) -> int:
        return self._events_from

    def bodies_from(self) -> int:
        return self._height - len(self._bodies) + 1

    def prune(self, *, below_height: int, events: bool = False) -> int:
        below = min(below_height, self._height)
        heights = [height for height in self._bodies if height < below]
        for height in heights:
            del self._bodies[height]
        if events:
            self._events = [stored for stored in self._events if stored.height >= below]
            self._events_from = max(self._events_from, below)
        return len(heights)

    def state(self) -> StateTree:
        if self._state is None:
            raise empty_store()
        return self._state

    def next_authorities(self) -> AuthoritySet:
        if self._authorities is None:
            raise empty_store()
        return self._authorities

    def events(
        self, *, from_height: int, to_height: int | None = None, kind: str | None = None, subject: bytes | None = None
    ) -> Iterator[StoredEvent]:
        for stored in list(self._events):
            if (
                stored.height >= from_height
                and (to_height is None or stored.height <= to_height)
                and (kind is None or stored.event.kind == kind)
                and (subject is None or subject in stored.event.subjects)
            ):
                yield stored

    def transaction_height(self, transaction: Hash) -> int | None:
        return self._transactions.get(transaction)

    def transactions_about(
        self, subject: bytes, *, from_height: int = 1, to_height: int | None = None
    ) -> Iterator[StoredTransaction]:
        for stored in list(self._about.get(subject, ())):
            if stored.height >= from_height and (to_height is None or stored.height <= to_height):
                yield stored

    def state_value(self, key: bytes) -> bytes | None:
        return self._values.get(key)

    def state_items(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key in sorted(key for key in self._values if key.startswith(prefix)):
            value = self._values.get(key)
            if value is not None:
                yield key, value

    def copy(self) -> MemoryStore:
        """An independent store with the same chain; the state is shared, since it cannot change."""
        twin = MemoryStore()
        twin.become(self)
        return twin

    def become(self, other: MemoryStore) -> None:
        """Hold what another store holds, and forget everything else; whoever uses this store goes on using it."""
        for name, value in vars(other).items():
            shallow = copy.copy(value) if isinstance(value, list | dict) else value
            setattr(self, name, shallow)
        self._about = {subject: list(places) for subject, places in other._about.items()}

    def close(self) -> None:
        """Nothing to release."""
