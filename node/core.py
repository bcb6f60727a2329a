"""One node, put together: who is wired to whom. What each part does is told in its own module.

::

    peers ──frames──► driver ◄──timers        driver ──commits──► head, mempool, announcements
    gossip ──batches of transactions──► mempool ──► driver
    gossip ──announcements──► synchroniser ──blocks──► driver
    head, outbox ──► duties, participant ──transactions──► mempool, gossip
    authority duties ──own scores──► ballot book ──► the ledger's local verdict

`node.run` makes the parts from a home directory; tests make them in memory. `NodeParts` names both.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import trio

from node.admission import Admission
from node.announcements import Announcements
from node.authority import AuthorityDuties, ScoreTools
from node.ballot_book import BallotBook
from node.channel import PROTOCOL_VERSION, Hello
from node.config import SyncConfig
from node.driver import Driver
from node.gate import Gate
from node.governance import GovernanceDuties
from node.head import Head
from node.host.interface import Host, HostError
from node.library import Library
from node.mempool import Mempool, transaction_hash
from node.outbox import Outbox, OutboxDuty
from node.participant import Participant, ParticipantSettings
from node.peers import Peers
from node.reconciliation import INTERVAL_S as RECONCILIATION_INTERVAL_S
from node.reconciliation import Pending, Reconciliation
from node.state_sync import SnapshotServer
from node.strangers import Strangers
from node.submitter import Submitter
from node.sync import BlockServer, Synchroniser
from node.telemetry import Activity
from node.transaction_gossip import TransactionGossip
from node.weights.bitswap import PROTOCOL as BITSWAP_PROTOCOL
from node.weights.bitswap import Bitswap
from node.weights.messages import PROTOCOL as WEIGHTS_PROTOCOL
from node.weights.serve import WeightsServer
from node.weights.store import WeightsStore
from node.wire import (
    ANNOUNCEMENT_SIZE_BYTES_MAX,
    BLOCKS_PROTOCOL,
    PENDING_NAME_SIZE_BYTES,
    PENDING_PROTOCOL,
    SNAPSHOT_PROTOCOL,
    Announcement,
    final_topic,
    tx_topic,
)
from node.workers import Worker
from pdfedchain.codec import decode, encode
from pdfedchain.consensus.effects import Evidence
from pdfedchain.consensus.ports import Log, Signer
from pdfedchain.consensus.replica import Replica
from pdfedchain.crypto import SigningKey
from pdfedchain.ids import Hash
from pdfedchain.state import Ledger
from pdfedchain.state.onion import OnionSecrets
from pdfedchain.store.interface import Store
from pdfedchain.types.block import FinalBlock
from pdfedchain.types.genesis import Genesis

__all__ = ["Node", "NodeParts"]

log = logging.getLogger(__name__)

#: A transaction of this node that waits longer than this is gossiped once more.
_GOSSIP_AGAIN_S: Final = 3.0
_OUTGOING_MAX: Final = 1_024

#: Old bodies are forgotten this many at a time.
_PRUNE_INTERVAL: Final = 16


class _Closable(Protocol):
    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class NodeParts:
    """What one node is made of.

    Attributes:
        store: holds the genesis already.
        signer: ``None`` for a node that is no authority.
        folders: where weights are laid out for workers.
        addresses: peers to dial; this node's own may be among them.
        participant: ``None`` for a node that neither trains nor evaluates.
        scorer, trainer: worker processes; they start with their first job.
        sync: how much of the past is offered and kept.
        outbox: where commands leave transactions.
    """

    genesis: Genesis
    key: SigningKey
    store: Store
    log: Log
    signer: Signer | None
    host: Host
    addresses: tuple[str, ...]
    weights: WeightsStore
    folders: Path
    book: BallotBook
    activity: Activity
    scorer: Worker
    trainer: Worker
    device: str
    participant: ParticipantSettings | None
    sync: SyncConfig = field(default_factory=SyncConfig)
    outbox: Outbox | None = None


class Node:
    """A running node."""

    def __init__(
        self,
        parts: NodeParts,
        *,
        duties: type[AuthorityDuties] = AuthorityDuties,
        participant: type[Participant] = Participant,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """
        Args:
            duties, participant: what an authority and a participant do; tests replace them.
        """
        self.parts = parts
        self._clock = clock
        self.chain_id = parts.genesis.chain_id
        self._tx_topic = tx_topic(self.chain_id, parts.genesis.hash)
        self._final_topic = final_topic(self.chain_id, parts.genesis.hash)
        self._announcements = Announcements()
        self._ledger = Ledger(own_results=parts.book.own_result, onions=OnionSecrets(parts.key))
        self.head = Head(parts.store)
        self._replica = _replica_of(parts, self._ledger, clock, self._candidates)
        admission = Admission(self._ledger, lambda: self._replica.position, clock, parts.key.address)
        self.mempool = Mempool(admission.check, admission.origin, admission.basis)
        self._session = secrets.token_bytes(8)
        self._peers = Peers(
            parts.host,
            self._hello,
            parts.addresses,
            receive=self._on_frame,
            up=self._on_peer_up,
            down=self._on_peer_down,
        )
        self._gate = Gate(self._peers.is_member, self._peers.wait_for)
        self.driver = Driver(
            self._replica,
            self._peers,
            self.head,
            self.mempool,
            parts.activity,
            batch=parts.store.batch,
            on_commit=self._announce,
            on_behind=self._on_behind,
            on_evidence=self._on_evidence,
        )
        self._synchroniser = Synchroniser(parts.host, self.driver)
        self._snapshots = SnapshotServer(parts.store, interval=parts.sync.snapshot_interval)
        self._outgoing, self._to_publish = trio.open_memory_channel[tuple[str, bytes]](_OUTGOING_MAX)
        self._gossiped_at: dict[Hash, float] = {}
        self._arrived = trio.Event()
        dropped = partial(parts.activity.count, "gossip_dropped")
        self._transactions = TransactionGossip(
            self.mempool.add, self._publish_transactions, arrived=self._transactions_arrived, dropped=dropped
        )
        pending = Pending(self._waiting, self.mempool.add, self._transactions_arrived)
        self._reconciliation = Reconciliation(
            parts.host, pending, self._peer_ids, self._peers.fault, interval_s=RECONCILIATION_INTERVAL_S
        )
        self._bitswap = Bitswap(parts.weights)
        library = Library(parts.weights, parts.host, parts.folders, self._peer_ids, self._peers.fault, self._bitswap)
        self._tools = ScoreTools(library, parts.scorer, parts.book, parts.device, parts.activity)
        submitter = Submitter(self.chain_id, parts.key, self.spread)
        self._governance = GovernanceDuties(parts.key, self.head, submitter, parts.activity, self._ledger.versions)
        self._duties = duties(
            parts.key.address, self.chain_id, self.head, submitter, self._tools, self.driver.judgement_changed
        )
        self._participant: Participant | None = None
        if parts.participant is not None:
            self._participant = participant(
                parts.participant, self.chain_id, self.head, submitter, self._tools, parts.trainer
            )

    async def run(self) -> None:
        """Run until cancelled; workers are ended on the way out."""
        parts = self.parts
        if parts.signer is not None:
            self._governance.check()
        self._serve()
        await parts.host.subscribe(self._tx_topic, self._transactions.receive)
        await parts.host.subscribe(self._final_topic, self._on_announcement)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(parts.activity.run)
                nursery.start_soon(self._publish_outgoing)
                nursery.start_soon(self._transactions.run)
                nursery.start_soon(self._tell_of_arrivals)
                nursery.start_soon(self.driver.run)
                await self.driver.started.wait()
                # A score finished just before a crash was not heard by the height that is replayed.
                self.driver.judgement_changed()
                nursery.start_soon(self._peers.run)
                nursery.start_soon(Strangers(parts.host, self._peers.is_member, self._gate.used_at).run)
                nursery.start_soon(self._synchroniser.run)
                nursery.start_soon(self._reconciliation.run)
                nursery.start_soon(self._governance.run)
                if parts.outbox is not None:
                    nursery.start_soon(OutboxDuty(parts.outbox, parts.store, self.spread).run)
                if parts.signer is not None:
                    nursery.start_soon(self._duties.run)
                if self._participant is not None:
                    nursery.start_soon(self._participant.run)
        finally:
            with trio.CancelScope(shield=True):
                for worker in (parts.scorer, parts.trainer):
                    await worker.aclose()

    def add_peer(self, address: str) -> None:
        """Dial a peer that was found."""
        self._peers.add(address)

    def _serve(self) -> None:
        """Say which protocols are spoken, and with whom."""
        host, weights = self.parts.host, WeightsServer(self.parts.weights, known=self._peers.is_member)
        host.set_members(self._peers.is_member, self._gate.remember_use)
        weights.attach(host)
        self._bitswap.attach(host)
        for protocol, handler in ((WEIGHTS_PROTOCOL, weights.handle), (BITSWAP_PROTOCOL, self._bitswap.handle)):
            host.set_stream_handler(protocol, self._gate.for_all(handler))
        host.set_stream_handler(BLOCKS_PROTOCOL, self._gate.for_members(BlockServer(self.parts.store).handle))
        self._snapshots.committed()
        # Whoever begins by a snapshot has no chain yet to say hello for.
        host.set_stream_handler(SNAPSHOT_PROTOCOL, self._gate.for_all(self._snapshots.handle))
        host.set_stream_handler(PENDING_PROTOCOL, self._gate.for_members(self._reconciliation.handle))

    async def spread(self, transaction: bytes) -> None:
        """Put a transaction of this node into the pool and gossip it, again if it waits long.

        Raises:
            InputError: the pool refuses it.
        """
        is_new = self.mempool.add(transaction, own=True)
        name, now = transaction_hash(transaction), trio.current_time()
        if now - self._gossiped_at.get(name, -_GOSSIP_AGAIN_S) >= _GOSSIP_AGAIN_S:
            self._gossiped_at[name] = now
            self._transactions.send(transaction)
        if is_new:
            self.driver.transactions_waiting()

    def _candidates(self) -> Sequence[bytes]:
        return self.mempool.candidates()

    def _waiting(self) -> dict[bytes, bytes]:
        return {name[:PENDING_NAME_SIZE_BYTES]: each for name, each in self.mempool.by_name().items()}

    def _transactions_arrived(self) -> None:
        # The replica runs in a task of its own: whatever stops it must stop the node, and gossip forgives.
        self._arrived.set()

    async def _tell_of_arrivals(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived = trio.Event()
            self.driver.transactions_waiting()

    def _on_announcement(self, peer_id: str, data: bytes) -> bool:
        announcement = decode(Announcement, data, size_bytes_max=ANNOUNCEMENT_SIZE_BYTES_MAX)
        self._synchroniser.announce(peer_id, announcement.height)
        return self._announcements.is_news(announcement.height, ours=self.head.height)

    def _announce(self, final: FinalBlock) -> None:
        self._gossiped_at = {name: at for name, at in self._gossiped_at.items() if self.mempool.waits(name)}
        announcement = Announcement(final.block.header.height, final.block.hash)
        self._enqueue(self._final_topic, encode(announcement))
        self._reconciliation.settled(final.block.body.transactions)
        self._keep(final.block.header.height)

    def _keep(self, height: int) -> None:
        """What this node offers and forgets after a block."""
        self._snapshots.committed()
        kept = self.parts.sync.keep_blocks
        if kept and height % _PRUNE_INTERVAL == 0:
            self.parts.store.prune(below_height=height - kept + 1)

    def _hello(self) -> Hello:
        genesis = self.parts.genesis
        return Hello(
            PROTOCOL_VERSION, self.chain_id, genesis.hash, self.parts.key.address, self.head.height, self._session
        )

    def _on_frame(self, peer_id: str, frame: bytes) -> None:
        self.driver.receive(peer_id, frame)

    def _on_peer_up(self, peer_id: str, hello: Hello) -> None:
        self.parts.activity.gauges["peers"] = len(self._peers.connected)
        self._synchroniser.announce(peer_id, hello.height)
        self.driver.peer_connected(peer_id)

    def _on_peer_down(self, peer_id: str) -> None:
        self.parts.activity.gauges["peers"] = len(self._peers.connected)
        self._synchroniser.forget(peer_id)

    def _on_behind(self, peer_id: str, height: int) -> None:
        self._synchroniser.announce(peer_id, height)

    def _on_evidence(self, evidence: Evidence) -> None:
        self._governance.found(evidence)

    def _peer_ids(self) -> Sequence[str]:
        return self._peers.peer_ids()

    def _enqueue(self, topic: str, data: bytes) -> None:
        try:
            self._outgoing.send_nowait((topic, data))
        except trio.WouldBlock:
            # Lost gossip is repaired: transactions are sent again, blocks are pulled.
            self.parts.activity.count("gossip_dropped")

    async def _publish_outgoing(self) -> None:
        async for topic, data in self._to_publish:
            await self._publish(topic, data)

    async def _publish_transactions(self, message: bytes) -> None:
        await self._publish(self._tx_topic, message)

    async def _publish(self, topic: str, data: bytes) -> None:
        try:
            await self.parts.host.publish(topic, data)
        except HostError as error:
            log.warning("not published on %s: %s", topic, error)


def _replica_of(
    parts: NodeParts, ledger: Ledger, clock: Callable[[], int], candidates: Callable[[], Sequence[bytes]]
) -> Replica:
    """The node's voice in consensus; without a signer's record it only listens."""
    return Replica(
        application=ledger,
        store=parts.store,
        log=parts.log,
        signer=parts.signer,
        key=parts.key if parts.signer is not None else None,
        clock=clock,
        candidates=candidates,
    )
