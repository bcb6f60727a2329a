"""The decisions of a transfer, without any input or output.

What is known about a folder grows from its root: a block's content names its children. The stages::

    NeedRoot ---- the root block is here ----> NeedBlocks ---- nothing is wanted any more ----> Done
                                                    |
    (either) ---- a block here is malformed, or says the folder is too large: `MalformedWeights` is raised

A block is first *discovered*, then looked up in the store, then, if absent, *wanted*; a wanted block is *asked* of one
peer. A peer answers with the block, or says that it lacks it, or fails: then its blocks are wanted again and others are
asked. A peer that fails for good is dropped with a `PeerFault`. When blocks are wanted which every remaining peer
lacks, the transfer is `stuck`.

A slow peer neither fails nor hurries. So a peer begins with two blocks and earns more with each that it gives, and one
that has nothing left to do is asked as well for what a much slower one owes; the first answer counts.

The caller (`node.weights.fetch`) does the reading, hashing, writing and waiting. Only `Block` objects come in, so that
nothing here has to doubt bytes. The order of events is free: every method may be called at any time.

Source: the stages as types follow iroh-blobs ``src/get.rs``; want-lists follow the Bitswap specification.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from node.weights.cid import Block, Codec
from node.weights.errors import PeerFault, WeightsTooLarge
from node.weights.limits import (
    ASKED_OF_MAX,
    BLOCKS_MAX,
    FASTER_FACTOR,
    IN_FLIGHT_FIRST,
    IN_FLIGHT_MAX,
    IN_FLIGHT_PER_PEER,
    LACKS_PER_PEER_MAX,
    NODE_ASKED_OF_MAX,
    PEERS_PER_TRANSFER_MAX,
    REQUEST_COUNT,
)
from node.weights.tree import PROFILE, Expected, Layout, children, tree_size_bytes
from pdfedchain.ids import Cid, cid_text

__all__ = ["Done", "NeedBlocks", "NeedRoot", "Progress", "Stage", "Transfer"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a transfer is.

    Attributes:
        blocks: blocks of the folder that are in the store.
        blocks_known: distinct blocks of the folder known so far; final once all nodes are here.
        size_bytes: of these blocks.
        size_total_bytes: size of the whole folder with repetitions counted, so an upper bound of ``size_bytes``;
            None before the root is here.
    """

    blocks: int
    blocks_known: int
    size_bytes: int
    size_total_bytes: int | None


@dataclass(frozen=True, slots=True)
class NeedRoot:
    """Nothing is known but the identifier."""

    progress: Progress


@dataclass(frozen=True, slots=True)
class NeedBlocks:
    """The root is here, which fixes the size; some blocks below are not."""

    progress: Progress


@dataclass(frozen=True, slots=True)
class Done:
    """Every block is in the store."""

    progress: Progress


Stage = NeedRoot | NeedBlocks | Done


@dataclass(slots=True)
class _Peer:
    """What one peer was asked, what it does not have, and how many blocks it gave."""

    asked: dict[Cid, None] = field(default_factory=dict)
    lacks: set[Cid] = field(default_factory=set)
    given: int = 0

    @property
    def window(self) -> int:
        return min(IN_FLIGHT_PER_PEER, IN_FLIGHT_FIRST + self.given)


class Transfer:
    """One folder on its way into the store.

    Args:
        cid: the folder.
        size_bytes_max: most bytes of all its blocks, repetitions counted.
        peers: who may be asked, in order of preference.
        layout: how its files are cut.
    """

    def __init__(self, cid: Cid, *, size_bytes_max: int, peers: Iterable[str], layout: Layout = PROFILE) -> None:
        self._cid = cid
        self._size_bytes_max = size_bytes_max
        self._layout = layout
        root = Expected(cid)
        self._seen: set[Expected] = {root}
        self._discovered: list[Expected] = [root]
        self._looking_up = 0
        self._wanted: dict[Cid, None] = {}
        self._pending: dict[Cid, list[Expected]] = {}
        self._in_flight = 0
        self._held: set[Cid] = set()
        self._size_bytes = 0
        self._size_total_bytes: int | None = None
        self._peers = {peer_id: _Peer() for peer_id in peers}
        self._faults: list[PeerFault] = []

    # Where it stands

    @property
    def stage(self) -> Stage:
        """Where the transfer stands."""
        known = len(self._held) + len(self._pending) + len(self._discovered) + self._looking_up
        progress = Progress(len(self._held), known, self._size_bytes, self._size_total_bytes)
        if self._size_total_bytes is None:
            return NeedRoot(progress)
        if self._pending or self._discovered or self._looking_up:
            return NeedBlocks(progress)
        return Done(progress)

    @property
    def faults(self) -> tuple[PeerFault, ...]:
        """Peers dropped so far, and why."""
        return tuple(self._faults)

    @property
    def wanted(self) -> tuple[Cid, ...]:
        """Blocks that are neither here nor asked of anybody."""
        return tuple(self._wanted)

    @property
    def stuck(self) -> bool:
        """Blocks are wanted, nothing is under way, and every remaining peer lacks what is wanted."""
        if not self._wanted or self._in_flight or self._discovered or self._looking_up:
            return False
        return not any(self._can_ask(peer_id) for peer_id in self._peers)

    def asked(self, peer_id: str) -> frozenset[Cid]:
        """Blocks the peer owes an answer about."""
        peer = self._peers.get(peer_id)
        return frozenset(peer.asked) if peer is not None else frozenset()

    def owes(self, peer_id: str, cid: Cid) -> bool:
        """Whether the peer owes an answer about a block."""
        peer = self._peers.get(peer_id)
        return peer is not None and cid in peer.asked

    def owed(self, peer_id: str) -> int:
        """How many answers the peer owes."""
        peer = self._peers.get(peer_id)
        return len(peer.asked) if peer is not None else 0

    # The store

    @property
    def has_discovered(self) -> bool:
        """Whether there is something to look up."""
        return bool(self._discovered)

    def take_discovered(self, count: int) -> tuple[Expected, ...]:
        """Up to ``count`` blocks to look up in the store; each is reported back by `found` or `absent`."""
        batch = tuple(self._discovered[:count])
        del self._discovered[: len(batch)]
        self._looking_up += len(batch)
        return batch

    def found(self, expected: Expected, block: Block) -> None:
        """A block taken by `take_discovered` is in the store.

        Raises:
            MalformedWeights: see `node.weights.tree.children`.
            WeightsTooLarge: the folder exceeds the bound.
        """
        self._looking_up -= 1
        self._hold(block, (expected,))

    def absent(self, expected: Expected) -> None:
        """A block taken by `take_discovered` is not in the store, or damaged there."""
        self._looking_up -= 1
        if expected.cid not in self._pending:
            self._wanted[expected.cid] = None
        self._pending.setdefault(expected.cid, []).append(expected)

    # Peers

    def add_peer(self, peer_id: str) -> bool:
        """Ask one more peer from now on; false for one that is asked already or was dropped, and when they are many."""
        known = peer_id in self._peers or any(fault.peer_id == peer_id for fault in self._faults)
        if known or len(self._peers) >= PEERS_PER_TRANSFER_MAX:
            return False
        self._peers[peer_id] = _Peer()
        return True

    def next_request(self, peer_id: str) -> tuple[Cid, ...]:
        """What to ask of a peer now; empty when its window is full, or nothing is wanted that it may have."""
        peer = self._peers.get(peer_id)
        if peer is None or len(peer.lacks) >= LACKS_PER_PEER_MAX:
            return ()
        # One that holds nothing may ask for one block whatever the others hold, or slow ones would keep it out.
        room = min(peer.window - len(peer.asked), max(IN_FLIGHT_MAX - self._in_flight, not peer.asked))
        # Several at once cost as much as one. What is left in flight is enough to go on with meanwhile.
        if room < min(len(peer.asked), REQUEST_COUNT) or room <= 0:
            return ()
        chosen = tuple(islice((cid for cid in self._wanted if cid not in peer.lacks), room))
        if not chosen and not peer.asked:
            chosen = tuple(islice(self._owed_by_others(peer), room))
        for cid in chosen:
            self._wanted.pop(cid, None)
            peer.asked[cid] = None
        self._in_flight += len(chosen)
        return chosen

    def _owed_by_others(self, peer: _Peer) -> Iterator[Cid]:
        """What this peer may have and others owe: nodes, and of those that gave much fewer blocks, chunks too."""
        seen: set[Cid] = set()
        for other in self._peers.values():
            slower = peer.given >= FASTER_FACTOR * (other.given + 1)
            for cid in other.asked:
                is_node = cid[1] == Codec.DAG_PB
                if cid in seen or cid in peer.lacks or cid not in self._pending or not (slower or is_node):
                    continue
                seen.add(cid)
                if self._asked_of(cid) < (NODE_ASKED_OF_MAX if is_node else ASKED_OF_MAX):
                    yield cid

    def _asked_of(self, cid: Cid) -> int:
        return sum(cid in peer.asked for peer in self._peers.values())

    def is_missing(self, cid: Cid) -> bool:
        """Whether a block that was asked for is still needed: another peer may have been quicker."""
        return cid in self._pending

    def received(self, peer_id: str, block: Block) -> None:
        """A peer has sent a block it was asked for, and the block is in the store.

        Raises:
            MalformedWeights: see `node.weights.tree.children`.
            WeightsTooLarge: the folder exceeds the bound.
        """
        self._answered(peer_id, block.cid)
        if peer_id in self._peers:
            self._peers[peer_id].given += 1
        self._wanted.pop(block.cid, None)
        self._hold(block, tuple(self._pending.pop(block.cid, ())))

    def received_late(self, peer_id: str, cid: Cid) -> None:
        """A peer has sent a block it was asked for, which another has given meanwhile."""
        self._answered(peer_id, cid)

    def lacks(self, peer_id: str, cid: Cid) -> None:
        """A peer says it does not have a block it was asked for."""
        self._answered(peer_id, cid)
        if peer_id in self._peers:
            self._peers[peer_id].lacks.add(cid)
        self._want_again((cid,))

    def release(self, peer_id: str) -> None:
        """A peer's stream has broken: others may be asked for what it owes, and it may be asked again."""
        peer = self._peers.get(peer_id)
        if peer is not None:
            owed = tuple(peer.asked)
            peer.asked.clear()
            self._in_flight -= len(owed)
            self._want_again(owed)

    def drop(self, fault: PeerFault) -> None:
        """Ask a peer no more."""
        self.release(fault.peer_id)
        if self._peers.pop(fault.peer_id, None) is not None:
            self._faults.append(fault)

    # Inside

    def _can_ask(self, peer_id: str) -> bool:
        lacks = self._peers[peer_id].lacks
        # A peer that lacks so many is left alone: asking it about each block in turn would serve nobody.
        return len(lacks) < LACKS_PER_PEER_MAX and any(cid not in lacks for cid in self._wanted)

    def _answered(self, peer_id: str, cid: Cid) -> None:
        peer = self._peers.get(peer_id)
        if peer is not None and cid in peer.asked:
            del peer.asked[cid]
            self._in_flight -= 1

    def _want_again(self, cids: Iterable[Cid]) -> None:
        # At the end: it costs least, and those who have just failed are asked for something else first.
        self._wanted |= {cid: None for cid in cids if cid in self._pending and not self._asked_of(cid)}

    def _hold(self, block: Block, expectations: Iterable[Expected]) -> None:
        if self._size_total_bytes is None:
            self._size_total_bytes = tree_size_bytes(block)
            if self._size_total_bytes > self._size_bytes_max:
                raise WeightsTooLarge(
                    f"{cid_text(self._cid)} has {self._size_total_bytes} bytes, at most {self._size_bytes_max} allowed"
                )
        if block.cid not in self._held:
            self._held.add(block.cid)
            self._size_bytes += len(block.data)
        for expected in expectations:
            for _, child in children(expected, block, self._layout):
                self._discover(child)
        if len(self._seen) > BLOCKS_MAX:
            raise WeightsTooLarge(f"{cid_text(self._cid)} has more than {BLOCKS_MAX} blocks")

    def _discover(self, child: Expected) -> None:
        if child in self._seen:
            return
        self._seen.add(child)
        if child.cid in self._pending:
            self._pending[child.cid].append(child)
        else:
            self._discovered.append(child)
