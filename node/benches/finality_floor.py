"""What finality costs where nothing is decided: the messages and durable writes of a chain without the chain.

Four `FloorNode` processes send each other what four nodes would send for every height (transactions by gossip, then a
proposal, prevotes and precommits over the message channels, each passed on once) and write what they would write before
each step (the consensus log and the signer's record, both synchronised; the block in a SQLite transaction), through the
same host, channels and stores. Nobody verifies, executes, hashes or judges: a message is a kind, a height, a sender and
bytes up to the size of the real one. The next height begins when something waits, as on a chain.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import trio

from node.channel import PROTOCOL_VERSION, Hello
from node.host.interface import Host
from node.peers import Peers
from node.transaction_gossip import TransactionGossip
from pdfedchain.crypto import SigningKey
from pdfedchain.ids import Hash
from pdfedchain.store.durable import sync_fully
from pdfedchain.store.signer import SqliteSigner
from pdfedchain.store.wal import FileLog

__all__ = ["FloorNode"]

_TOPIC: Final = "/pdfed/floor/tx"
_NODES: Final = 4
_QUORUM: Final = 3

_PROPOSAL, _PREVOTE, _PRECOMMIT = 0, 1, 2
_HEAD: Final = struct.Struct(">BQBI")

#: Encoded sizes on a chain: a vote; a proposal without transactions; a certificate beside the stored block.
_VOTE_SIZE_BYTES: Final = 260
_PROPOSAL_SIZE_BYTES: Final = 700
_FINAL_SIZE_BYTES: Final = 1_200

_TRANSACTIONS_PER_BLOCK: Final = 5_000


class FloorNode:
    """One of the four."""

    def __init__(
        self,
        index: int,
        host: Host,
        addresses: Sequence[str],
        directory: Path,
        key: SigningKey,
        arrived: Callable[[Sequence[bytes]], None],
    ) -> None:
        """
        Args:
            arrived: told the transactions of each height that is final here.
        """
        self._index = index
        self._host = host
        self._key = key
        self._arrived = arrived
        self._height = 1
        self._waiting: dict[bytes, None] = {}
        self._seen: set[tuple[int, int, int]] = set()
        self._proposals: dict[int, tuple[bytes, ...]] = {}
        self._votes: dict[tuple[int, int], int] = {}
        hello = Hello(PROTOCOL_VERSION, "floor", Hash(bytes(32)), key.address, 0, bytes([index]) * 8)
        self._peers = Peers(host, lambda: hello, addresses, receive=self._receive)
        self._gossip = TransactionGossip(self._take, self._publish, arrived=self._propose, dropped=lambda: None)
        self._log = FileLog(directory / "consensus.wal")
        self._signer = SqliteSigner(directory / "signer.db", chain_id="floor", address=key.address)
        self._store = sqlite3.connect(directory / "chain.db", isolation_level=None, check_same_thread=False)
        self._store.execute("PRAGMA journal_mode=WAL")
        sync_fully(self._store)
        self._store.execute("CREATE TABLE blocks (height INTEGER PRIMARY KEY, final BLOB NOT NULL)")

    def close(self) -> None:
        """Release the files."""
        self._log.close()
        self._signer.close()
        self._store.close()

    def peers(self) -> int:
        """How many others it is connected to."""
        return len(self._peers.connected)

    async def run(self) -> None:
        """Take part for ever."""
        await self._host.subscribe(_TOPIC, self._gossip.receive)
        self._log.begin(self._height)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._peers.run)
            nursery.start_soon(self._gossip.run)

    async def spread(self, transaction: bytes) -> None:
        """Bring a transaction in."""
        self._take(transaction)
        self._gossip.send(transaction)
        self._propose()

    def _take(self, transaction: bytes) -> bool:
        if transaction in self._waiting:
            return False
        self._waiting[transaction] = None
        return True

    async def _publish(self, message: bytes) -> None:
        await self._host.publish(_TOPIC, message)

    def _propose(self) -> None:
        height = self._height
        if height % _NODES != self._index or (_PROPOSAL, height, self._index) in self._seen or not self._waiting:
            return
        chosen = tuple(self._waiting)[:_TRANSACTIONS_PER_BLOCK]
        body = b"".join(struct.pack(">H", len(each)) + each for each in chosen)
        self._say(_PROPOSAL, body + bytes(_PROPOSAL_SIZE_BYTES))

    def _say(self, step: int, content: bytes) -> None:
        """Log, record, send: what happens before a message leaves a node."""
        message = _HEAD.pack(step, self._height, self._index, len(content)) + content
        self._log.append(message)
        self._log.sync()
        self._signer.sign(
            self._height, 0, step, block=Hash(bytes(32)), message=message[:_VOTE_SIZE_BYTES], key=self._key
        )
        self._peers.broadcast(message)
        self._handle(message)

    def _receive(self, peer_id: str, message: bytes) -> None:
        if self._handle(message):
            self._peers.broadcast(message, exclude=peer_id)

    def _handle(self, message: bytes) -> bool:
        """Count a message; whether it is to be passed on."""
        step, height, sender, size_bytes = _HEAD.unpack_from(message)
        if height < self._height or (step, height, sender) in self._seen:
            return False
        self._seen.add((step, height, sender))
        if sender != self._index and height == self._height:
            self._log.append(message)
        if step == _PROPOSAL:
            self._proposals[height] = _transactions(message, size_bytes - _PROPOSAL_SIZE_BYTES)
        else:
            self._votes[step, height] = self._votes.get((step, height), 0) + 1
        self._go_on()
        return True

    def _go_on(self) -> None:
        """Take every step there is a reason for."""
        height = self._height
        if height in self._proposals and (_PREVOTE, height, self._index) not in self._seen:
            self._say(_PREVOTE, bytes(_VOTE_SIZE_BYTES))
        elif self._votes.get((_PREVOTE, height), 0) >= _QUORUM and (_PRECOMMIT, height, self._index) not in self._seen:
            self._say(_PRECOMMIT, bytes(_VOTE_SIZE_BYTES))
        elif self._votes.get((_PRECOMMIT, height), 0) >= _QUORUM and height in self._proposals:
            self._commit(self._proposals.pop(height))

    def _commit(self, transactions: tuple[bytes, ...]) -> None:
        final = b"".join(transactions) + bytes(_FINAL_SIZE_BYTES)
        self._store.execute("INSERT INTO blocks VALUES (?, ?)", (self._height, final))
        for transaction in transactions:
            self._waiting.pop(transaction, None)
        self._height += 1
        self._log.begin(self._height)
        self._seen = {each for each in self._seen if each[1] >= self._height}
        self._votes = {each: count for each, count in self._votes.items() if each[1] >= self._height}
        self._arrived(transactions)
        self._propose()
        self._go_on()


def _transactions(message: bytes, size_bytes: int) -> tuple[bytes, ...]:
    found = []
    at = _HEAD.size
    end = at + size_bytes
    while at < end:
        (length,) = struct.unpack_from(">H", message, at)
        found.append(message[at + 2 : at + 2 + length])
        at += 2 + length
    return tuple(found)
