"""A whole chain in one process: one authority, no network, no thread.

For programs that want a ledger with their own transactions and validity rule, and for tests of such rules::

    chain = Chain.create(single_genesis(MyApplication(), key), key, application=MyApplication())
    chain.submit(transaction)
    final = chain.produce()
    proven = chain.prove(b"some key")
    proven.verify(chain.genesis.authorities, chain.genesis.chain_id)

Blocks are made by the same replica that nodes of a network run, so they carry real certificates, and a chain made
here can be audited, served and verified like any other. What one authority cannot give is what a quorum is for:
nobody checks it. A chain of several authorities needs `pdfedchain.consensus.Replica` and a network.

Durable with a durable store (`pdfedchain.store.sqlite.SqliteStore`). The signer's record is in memory: a block leaves
this object only after the store has it, so a crash cannot leave a signed block that the store does not know.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from weakref import WeakSet

from pdfedchain.application import Application, BlockContext, versions_of, versions_text
from pdfedchain.consensus.blocks import Position
from pdfedchain.consensus.effects import Committed
from pdfedchain.consensus.replica import Replica
from pdfedchain.crypto import SigningKey, StateTree
from pdfedchain.errors import InputError, NotFound, NotYet, UsageError
from pdfedchain.ids import Hash
from pdfedchain.limits import TRANSACTION_SIZE_BYTES_MAX
from pdfedchain.proving import ProvenValue
from pdfedchain.state.ledger import Ledger
from pdfedchain.store.interface import Store
from pdfedchain.store.memory import MemoryStore
from pdfedchain.store.signer import MemorySigner
from pdfedchain.store.wal import MemoryLog
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.block import FinalBlock
from pdfedchain.types.event import StoredEvent
from pdfedchain.types.genesis import ChainParameters, Genesis
from pdfedchain.types.transaction import transaction_hash

__all__ = ["Chain", "Subscription", "single_genesis"]


def single_genesis(
    application: Application,
    key: SigningKey,
    *,
    chain_id: str = "embedded",
    application_state: bytes = b"",
    time_ms: int | None = None,
    parameters: ChainParameters | None = None,
) -> Genesis:
    """A genesis whose only authority is ``key``.

    Args:
        application_state: the application's initial data, encoded as it likes.
        time_ms: start of chain time; now if ``None``.
    """
    return Genesis(
        chain_id=chain_id,
        time_ms=_now_ms() if time_ms is None else time_ms,
        version=application.version,
        authorities=AuthoritySet(0, (key.address,)),
        parameters=parameters or ChainParameters(block_interval_min_ms=1),
        application=application.name,
        application_state=application_state,
    )


class Subscription:
    """Events of one kind, or all, in order; each comes once. Iterating ends where the chain ends, for now."""

    def __init__(self, store: Store, kind: str | None, from_height: int) -> None:
        self._store = store
        self._kind = kind
        self._next_height = from_height

    def __iter__(self) -> Iterator[StoredEvent]:
        return iter(self.take())

    def take(self) -> tuple[StoredEvent, ...]:
        """What has happened since the last call."""
        height = self._store.height()
        events = tuple(self._store.events(from_height=self._next_height, to_height=height, kind=self._kind))
        self._next_height = height + 1
        return events

    def rewind(self, height: int) -> None:
        """The chain went back to this height: what happens from here on comes, though its heights came before."""
        self._next_height = min(self._next_height, height + 1)


class Chain:
    """See the module's text. Make one with `create` or `open`."""

    def __init__(
        self, store: Store, key: SigningKey, application: Application, clock: Callable[[], int] | None = None
    ) -> None:
        """Use `create` or `open` instead.

        Raises:
            UsageError: the store is empty, or the key is not the chain's only authority.
        """
        genesis = store.genesis()
        if genesis is None:
            raise UsageError("the store holds no chain", hint="make one with Chain.create")
        members = store.next_authorities().members
        if members != (key.address,):
            raise UsageError(
                f"the key is not the only authority of chain {genesis.chain_id!r}, which has {len(members)}",
                hint="an embedded chain has one authority; several need replicas and a network",
            )
        versions = versions_of(application)
        if genesis.application != application.name or genesis.version not in versions:
            raise UsageError(
                f"the chain executes {genesis.application!r} version {genesis.version},"
                f" not {application.name!r} version {versions_text(versions)}"
            )
        self.genesis = genesis
        self._store = store
        self._key = key
        self._application = application
        self._clock = clock or _now_ms
        self._ahead_ms = 0
        self._waiting: dict[bytes, None] = {}
        #: Where and when a transaction was checked last.
        self._checked: tuple[Position, BlockContext] | None = None
        self._snapshots: list[_Moment] = []
        self._snapshots_taken = 0
        self._subscriptions: WeakSet[Subscription] = WeakSet()
        self._replica = self._started_replica()

    def _started_replica(self) -> Replica:
        # Its time stands still but in `produce`: no heartbeat of its own makes a block nobody asked for.
        self._replica_time_ms = 0
        replica = Replica(
            application=self._application,
            store=self._store,
            log=MemoryLog(),
            signer=MemorySigner(),
            key=self._key,
            clock=lambda: self._replica_time_ms,
            candidates=lambda: tuple(self._waiting),
        )
        replica.start()
        return replica

    @classmethod
    def create(
        cls,
        genesis: Genesis,
        key: SigningKey,
        *,
        application: Application | None = None,
        store: Store | None = None,
        clock: Callable[[], int] | None = None,
    ) -> Chain:
        """Begin a chain.

        Args:
            key: of the only authority of ``genesis``.
            application: the federated-learning ledger if ``None``.
            store: an empty one; in memory if ``None``.
            clock: milliseconds since the Unix epoch; the machine's if ``None``.

        Raises:
            DecodeError: the application cannot begin with this genesis.
            StateError: the store is not empty.
            UsageError: the key is not the only authority.
        """
        application = Ledger() if application is None else application
        if genesis.authorities.members != (key.address,):
            raise UsageError("an embedded chain has one authority, and its key is the one given")
        store = MemoryStore() if store is None else store
        store.initialise(genesis, application.genesis_state(genesis))
        return cls(store, key, application, clock)

    @classmethod
    def open(
        cls,
        store: Store,
        key: SigningKey,
        *,
        application: Application | None = None,
        clock: Callable[[], int] | None = None,
    ) -> Chain:
        """Go on with the chain in a store.

        Raises:
            UsageError: the store is empty, another application's, or the key is not the only authority.
        """
        return cls(store, key, Ledger() if application is None else application, clock)

    # Reading

    @property
    def height(self) -> int:
        """Height of the last block; 0 before the first."""
        return self._store.height()

    @property
    def state(self) -> StateTree:
        """The state after the last block."""
        return self._store.state()

    @property
    def store(self) -> Store:
        """Everything else: blocks, events, transactions."""
        return self._store

    @property
    def waiting(self) -> tuple[bytes, ...]:
        """Transactions for the next block, in order of arrival."""
        return tuple(self._waiting)

    def query(self, key: bytes) -> bytes | None:
        """The value of a key of the state, or ``None``."""
        return self._store.state_value(key)

    def prove(self, key: bytes) -> ProvenValue:
        """The value of a key with its proof.

        Raises:
            NotFound: there is no block yet, hence no certificate.
        """
        if self.height == 0:
            raise NotFound("nothing is certified before the first block", hint="call Chain.produce first")
        last, state = self._store.light_block(self.height), self.state
        return ProvenValue(key, state.get(key), state.prove(key), last.header, last.certificate)

    def subscribe(self, kind: str | None = None, *, from_height: int | None = None) -> Subscription:
        """Follow events.

        Args:
            kind: only of this kind.
            from_height: from this block on; from the next block on if ``None``.
        """
        subscription = Subscription(self._store, kind, self.height + 1 if from_height is None else from_height)
        self._subscriptions.add(subscription)
        return subscription

    # Writing

    def submit(self, transaction: bytes) -> Hash:
        """Put a transaction among those for the next blocks; one that waits already is not added twice.

        Returns:
            Its hash, for `Store.transaction_height`.

        Raises:
            InputError: it can never succeed.
        """
        if not 0 < len(transaction) <= TRANSACTION_SIZE_BYTES_MAX:
            raise InputError(f"a transaction has 1 to {TRANSACTION_SIZE_BYTES_MAX} bytes, not {len(transaction)}")
        self._check(transaction)
        self._waiting.setdefault(transaction)
        return transaction_hash(transaction)

    def produce(self) -> FinalBlock:
        """Make the next block final, with the waiting transactions that succeed now, or empty.

        Those that cannot succeed any more are forgotten.

        Raises:
            StateError: the block could not be stored.
        """
        self._replica_time_ms = self._time_ms()
        committed = [effect for effect in self._replica.produce() if isinstance(effect, Committed)]
        assert len(committed) == 1, "one authority decides alone and at once"
        final = committed[0].final
        included = set(final.block.body.transactions)
        self._waiting = {data: None for data in self._waiting if data not in included and self._may_succeed(data)}
        return final

    def _check(self, transaction: bytes) -> None:
        position, time_ms = self._replica.position, self._time_ms()
        checked = self._checked
        if checked is None or checked[0] is not position or checked[1].time_ms != time_ms:
            context = position.context(round_=0, time_ms=time_ms, proposer=self._key.address)
            checked = self._checked = position, context
        try:
            self._application.check(position.state, checked[1], transaction)
        except NotYet:
            # Only the embedding program submits here: what may succeed later waits, unbounded.
            return

    def _may_succeed(self, transaction: bytes) -> bool:
        try:
            self._check(transaction)
        except InputError:
            return False
        return True

    # Tests

    def advance_time(self, duration_ms: int) -> None:
        """Let the chain's clock run ahead of the one it was given, so that deadlines pass."""
        if duration_ms < 0:
            raise UsageError("chain time does not run backwards")
        self._ahead_ms += duration_ms

    def snapshot(self) -> int:
        """Remember this moment: blocks, state, waiting transactions, and how far the clock runs ahead.

        Returns:
            A number for `revert`. Numbers are not used twice.

        Raises:
            UsageError: the store is not in memory.
        """
        store = self._memory_store("snapshots are taken of a chain in memory only")
        self._snapshots_taken += 1
        self._snapshots.append(_Moment(self._snapshots_taken, store.copy(), tuple(self._waiting), self._ahead_ms))
        return self._snapshots_taken

    def revert(self, snapshot: int) -> None:
        """Go back to a remembered moment. That snapshot, and those taken after it, are used up.

        The store stays the same object. A `Subscription` that has seen what is undone sees what happens instead.

        Raises:
            UsageError: there is no such snapshot, or it is used up.
        """
        number = next((i for i, moment in enumerate(self._snapshots) if moment.number == snapshot), None)
        if number is None:
            known = ", ".join(str(moment.number) for moment in self._snapshots) or "none"
            raise UsageError(
                f"there is no snapshot {snapshot}; there are: {known}", hint="each can be reverted to once"
            )
        moment = self._snapshots[number]
        del self._snapshots[number:]
        self._memory_store("only a chain in memory goes back").become(moment.store)
        self._waiting, self._ahead_ms = dict.fromkeys(moment.waiting), moment.ahead_ms
        self._replica = self._started_replica()
        for subscription in self._subscriptions:
            subscription.rewind(self.height)

    def _memory_store(self, message: str) -> MemoryStore:
        if not isinstance(self._store, MemoryStore):
            raise UsageError(message, hint="make the chain without a store, or with a MemoryStore")
        return self._store

    def fork(self) -> Chain:
        """An independent chain that goes on from here, in memory: try something, and throw it away.

        Raises:
            UsageError: the store is not in memory.
        """
        store = self._memory_store("only a chain in memory can be forked")
        twin = Chain(store.copy(), self._key, self._application, self._clock)
        twin._ahead_ms = self._ahead_ms
        twin._waiting = dict(self._waiting)
        return twin

    def _time_ms(self) -> int:
        """Time of the next block."""
        return max(self._clock() + self._ahead_ms, self._replica.position.time_ms_min)


@dataclass(frozen=True, slots=True)
class _Moment:
    """What `Chain.snapshot` remembers."""

    number: int
    store: MemoryStore
    waiting: tuple[bytes, ...]
    ahead_ms: int


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
