"""What a node keeps of its chain, and the promise that a block is kept whole or not at all.

A store holds genesis, every final block with its certificate, the events, where each transaction went, and the state
after the last block. `commit` writes all of one block in one transaction; after a crash the store is at a block's
end, never between two. It knows nothing of consensus: the write-ahead log and the signer's record are files of
their own, so that restoring an old copy of this one cannot make a node sign twice.

It may hold less of the past. `prune` forgets the bodies of old blocks and keeps their headers and certificates.
`restore` begins a chain in the middle: with the headers that hand over to other authorities, a last header, and the
state after it. What was forgotten, or was never here, raises `Pruned`; what lies ahead, `NotFound`.

All methods may be called from any thread, one call at a time per store.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from pdfedchain.application import Execution
from pdfedchain.crypto import StateTree
from pdfedchain.ids import Hash
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.block import FinalBlock
from pdfedchain.types.event import StoredEvent, StoredTransaction
from pdfedchain.types.genesis import Genesis
from pdfedchain.types.light import LightBlock

__all__ = ["Store"]


class Store(Protocol):
    """See the module's text. Heights count from 1; genesis is height 0 and no block."""

    def initialise(self, genesis: Genesis, state: StateTree) -> None:
        """Begin a chain with the state before its first block.

        Raises:
            StateError: the store holds a chain already.
        """
        ...

    def restore(
        self,
        genesis: Genesis,
        handovers: Sequence[LightBlock],
        last: LightBlock,
        state: StateTree,
        authorities: AuthoritySet,
    ) -> None:
        """Begin a chain after its block ``last``. All of it is kept, durable on return, or nothing is.

        Whether these are the chain's blocks is the caller's to check (`pdfedchain.light`).

        Args:
            handovers: the blocks before ``last`` after which other authorities vote, in order of height.
            state: after ``last``.
            authorities: who vote on the block after it.

        Raises:
            StateError: the store holds a chain already, or state and authorities are not those of ``last``.
        """
        ...

    def genesis(self) -> Genesis | None:
        """Genesis, ``None`` in an empty store."""
        ...

    def height(self) -> int:
        """Height of the last final block; 0 with only genesis or nothing."""
        ...

    def commit(self, final: FinalBlock, execution: Execution) -> None:
        """Keep a block, its certificate, its events and the state after it. Durable on return.

        Raises:
            StateError: it does not follow the last block, its state root is not the execution's, or it could not
                be written; the store is as before.
        """
        ...

    def batch(self) -> AbstractContextManager[None]:
        """Blocks committed inside become durable together when it ends, however it ends: a crash loses all of them.

        For blocks that others have and nothing was signed on, so one synchronisation of the disk serves many. Does not
        nest; wait for nothing inside, since readers in other threads wait. They are all to be seen inside at once, but
        may be written only in the end, so what cannot be written may show in any call inside, or when the batch ends.

        Raises:
            StateError: they could not be written; the store is as before the batch.
        """
        ...

    def final_block(self, height: int) -> FinalBlock:
        """The block of that height.

        Raises:
            Pruned: its body is not kept here any more, or never was.
            NotFound: there is no such block yet.
        """
        ...

    def block_by_hash(self, block: Hash) -> FinalBlock:
        """The block with that hash.

        Raises:
            Pruned: it is known, but its body is not kept here any more.
            NotFound: it is not known here.
        """
        ...

    def light_block(self, height: int) -> LightBlock:
        """Header and certificate of the block of that height; they outlive its body.

        Raises:
            Pruned: the store was restored from a later block.
            NotFound: there is no such block yet.
        """
        ...

    def handovers(self, *, from_height: int = 1, to_height: int | None = None) -> Iterator[LightBlock]:
        """The blocks of these heights, both ends included, after which other authorities vote, in order."""
        ...

    def headers_from(self) -> int:
        """Lowest height from which on all headers are here: 1, or where the store was restored."""
        ...

    def bodies_from(self) -> int:
        """Lowest height from which on all bodies are here; one above the last block if none is."""
        ...

    def events_from(self) -> int:
        """Lowest height from which on all events are here; `events` is silent about those below."""
        ...

    def prune(self, *, below_height: int, events: bool = False) -> int:
        """Forget the bodies of the blocks below a height; with ``events`` those blocks' events too.

        Headers, certificates, and the places of transactions stay. The last block's body always stays.

        Returns:
            How many bodies were forgotten.
        """
        ...

    def state(self) -> StateTree:
        """The state after the last block.

        Raises:
            NotFound: the store is empty.
            StateError: what is stored does not have the root that the last header states.
        """
        ...

    def next_authorities(self) -> AuthoritySet:
        """Who votes on the block after the last one.

        Raises:
            NotFound: the store is empty.
        """
        ...

    def events(
        self, *, from_height: int, to_height: int | None = None, kind: str | None = None, subject: bytes | None = None
    ) -> Iterator[StoredEvent]:
        """Events of these heights, both ends included, in order; only those of a kind or about a subject if given."""
        ...

    def transaction_height(self, transaction: Hash) -> int | None:
        """Height of the block with the transaction of this hash (`pdfedchain.types.transaction.transaction_hash`)."""
        ...

    def transactions_about(
        self, subject: bytes, *, from_height: int = 1, to_height: int | None = None
    ) -> Iterator[StoredTransaction]:
        """Where the transactions that concern an account or a thing are (`Execution.transaction_subjects`), in order.

        Both ends of the heights are included. A place outlives the body of its block.
        """
        ...

    def state_value(self, key: bytes) -> bytes | None:
        """One value of the state after the last block, without building the tree."""
        ...

    def state_items(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Keys with this prefix and their values, in order of keys, without building the tree.

        A block committed while the iteration runs may show in its later part.
        """
        ...

    def close(self) -> None:
        """Release files. The store must not be used afterwards."""
        ...
