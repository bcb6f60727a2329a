"""A store in memory: the twin of `pdfedchain.store.sqlite` for tests, simulations and embedded chains."""

from __future__ import annotations

from collections.abc import Iterator

from pdfedchain.application import Execution
from pdfedchain.crypto import StateTree
from pdfedchain.errors import NotFound
from pdfedchain.ids import Hash
from pdfedchain.store.checks import check_follows, empty_store, not_empty
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.block import FinalBlock
from pdfedchain.types.event import StoredEvent
from pdfedchain.types.genesis import Genesis
from pdfedchain.types.transaction import transaction_hash

__all__ = ["MemoryStore"]


class MemoryStore:
    """See `pdfedchain.store.interface.Store`. Nothing survives the process."""

    def __init__(self) -> None:
        self._genesis: Genesis | None = None
        self._state: StateTree | None = None
        self._authorities: AuthoritySet | None = None
        self._blocks: list[FinalBlock] = []
        self._heights: dict[Hash, int] = {}
        self._transactions: dict[Hash, int] = {}
        self._events: list[StoredEvent] = []
        self._values: dict[bytes, bytes] = {}

    def initialise(self, genesis: Genesis, state: StateTree) -> None:
        if self._genesis is not None:
            raise not_empty(self._genesis)
        self._genesis, self._state, self._authorities = genesis, state, genesis.authorities
        self._values = dict(state.items())

    def genesis(self) -> Genesis | None:
        return self._genesis

    def height(self) -> int:
        return len(self._blocks)

    def commit(self, final: FinalBlock, execution: Execution) -> None:
        before = self.state()
        check_follows(final, execution, self._genesis, self._blocks[-1] if self._blocks else None)
        height = final.block.header.height
        for key, value in execution.state.changes_since(before):
            if value is None:
                del self._values[key]
            else:
                self._values[key] = value
        self._events += [StoredEvent(height, index, event) for index, event in enumerate(execution.events)]
        for transaction in final.block.body.transactions:
            self._transactions[transaction_hash(transaction)] = height
        self._heights[final.block.hash] = height
        self._blocks.append(final)
        self._state, self._authorities = execution.state, execution.next_authorities

    def final_block(self, height: int) -> FinalBlock:
        if not 1 <= height <= len(self._blocks):
            raise NotFound(f"no block of height {height} is stored; the last one is {len(self._blocks)}")
        return self._blocks[height - 1]

    def block_by_hash(self, block: Hash) -> FinalBlock:
        height = self._heights.get(block)
        if height is None:
            raise NotFound(f"no block {block.hex()} is stored")
        return self._blocks[height - 1]

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
        twin._genesis, twin._state, twin._authorities = self._genesis, self._state, self._authorities
        twin._blocks, twin._events = list(self._blocks), list(self._events)
        twin._heights, twin._transactions, twin._values = (
            dict(self._heights),
            dict(self._transactions),
            dict(self._values),
        )
        return twin

    def close(self) -> None:
        """Nothing to release."""
