"""A whole chain in one process, in virtual time, from one seed.

Real replicas with stores, logs and signer records in memory; a network of links that delay, lose, repeat, reorder
and cut; crashes that lose what was not synced; Byzantine actors; clocks that differ. Nothing here sleeps or reads a
clock, and all randomness comes from the seed, so a seed is a run: `Simulator.audit` is a hash over everything that
happened, and equal seeds have equal hashes.

Every message sent and every block made final goes through `pdfedchain.testing.invariants.Observer`, so a run that
breaks safety raises at the event that broke it. Liveness is for the caller to ask::

    simulator = Simulator(seed=7, size=4, links=Links(loss=0.1), byzantine={3: Silent})
    simulator.start()
    simulator.run_ms(20_000)
    simulator.crash(1, lose_tail=True); simulator.partition({0, 1}, {2, 3}); simulator.run_ms(5_000)
    simulator.heal(); simulator.restart(1)
    simulator.run_to_height(simulator.height + 5, limit_ms=60_000)
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial

from pdfedchain.codec import encode
from pdfedchain.consensus.blocks import Position
from pdfedchain.consensus.effects import (
    BehindPeer,
    Broadcast,
    Committed,
    Effect,
    Relay,
    SendTo,
    StartTimer,
)
from pdfedchain.consensus.inputs import Timer
from pdfedchain.consensus.messages import (
    ConsensusMessage,
    Message,
    ProposalMessage,
    RoundStatus,
    VoteMessage,
    VotesMessage,
)
from pdfedchain.consensus.replica import Replica
from pdfedchain.crypto import SigningKey
from pdfedchain.errors import InputError
from pdfedchain.ids import Hash
from pdfedchain.store.memory import MemoryStore
from pdfedchain.store.signer import MemorySigner
from pdfedchain.store.wal import MemoryLog
from pdfedchain.testing.byzantine import Actor, Situation
from pdfedchain.testing.counter import CounterApplication
from pdfedchain.testing.invariants import Observer
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.genesis import ChainParameters, Genesis
from pdfedchain.types.vote import Proposal, Vote, VoteKind

__all__ = ["Links", "Node", "Simulator", "make_genesis", "make_keys"]

#: Any time will do; not 0, so that differences show.
START_MS = 1_700_000_000_000


@dataclass(frozen=True, slots=True)
class Links:
    """How every link behaves. Reordering follows from differing delays.

    Attributes:
        delay_ms: least and greatest delay.
        loss, repeat: share of messages lost and sent twice.
        loss_precommit: share of precommits lost on their first way, which makes rounds fail after locks were taken.
        relay: whether nodes hand on what is new to them.
    """

    delay_ms: tuple[int, int] = (1, 40)
    loss: float = 0.0
    repeat: float = 0.0
    loss_precommit: float = 0.0
    relay: bool = False


@dataclass(slots=True)
class Node:
    """One node: what survives a crash, and the replica, which does not."""

    index: int
    key: SigningKey
    application: CounterApplication
    store: MemoryStore = field(default_factory=MemoryStore)
    log: MemoryLog = field(default_factory=MemoryLog)
    signer: MemorySigner = field(default_factory=MemorySigner)
    actor: Actor | None = None
    replica: Replica | None = None
    skew_ms: int = 0
    life: int = 0
    told: int = 0
    pool: list[bytes] = field(default_factory=list)
    seen: list[Effect] = field(default_factory=list)


def make_keys(size: int) -> list[SigningKey]:
    """Keys of a chain of this many authorities, the same every time, in order of address."""
    seeds = (hashlib.sha256(b"simulated authority %d" % index).digest() for index in range(size))
    return sorted((SigningKey(seed) for seed in seeds), key=lambda key: key.address)


def make_genesis(keys: list[SigningKey], parameters: ChainParameters) -> Genesis:
    """Genesis of a counter chain of these authorities."""
    authorities = AuthoritySet(0, tuple(key.address for key in keys))
    return Genesis("simulated", START_MS, 1, authorities, parameters, CounterApplication.name, b"")


class Simulator:
    """See the module's text.

    Args:
        byzantine: index of a node and the class of its actor; these nodes' blocks and signatures are not checked.
        application: makes the application of a node.
    """

    def __init__(
        self,
        *,
        seed: int,
        size: int,
        links: Links | None = None,
        parameters: ChainParameters | None = None,
        byzantine: Mapping[int, Callable[[Situation], Actor]] | None = None,
        application: Callable[[int], CounterApplication] = lambda index: CounterApplication(),
        skew_ms_max: int = 0,
    ) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a seed is a run; nothing here is secret
        self.links = links if links is not None else Links()
        self.now_ms = START_MS
        self.events = 0
        keys = make_keys(size)
        self.genesis = make_genesis(keys, parameters if parameters is not None else ChainParameters())
        self.nodes = [Node(index, key, application(index)) for index, key in enumerate(keys)]
        liars = dict(byzantine or {})
        honest = frozenset(node.key.address for node in self.nodes if node.index not in liars)
        self.observer = Observer(self.genesis.authorities.members, honest, self.genesis.hash)
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._groups: tuple[frozenset[int], ...] = ()
        self._audit = hashlib.sha256()
        self._verified: set[Vote | Proposal] = set()
        self._turn = 0
        for node in self.nodes:
            node.skew_ms = self.random.randint(-skew_ms_max, skew_ms_max)
            node.store.initialise(self.genesis, node.application.genesis_state(self.genesis))
            if node.index in liars:
                node.actor = liars[node.index](self._situation(node))

    # -- what a test does ---------------------------------------------------------------------------------------

    @property
    def honest(self) -> list[Node]:
        return [node for node in self.nodes if node.actor is None]

    @property
    def height(self) -> int:
        """The highest final height of anybody honest."""
        return self.observer.height

    def audit(self) -> str:
        """Hash over everything that has happened."""
        return self._audit.hexdigest()

    def start(self) -> None:
        """Start all nodes."""
        for node in self.nodes:
            self.restart(node.index)

    def run_ms(self, duration_ms: int) -> None:
        """Let this much virtual time pass."""
        self._run(self.now_ms + duration_ms, lambda: False)

    def run_to_height(self, height: int, *, limit_ms: int) -> bool:
        """Run until every honest node that runs has this final height; whether that was within the limit."""

        def reached() -> bool:
            return all(node.store.height() >= height for node in self.honest if node.replica is not None)

        return self._run(self.now_ms + limit_ms, reached)

    def submit(self, transaction: bytes, to: Collection[int]) -> None:
        """Put a transaction into some nodes' pools."""
        for index in to:
            node = self.nodes[index]
            node.pool.append(transaction)
            if node.replica is not None:
                self._do(node, node.replica.on_transactions_waiting())

    def crash(self, index: int, *, lose_tail: bool) -> None:
        """Kill a node; what its log had not synced may be lost, in part."""
        node = self.nodes[index]
        node.replica = None
        node.life += 1
        if lose_tail:
            node.log.crash(kept=self.random.randint(0, 2))

    def lose_log(self, index: int) -> None:
        """Kill a node and delete its log; the signer record stays."""
        self.crash(index, lose_tail=False)
        self.nodes[index].log = MemoryLog()

    def restart(self, index: int) -> None:
        """Start a node from what it has stored; its neighbours and it tell each other where they are."""
        node = self.nodes[index]
        if node.replica is not None:
            return
        self._tell_stored(node)
        node.replica = Replica(
            application=node.application,
            store=node.store,
            log=node.log,
            signer=node.signer,
            key=node.key,
            clock=lambda: self.now_ms + node.skew_ms,
            candidates=lambda: tuple(node.pool),
            signature=self._verify,
        )
        self._do(node, node.replica.start())
        for other in self.nodes:
            if other is not node and other.replica is not None and node.replica is not None:
                self._do(node, node.replica.on_peer_connected(str(other.index)))
                self._do(other, other.replica.on_peer_connected(str(node.index)))
        self._waiting(node)

    def partition(self, *groups: Collection[int]) -> None:
        """Only nodes of one group reach each other; messages under way still arrive."""
        self._groups = tuple(frozenset(group) for group in groups)

    def heal(self) -> None:
        """All links work again."""
        self._groups = ()

    def poke(self, index: int, call: Callable[[Replica], tuple[Effect, ...]]) -> None:
        """Call a method of a replica and carry out what it wants."""
        node = self.nodes[index]
        if node.replica is not None:
            self._do(node, call(node.replica))

    def send(self, source: int, target: int, message: Message) -> None:
        """Put a message on a link."""
        node = self.nodes[source]
        said = (message,) if node.actor is None else node.actor.says(message, target)
        for each in said:
            self.observer.sent(each)
            precommit = isinstance(each, VoteMessage) and each.vote.kind is VoteKind.PRECOMMIT
            loss = max(self.links.loss, self.links.loss_precommit) if precommit else self.links.loss
            if self._reaches(source, target) and self.random.random() >= loss:
                copies = 2 if self.random.random() < self.links.repeat else 1
                for _ in range(copies):
                    delay_ms = self.random.randint(*self.links.delay_ms)
                    self._after(delay_ms, partial(self._arrive, target, source, each))

    # -- within -------------------------------------------------------------------------------------------------

    def _run(self, until_ms: int, done: Callable[[], bool]) -> bool:
        while not done():
            if not self._heap or self._heap[0][0] > until_ms:
                self.now_ms = until_ms
                return False
            self.now_ms, _, happen = heapq.heappop(self._heap)
            self.events += 1
            happen()
        return True

    def _after(self, delay_ms: int, happen: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.now_ms + max(0, delay_ms), self._next_turn(), happen))

    def _next_turn(self) -> int:
        self._turn += 1
        return self._turn

    def _reaches(self, source: int, target: int) -> bool:
        return not self._groups or any(source in group and target in group for group in self._groups)

    def _arrive(self, target: int, source: int, message: Message) -> None:
        node = self.nodes[target]
        if node.replica is None:
            return
        self._note(b"arrive", target, source, _print(message))
        if node.actor is not None:
            for own in node.actor.hears(message):
                self._do(node, (Broadcast(own),))
        try:
            effects = node.replica.on_message(message, str(source))
        except InputError:
            if self.nodes[source].actor is None:
                raise
            return
        self._do(node, effects)

    def _do(self, node: Node, effects: tuple[Effect, ...]) -> None:
        committed = False
        for effect in effects:
            match effect:
                case Broadcast(message):
                    self._spread(node, message, except_for=None)
                case Relay(source, message):
                    if self.links.relay:
                        self._spread(node, message, except_for=int(source))
                case SendTo(peer, message):
                    self.send(node.index, int(peer), message)
                case StartTimer(timer, delay_ms):
                    self._after(delay_ms, partial(self._fire, node, timer, node.life))
                case Committed(final, execution):
                    committed = True
                    self._note(b"final", node.index, final.block.header.height, final.block.hash)
                    if node.actor is None:
                        self.observer.final(final, execution.state.root)
                    node.told = final.block.header.height
                    included = set(final.block.body.transactions)
                    node.pool = [one for one in node.pool if one not in included]
                case BehindPeer(peer, _):
                    self._after(5, partial(self._sync, node, int(peer), node.life))
                case _:
                    node.seen.append(effect)
        if committed:
            self._waiting(node)

    def _spread(self, node: Node, message: Message, *, except_for: int | None) -> None:
        for other in range(len(self.nodes)):
            if other not in (node.index, except_for):
                self.send(node.index, other, message)

    def _waiting(self, node: Node) -> None:
        if node.pool and node.replica is not None:
            self._do(node, node.replica.on_transactions_waiting())

    def _fire(self, node: Node, timer: Timer, life: int) -> None:
        if node.replica is not None and node.life == life:
            self._note(b"timer", node.index, timer.height, bytes((timer.kind,)))
            self._do(node, node.replica.on_timeout(timer))

    def _sync(self, node: Node, peer: int, life: int) -> None:
        if node.replica is None or node.life != life or not self._reaches(node.index, peer):
            return
        source = self.nodes[peer].store
        effects: tuple[Effect, ...] = ()
        node.replica.begin_sync()
        for height in range(node.store.height() + 1, source.height() + 1):
            effects += node.replica.apply_synced(source.final_block(height))
        self._do(node, effects + node.replica.end_sync())

    def _verify(self, message: Vote | Proposal) -> None:
        # All nodes check the same bytes: the simulator does the arithmetic once.
        if message not in self._verified:
            message.verify()
            self._verified.add(message)

    def _tell_stored(self, node: Node) -> None:
        # A node may die between storing a block and saying so; on disk it is final all the same.
        for height in range(node.told + 1, node.store.height() + 1):
            final = node.store.final_block(height)
            if node.actor is None:
                self.observer.final(final, final.block.header.state_root)
            node.told = height

    def _situation(self, node: Node) -> Situation:
        def position() -> Position:
            assert node.replica is not None
            return node.replica.position

        return Situation(node.key, node.application, position, self.random)

    def _note(self, what: bytes, *details: int | bytes | Hash) -> None:
        self._audit.update(b"%s %d %r\n" % (what, self.now_ms, details))


def _print(message: Message) -> bytes:
    match message:
        case VoteMessage(vote):
            return vote.signature
        case ProposalMessage(proposal):
            return proposal.signature
        case VotesMessage(votes):
            return b"".join(vote.signature for vote in votes)
        case RoundStatus():
            return repr(message).encode()
        case _:
            return hashlib.sha256(encode(ConsensusMessage(message))).digest()
