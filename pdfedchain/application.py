"""The contract between the chain and what it is used for.

The engine orders opaque transactions and makes blocks final. An `Application` says which transactions and blocks
are allowed and what they do to the state. The federated-learning ledger (`pdfedchain.state`) is one application;
an embedding program brings its own.

Two verdicts. `execute` is the *structural* one: deterministic, the same on every node, always binding. `judge` is
the *local* one: an authority's own opinion of a fresh proposal, for example whether the score it settles agrees
with its own recomputation. A local verdict may be pending while work is under way, may change from pending to
valid or invalid, and a quorum of prevotes overrides it (see `pdfedchain.consensus`).

All methods are synchronous, deterministic except `propose` and `judge`, and must not keep a reference to state:
`StateTree` is immutable, so a block is executed speculatively by simply calling `execute`.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeGuard

from pdfedchain.crypto import StateTree
from pdfedchain.ids import Address, Hash
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.block import BlockBody
from pdfedchain.types.event import Event
from pdfedchain.types.genesis import ChainParameters, Genesis

__all__ = [
    "Application",
    "BlockContext",
    "Execution",
    "Governed",
    "Judgement",
    "Rules",
    "rules_of",
    "versions_of",
    "versions_text",
]


class Judgement(enum.Enum):
    """An authority's own opinion of a fresh proposal."""

    VALID = "valid"
    INVALID = "invalid"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class BlockContext:
    """Where and when a block is executed: the header without what execution yields.

    Attributes:
        round: round of first proposal; zero in `Application.check`.
        beacon: randomness fixed before this block's proposer was known to anybody; see the ledger.
        authorities: the set that votes on this block.
    """

    chain_id: str
    version: int
    height: int
    round: int
    time_ms: int
    parent: Hash
    proposer: Address
    beacon: Hash
    authorities: AuthoritySet


@dataclass(frozen=True, slots=True)
class Execution:
    """What executing a block yields.

    Attributes:
        next_authorities: the set that votes on the next block.
        transaction_subjects: for each transaction in order, the accounts and things it concerns, by which stores
            index it; empty where the application does not say. No part of what a block means.
    """

    state: StateTree
    events: tuple[Event, ...]
    next_authorities: AuthoritySet
    transaction_subjects: tuple[tuple[bytes, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Rules:
    """What a chain may change about its own blocks, beside who votes on them.

    Attributes:
        version: in the header, and in the context of whoever executes it.
    """

    version: int
    parameters: ChainParameters


class Application(Protocol):
    """What a chain executes. Implementations hold no chain state of their own."""

    name: str
    version: int

    def genesis_state(self, genesis: Genesis) -> StateTree:
        """The state before the first block.

        Raises:
            DecodeError: ``genesis.application_state`` is not what this application writes.
        """
        ...

    def check(self, state: StateTree, context: BlockContext, transaction: bytes) -> None:
        """Whether a transaction succeeds on top of ``state``, so that a block with it is worth making.

        Raises:
            NotYet: refused now, but it may succeed later. Who raises it says what a stranger may leave in a pool,
                so pools bound such transactions in number, bytes and age.
            InputError: it never can (malformed, wrongly signed, replayed).
        """
        ...

    def propose(self, state: StateTree, context: BlockContext, candidates: Sequence[bytes]) -> BlockBody:
        """Choose and order transactions for a block; those that fail now are left out.

        The result must pass `execute` on the same state and context.
        """
        ...

    def execute(self, state: StateTree, context: BlockContext, body: BlockBody) -> Execution:
        """The state transition: deterministic, and nothing but its arguments counts.

        Raises:
            InvalidBlock: the body is not allowed here; nothing has changed.
        """
        ...

    def judge(self, state: StateTree, context: BlockContext, body: BlockBody) -> Judgement:
        """This node's own opinion of a fresh proposal that passes `execute`. Cheap: work happens elsewhere."""
        ...

    def has_open_deadline(self, state: StateTree) -> bool:
        """Whether time passing changes the state, so that blocks are needed although nobody transacts."""
        ...


class Governed(Protocol):
    """An application that changes the rules of its own chain. Where one does not, those of genesis hold for good.

    One with these two attributes is taken for it.

    Attributes:
        versions: of the blocks that it can execute; `BlockContext.version` says which one a block has.
    """

    versions: range

    def rules(self, state: StateTree, height: int) -> Rules:
        """The rules of the block of this height.

        Args:
            state: after the block before.
        """
        ...


def rules_of(application: Application, genesis: Genesis, state: StateTree, height: int) -> Rules:
    """The rules of the block of a height; ``state`` is the one before it."""
    if _is_governed(application):
        return application.rules(state, height)
    return Rules(genesis.version, genesis.parameters)


def _is_governed(application: Application) -> TypeGuard[Governed]:
    # Asked with every block; `isinstance` with a protocol costs as much as half a signature.
    return hasattr(application, "versions") and hasattr(application, "rules")


def versions_of(application: Application) -> range:
    """Versions of blocks that an application can execute."""
    if _is_governed(application):
        return application.versions
    return range(application.version, application.version + 1)


def versions_text(versions: range) -> str:
    """For people: ``1``, or ``1 to 3``."""
    first, last = versions[0], versions[-1]
    return str(first) if first == last else f"{first} to {last}"
