"""What the replica needs of durable storage, as protocols.

`pdfedchain.store` implements them without importing this module, and this package does not import the store: the
shapes meet in whoever builds a replica. The chain's store, the log and the signer record are three things with
three fates: the first may be rebuilt from peers, the second is worthless after its height, the third must never
go back in time.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from pdfedchain.application import Execution
from pdfedchain.crypto import SigningKey, StateTree
from pdfedchain.ids import Hash
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.block import BlockBody, FinalBlock
from pdfedchain.types.genesis import Genesis
from pdfedchain.types.light import LightBlock

__all__ = ["BlockStore", "LearnsFromFailure", "Log", "Signer"]


class BlockStore(Protocol):
    """The part of `pdfedchain.store.interface.Store` that consensus uses."""

    def genesis(self) -> Genesis | None: ...

    def height(self) -> int: ...

    def commit(self, final: FinalBlock, execution: Execution) -> None: ...

    def final_block(self, height: int) -> FinalBlock: ...

    def light_block(self, height: int) -> LightBlock: ...

    def state(self) -> StateTree: ...

    def next_authorities(self) -> AuthoritySet: ...


class Log(Protocol):
    """Append-only log of one height's inputs (`pdfedchain.store.wal`)."""

    @property
    def height(self) -> int | None:
        """The height it belongs to; ``None`` while it belongs to none."""
        ...

    def entries(self) -> tuple[bytes, ...]:
        """What survived, in order."""
        ...

    def begin(self, height: int) -> None:
        """Forget everything; belong to this height from now on."""
        ...

    def append(self, entry: bytes) -> None:
        """Add an entry; durable after the next `sync`."""
        ...

    def sync(self) -> None:
        """Everything appended survives a crash from now on."""
        ...


class Signer(Protocol):
    """What this key has signed (`pdfedchain.store.signer`)."""

    def sign(
        self, height: int, round_: int, step: int, *, block: Hash | None, message: bytes, key: SigningKey
    ) -> bytes:
        """Record durably, then sign; the same message again gives the same signature.

        Args:
            step: 0 proposal, 1 prevote, 2 precommit.
            block: what the message is for, so that votes and locks survive the loss of the log.

        Raises:
            WouldDoubleSign: another message was signed here, or a later slot was.
        """
        ...

    def signed(self, height: int) -> tuple[tuple[int, int, Hash | None, bytes], ...]:
        """(round, step, block, signature) of all that was signed at this height, in order."""
        ...


@runtime_checkable
class LearnsFromFailure(Protocol):
    """An application that wants to know when what it proposed in round 0 did not become final there."""

    def on_attempt_failed(self, height: int, body: BlockBody) -> None:
        """Round 0 of ``height`` ended without deciding on this body of ours. Local knowledge, never part of state."""
        ...
