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
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from functools import partial
from operator import methodcaller

from pdfedchain.application import Application
from pdfedchain.codec import decode, encode
from pdfedchain.consensus.blocks import Position
from pdfedchain.consensus.effects import (
    BehindPeer,
    Broadcast,
    Committed,
    Effect,
    Evidence,
    PeerFault,
    Relay,
    SendTo,
    StartTimer,
    Stop,
)
from pdfedchain.consensus.inputs import Timer
from pdfedchain.consensus.messages import (
    MESSAGE_SIZE_BYTES_MAX,
    ConsensusMessage,
    Message,
)
from pdfedchain.consensus.replica import Replica
from pdfedchain.consensus.rules import Rule
from pdfedchain.crypto import SigningKey
from pdfedchain.errors import InputError, NotYet, SignatureError
from pdfedchain.testing.byzantine import Actor, Said, Situation
from pdfedchain.testing.counter import CounterApplication
from pdfedchain.testing.fuse import FusedLog, PowerCutError
from pdfedchain.testing.invariants import InvariantBroken, Observer
from pdfedchain.testing.network import Links, Network
from pdfedchain.testing.nodes import START_MS, Node, make_genesis, make_keys
from pdfedchain.testing.sightings import fingerprint, noteworthy
from pdfedchain.types.genesis import ChainParameters, Genesis
from pdfedchain.types.vote import Proposal, Vote

__all__ = ["START_MS", "Links", "Node", "Simulator", "make_genesis", "make_keys"]


class Simulator:
    """See the module's text.

    Args:
        size: number of nodes; they are the authorities, unless ``genesis`` names some of their keys (`make_keys`).
        genesis: of the chain; one of the counter if ``None``.
        byzantine: index of a node and the class of its actor; these nodes' blocks and signatures are not checked.
        application: makes the application of a node.
        on_evidence: makes a transaction of what a node's replica found; it goes into that node's pool.
        tell: told of every event, in words, as it happens.

    Attributes:
        counts: how often each `Rule` was taken (by name) and each kind of happening was seen, by honest nodes.
    """

    def __init__(
        self,
        *,
        seed: int,
        size: int,
        links: Links | None = None,
        parameters: ChainParameters | None = None,
        byzantine: Mapping[int, Callable[[Situation], Actor]] | None = None,
        application: Callable[[int], Application] = lambda index: CounterApplication(),
        genesis: Genesis | None = None,
        on_evidence: Callable[[SigningKey, Evidence], bytes] | None = None,
        skew_ms_max: int = 0,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a seed is a run; nothing here is secret
        self.network = Network(links if links is not None else Links())
        self.now_ms = START_MS
        self.events = 0
        self.counts: Counter[str] = Counter()
        keys = make_keys(size)
        self.genesis = genesis or make_genesis(keys, parameters if parameters is not None else ChainParameters())
        self.nodes = [Node.make(index, key, application(index)) for index, key in enumerate(keys)]
        liars = dict(byzantine or {})
        self._liars = frozenset(liars)
        honest = frozenset(node.key.address for node in self.nodes if node.index not in liars)
        self.observer = Observer(self.genesis.authorities, honest, self.genesis.hash)
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._audit = hashlib.sha256()
        self._verified: dict[Vote | Proposal, str | None] = {}
        self._turn = 0
        self._tell = tell
        self._on_evidence = on_evidence
        for node in self.nodes:
            node.skew_ms = self.random.randint(-skew_ms_max, skew_ms_max)
            node.store.initialise(self.genesis, node.application.genesis_state(self.genesis))
            if node.index in liars:
                node.actor = liars[node.index](self._situation(node))

    # -- what a test does ---------------------------------------------------------------------------------------

    @property
    def honest(self) -> list[Node]:
        """Nodes that do not lie, or lie no more."""
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
            self.nodes[index].pool.append(transaction)
            self.poke(index, Replica.on_transactions_waiting)

    def crash(self, index: int, *, lose_tail: bool) -> None:
        """Kill a node; what its log had not synced may be lost, in part."""
        node = self.nodes[index]
        self._note(b"crash", index, lose_tail)
        node.replica = None
        node.life += 1
        node.fuse.left = 0
        if lose_tail:
            node.log.crash(kept=self.random.randint(0, 2))

    def arm(self, index: int, points: int, *, lose_tail: bool) -> None:
        """Cut a node's power at this many writes and effects from now, in the middle of whatever it does then."""
        fuse = self.nodes[index].fuse
        fuse.left, fuse.lose_tail = points, lose_tail

    def lose_log(self, index: int) -> None:
        """Kill a node and delete its log; the signer record stays."""
        self.crash(index, lose_tail=False)
        self.nodes[index].log = FusedLog(self.nodes[index].fuse)

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
            trace=self._trace if index not in self._liars else None,
        )
        self.poke(index, Replica.start)
        for other in self.nodes:
            if other is not node and other.replica is not None and node.replica is not None:
                self.poke(index, methodcaller("on_peer_connected", str(other.index)))
                self.poke(other.index, methodcaller("on_peer_connected", str(index)))
        self._waiting(node)

    def reform(self, index: int) -> None:
        """A liar lies no more. It is never counted among the honest."""
        self.nodes[index].actor = None

    def partition(self, *groups: Collection[int]) -> None:
        """Only nodes of one group reach each other; messages under way still arrive."""
        self.network.partition(groups)

    def heal(self) -> None:
        """All links work again."""
        self.network.heal()

    def poke(self, index: int, call: Callable[[Replica], tuple[Effect, ...]]) -> None:
        """Call a method of a replica and carry out what it wants, unless its power fails on the way."""
        node = self.nodes[index]
        life = node.life
        if node.replica is None:
            return
        try:
            for effect in call(node.replica):
                node.fuse.point()
                if node.life == life:
                    self._carry_out(node, effect)
        except PowerCutError:
            self.counts["power cut in the middle"] += 1
            self.crash(index, lose_tail=node.fuse.lose_tail)

    def send(self, source: int, target: int, message: Message) -> None:
        """Put a message on a link."""
        node = self.nodes[source]
        said: Collection[Said] = (message,) if node.actor is None else node.actor.says(message, target)
        for each in said:
            if not isinstance(each, bytes):
                self.observer.sent(each, by_honest=source not in self._liars)
            delays_ms = self.network.deliveries(source, target, each, self.random)
            if not delays_ms:
                continue
            sent = each
            if self.network.links.wire and not isinstance(each, bytes):
                sent = encode(ConsensusMessage(each))
            for delay_ms in delays_ms:
                self._after(delay_ms, partial(self._arrive, target, source, sent))

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
        self._turn += 1
        heapq.heappush(self._heap, (self.now_ms + max(0, delay_ms), self._turn, happen))

    def _arrive(self, target: int, source: int, said: Said) -> None:
        node = self.nodes[target]
        if node.replica is None:
            return
        honest = source not in self._liars
        try:
            message = said
            if isinstance(message, bytes):
                message = decode(ConsensusMessage, message, size_bytes_max=MESSAGE_SIZE_BYTES_MAX).body
                self.observer.sent(message, by_honest=honest)
            self._note(b"arrive", target, source, fingerprint(message))
            self._hear(node, message)
            self.poke(target, methodcaller("on_message", message, str(source)))
        except InputError as error:
            if honest:
                raise InvariantBroken(f"an honest node's message was refused: {error}") from error
            self.counts["refused"] += 1

    def _hear(self, node: Node, message: Message) -> None:
        if node.actor is not None:
            for own in node.actor.hears(message):
                self._spread(node, own, except_for=None)

    def _carry_out(self, node: Node, effect: Effect) -> None:
        match effect:
            case Broadcast(message):
                self._spread(node, message, except_for=None)
            case Relay(source, message):
                if self.network.links.relay:
                    self._spread(node, message, except_for=int(source))
            case SendTo(peer, message):
                self.send(node.index, int(peer), message)
            case StartTimer(timer, delay_ms):
                self._after(delay_ms, partial(self._fire, node, timer, node.life))
            case Committed(final, execution):
                self._note(b"final", node.index, final.block.header.height, final.block.hash)
                if node.index not in self._liars:
                    self.observer.final(final, execution.state.root, execution.next_authorities)
                node.told = final.block.header.height
                included = set(final.block.body.transactions)
                node.pool = [one for one in node.pool if one not in included and self._may_succeed(node, one)]
                self._after(0, partial(self._waiting, node))
            case Stop(error):
                raise error
            case BehindPeer(peer, _):
                self._after(5, partial(self._sync, node, int(peer), node.life))
            case _:
                node.seen.append(effect)
                if isinstance(effect, Evidence) and self._on_evidence is not None:
                    node.pool.append(self._on_evidence(node.key, effect))
                    self._after(0, partial(self._waiting, node))
                if node.index not in self._liars:
                    self._accuse(effect)
        if node.index not in self._liars:
            for seen in noteworthy(node, effect):
                self.counts[seen] += 1

    def _may_succeed(self, node: Node, transaction: bytes) -> bool:
        if isinstance(node.application, CounterApplication) or node.replica is None:
            return True
        position = node.replica.position
        context = position.context(round_=0, time_ms=self.now_ms, proposer=node.key.address)
        try:
            node.application.check(position.state, context, transaction)
        except NotYet:
            return True
        except InputError:
            return False
        return True

    def _accuse(self, effect: Effect) -> None:
        self.observer.accused(effect)
        if isinstance(effect, PeerFault) and int(effect.peer) not in self._liars:
            raise InvariantBroken(f"an honest node's message was refused later: {effect.reason}")

    def _spread(self, node: Node, message: Message, *, except_for: int | None) -> None:
        for other in range(len(self.nodes)):
            if other not in (node.index, except_for):
                self.send(node.index, other, message)

    def _waiting(self, node: Node) -> None:
        if node.pool:
            self.poke(node.index, Replica.on_transactions_waiting)

    def _fire(self, node: Node, timer: Timer, life: int) -> None:
        if node.replica is not None and node.life == life:
            self._note(b"timer", node.index, timer.height, timer.kind.name)
            self.poke(node.index, methodcaller("on_timeout", timer))

    def _sync(self, node: Node, peer: int, life: int) -> None:
        if node.replica is None or node.life != life or not self.network.reaches(node.index, peer):
            return
        self.counts["synced"] += 1
        source = self.nodes[peer].store
        node.replica.begin_sync()
        for height in range(node.store.height() + 1, source.height() + 1):
            if node.life == life:
                self.poke(node.index, methodcaller("apply_synced", source.final_block(height)))
        if node.life == life:
            self.poke(node.index, Replica.end_sync)

    def _verify(self, message: Vote | Proposal) -> None:
        # All nodes check the same bytes: the simulator does the arithmetic once.
        if message not in self._verified:
            try:
                message.verify()
                self._verified[message] = None
            except SignatureError as error:
                self._verified[message] = str(error)
        problem = self._verified[message]
        if problem is not None:
            raise SignatureError(problem)

    def _trace(self, rule: Rule) -> None:
        self.counts[rule.name] += 1

    def _tell_stored(self, node: Node) -> None:
        # A node may die between storing a block and saying so; on disk it is final all the same.
        for height in range(node.told + 1, node.store.height() + 1):
            final = node.store.final_block(height)
            if node.index not in self._liars:
                named = node.store.light_block(height).next_authorities
                self.observer.final(final, final.block.header.state_root, named)
            node.told = height

    def _situation(self, node: Node) -> Situation:
        def position() -> Position:
            assert node.replica is not None
            return node.replica.position

        return Situation(node.key, node.application, position, self.random)

    def _note(self, what: bytes, *details: int | bytes | str) -> None:
        self._audit.update(b"%s %d %r\n" % (what, self.now_ms, details))
        if self._tell is not None:
            words = (one.hex()[:16] if isinstance(one, bytes) else str(one) for one in details)
            self._tell(f"{(self.now_ms - START_MS) / 1_000:9.3f} s  {what.decode():7} {' '.join(words)}")
