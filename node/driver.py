"""Executes what the consensus replica wants done, and feeds it what arrives.

The replica is synchronous and deterministic; this is the only place where its effects meet the network, the clock and
the pool. Everything runs on one trio task tree and nothing here awaits between a replica's answer and the execution of
its effects, so their order is the replica's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol, assert_never

import trio

from node.head import Head
from node.mempool import Mempool
from node.telemetry import Activity
from pdfedchain.codec import decode, encode
from pdfedchain.consensus.checks import check_final, check_signature
from pdfedchain.consensus.effects import (
    BehindPeer,
    BlockRefused,
    Broadcast,
    Committed,
    Effect,
    Evidence,
    PeerFault,
    Relay,
    ScoreOverridden,
    SendTo,
    SigningRefused,
    StartTimer,
    Stop,
)
from pdfedchain.consensus.inputs import Timer
from pdfedchain.consensus.messages import MESSAGE_SIZE_BYTES_MAX, ConsensusMessage, Message
from pdfedchain.consensus.replica import Replica
from pdfedchain.errors import InputError
from pdfedchain.ids import address_text
from pdfedchain.types.block import FinalBlock

__all__ = ["ConsensusNetwork", "Driver"]

log = logging.getLogger(__name__)


class ConsensusNetwork(Protocol):
    """What the driver needs of the network. All methods return at once; queues are the network's own."""

    def broadcast(self, frame: bytes, *, exclude: str | None = None) -> None:
        """Send to every connected peer but one."""

    def send(self, peer_id: str, frame: bytes) -> None:
        """Send to one peer; nothing happens if it is gone."""

    def fault(self, peer_id: str, reason: str) -> None:
        """The peer sent something that no honest node sends."""


class Driver:
    """Runs one replica."""

    def __init__(
        self,
        replica: Replica,
        network: ConsensusNetwork,
        head: Head,
        mempool: Mempool,
        activity: Activity,
        *,
        batch: Callable[[], AbstractContextManager[None]] = nullcontext,
        on_commit: Callable[[FinalBlock], None],
        on_behind: Callable[[str, int], None],
        on_evidence: Callable[[Evidence], None],
    ) -> None:
        """
        Args:
            batch: entered while pulled blocks are applied; see `pdfedchain.store.interface.Store.batch`.
            on_commit: after a block is final and durable and head and pool have taken it over.
            on_behind: a peer claims a height that this node lacks.
            on_evidence: an authority signed twice.
        """
        self._replica = replica
        self._network = network
        self._head = head
        self._mempool = mempool
        self._activity = activity
        self._batch = batch
        self._on_commit = on_commit
        self._on_behind = on_behind
        self._on_evidence = on_evidence
        self._timers: dict[Timer, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None
        self._stopped = False
        #: Set when `run` is ready for messages.
        self.started = trio.Event()

    async def run(self) -> None:
        """Start the replica where it stopped, and keep it going for ever."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._execute(self._replica.start())
            self.transactions_waiting()
            self.started.set()
            try:
                await trio.sleep_forever()
            finally:
                # Other tasks may run once more while everything is cancelled: nothing is signed or sent any more.
                self._stopped = True

    def receive(self, peer_id: str, frame: bytes) -> None:
        """One frame of a peer."""
        try:
            message = decode(ConsensusMessage, frame, size_bytes_max=MESSAGE_SIZE_BYTES_MAX).body
            self._do(lambda: self._replica.on_message(message, peer_id))
        except InputError as error:
            self._network.fault(peer_id, str(error))

    @property
    def height(self) -> int:
        """Last final height."""
        return self._head.height

    @contextmanager
    def syncing(self) -> Iterator[None]:
        """Apply pulled blocks inside: a node syncs or votes, never both.

        Await nothing inside: consensus stands still, and a cancellation would end the timers that this starts again.
        Voting goes on from the last block applied, also after a wrong one. After any other error, such as a batch that
        could not be committed, what was applied may not be durable: this driver does nothing more.
        """
        self._replica.begin_sync()
        try:
            with self._batch():
                yield
        except InputError:
            self._do(self._replica.end_sync)
            raise
        except BaseException:
            self._stopped = True
            raise
        self._do(self._replica.end_sync)

    def check_next(self, final: FinalBlock) -> None:
        """Whether a quorum has finalised this as the next block; changes nothing.

        Raises:
            InputError: its certificate does not prove it.
        """
        check_final(final, self._replica.position, check_signature)

    def apply_synced(self, final: FinalBlock) -> None:
        """The next final block, pulled from a peer.

        Raises:
            InputError: its certificate does not prove it.
        """
        self._do(lambda: self._replica.apply_synced(final))

    def transactions_waiting(self) -> None:
        """The pool has something for a block."""
        if self._mempool.has_ready:
            self._do(self._replica.on_transactions_waiting)

    def judgement_changed(self) -> None:
        """An own score is finished, so a pending proposal may be judged."""
        self._do(self._replica.on_judgement_changed)

    def peer_connected(self, peer_id: str) -> None:
        """A peer has come: tell it where this node is."""
        self._do(lambda: self._replica.on_peer_connected(peer_id))

    def _do(self, happening: Callable[[], tuple[Effect, ...]]) -> None:
        if not self._stopped:
            self._execute(happening())

    def _execute(self, effects: tuple[Effect, ...]) -> None:
        committed = False
        for effect in effects:
            match effect:
                case Broadcast(message):
                    self._network.broadcast(_frame(message))
                case Relay(source, message):
                    self._network.broadcast(_frame(message), exclude=source)
                case SendTo(peer, message):
                    self._network.send(peer, _frame(message))
                case StartTimer(timer, delay_ms):
                    self._start_timer(timer, delay_ms)
                case Committed(final, _):
                    self._commit(final)
                    committed = True
                case BehindPeer(peer, height):
                    self._on_behind(peer, height)
                case PeerFault(peer, reason):
                    self._network.fault(peer, reason)
                case BlockRefused(height, block, proposer, reason):
                    where = f"block {block.hex()} of height {height} by {address_text(proposer)}"
                    self._alarm("blocks_refused", f"{where}: {reason}")
                case Evidence(culprit, first, _):
                    self._alarm("evidence", f"{address_text(culprit)} signed twice at height {first.height}")
                    self._on_evidence(effect)
                case ScoreOverridden(height, block):
                    self._alarm("score_disputes", f"block {block.hex()} of height {height} went past our own score")
                case Stop(error):
                    raise error
                case SigningRefused(height, round_, reason):
                    self._alarm("signing_refused", f"height {height}, round {round_}: {reason}")
                case _:
                    assert_never(effect)
        if committed:
            self.transactions_waiting()

    def _commit(self, final: FinalBlock) -> None:
        header = final.block.header
        self._head.refresh()
        self._mempool.settle(final.block.body.transactions)
        self._timers = {timer: scope for timer, scope in self._timers.items() if not self._expired(timer, scope)}
        self._activity.gauges["height"] = header.height
        self._activity.gauges["round"] = final.certificate.round
        log.info(
            "block %d %s with %d transactions, round %d",
            header.height,
            final.block.hash.hex()[:12],
            len(final.block.body.transactions),
            final.certificate.round,
        )
        self._on_commit(final)

    def _expired(self, timer: Timer, scope: trio.CancelScope) -> bool:
        if timer.height <= self._head.height:
            scope.cancel()
            return True
        return False

    def _start_timer(self, timer: Timer, delay_ms: int) -> None:
        assert self._nursery is not None, "the driver runs"
        running = self._timers.get(timer)
        if running is not None:
            running.cancel()
        scope = self._timers[timer] = trio.CancelScope()
        self._nursery.start_soon(self._fire, timer, delay_ms, scope)

    async def _fire(self, timer: Timer, delay_ms: int, scope: trio.CancelScope) -> None:
        with scope:
            await trio.sleep(delay_ms / 1000)
        if scope.cancelled_caught:
            return
        if self._timers.get(timer) is scope:
            del self._timers[timer]
        self._do(lambda: self._replica.on_timeout(timer))

    def _alarm(self, gauge: str, text: str) -> None:
        self._activity.count(gauge)
        log.error("%s: %s", gauge, text)


def _frame(message: Message) -> bytes:
    return encode(ConsensusMessage(message))
