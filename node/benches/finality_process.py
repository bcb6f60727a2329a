"""One of the four processes of the finality bench, told by lines of JSON what to do.

``python -m node.benches.finality_process (chain|floor) INDEX DIRECTORY`` prints its address; is told all addresses and
answers when it is connected to the others; then does one load after the other and answers each with what it measured;
it ends with its input. See `node.benches.finality` for the other side and for what the two kinds are.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final, Protocol

import trio

from node.ballot_book import BallotBook
from node.benches.finality_floor import FloorNode
from node.benches.lines import hear, hear_addresses, say
from node.collector import relax_collector
from node.core import Node, NodeParts
from node.host.libp2p_host import open_host, quiet_libp2p_logging
from node.telemetry import Activity
from node.weights.store import WeightsStore
from node.workers import Worker
from pdfedchain.codec import encode
from pdfedchain.crypto import SigningKey, tagged_hash
from pdfedchain.ids import Address
from pdfedchain.state import Ledger
from pdfedchain.store.signer import SqliteSigner
from pdfedchain.store.sqlite import SqliteStore
from pdfedchain.store.wal import FileLog
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.block import FinalBlock
from pdfedchain.types.genesis import ChainParameters, Genesis
from pdfedchain.types.ledger import Allocation, Deadline, LedgerGenesis, LedgerParameters
from pdfedchain.types.transaction import Transaction, Transfer

__all__ = ["NODES", "SENDERS", "main"]

NODES: Final = 4

#: Accounts of each node that send; each has one transfer on the way at a time.
SENDERS: Final = 2_000

#: Transfers of each account that are signed before a load: more than four nodes carry in a few seconds.
_SIGNED_AHEAD: Final = 2

_CHAIN_ID: Final = "bench"
_POLL_S: Final = 0.002
_DRAIN_TIMEOUT_S: Final = 20.0


class Subject(Protocol):
    """What is measured: a node of a chain, or one that only sends what a chain would send."""

    def peers(self) -> int:
        """How many others it is connected to."""

    async def spread(self, transaction: bytes) -> None:
        """Bring a transaction in."""


def keys(index: int) -> list[SigningKey]:
    """The keys of a node's senders, always the same."""
    return [
        SigningKey(tagged_hash("pdfed/bench/sender/v1", bytes([index]), number.to_bytes(4, "big")))
        for number in range(SENDERS)
    ]


def authority(index: int) -> SigningKey:
    """A node's own key."""
    return SigningKey(tagged_hash("pdfed/bench/authority/v1", bytes([index])))


def genesis(senders: Sequence[Address]) -> Genesis:
    """Blocks follow each other without a pause."""
    deadline = Deadline(1, 1)
    ledger = LedgerGenesis(
        parameters=LedgerParameters(False, deadline, deadline, deadline, deadline),
        allocations=tuple(Allocation(address, 10**9) for address in senders),
        participants=(),
        tasks=(),
    )
    return Genesis(
        chain_id=_CHAIN_ID,
        time_ms=1_700_000_000_000,
        version=1,
        authorities=AuthoritySet(0, tuple(authority(index).address for index in range(NODES))),
        parameters=ChainParameters(block_interval_min_ms=1),
        application=Ledger.name,
        application_state=encode(ledger),
    )


class Load:
    """Transfers on their way, and how long those took that have arrived."""

    def __init__(self, senders: Sequence[SigningKey], receivers: Sequence[Address]) -> None:
        self._senders = senders
        self._receivers = receivers
        self._nonces = [0] * len(senders)
        #: Of each account, in order of nonce, signed and not sent yet.
        self._signed: list[deque[bytes]] = [deque() for _ in senders]
        self._free = deque(range(len(senders)))
        self._sent_at: dict[bytes, tuple[float, int]] = {}
        self._count = 0
        self.latencies_s: list[float] = []
        self.final = 0

    @property
    def on_the_way(self) -> int:
        """How many transfers of ours are not final."""
        return len(self._sent_at)

    def arrived(self, transactions: Sequence[bytes]) -> None:
        """These are final here."""
        now = time.perf_counter()
        self.final += len(transactions)
        for transaction in transactions:
            sent = self._sent_at.pop(transaction, None)
            if sent is not None:
                self.latencies_s.append(now - sent[0])
                self._free.append(sent[1])

    async def sign(self) -> dict[str, Any]:
        """Sign beforehand what the next load sends: what wallets do is no work of a node."""
        for number, signed in enumerate(self._signed):
            while len(signed) < _SIGNED_AHEAD:
                signed.append(self._transfer(number))
            await trio.lowlevel.checkpoint()
        return {"signed": True}

    def _transfer(self, number: int) -> bytes:
        self._count += 1
        key, receiver = self._senders[number], self._receivers[self._count % len(self._receivers)]
        transfer = Transaction(_CHAIN_ID, key.address, self._nonces[number], Transfer(receiver, 1))
        self._nonces[number] += 1
        return encode(transfer.sign(key))

    async def send(self, subject: Subject) -> None:
        """One transfer, from an account that has none on the way."""
        number = self._free.popleft()
        signed = self._signed[number]
        transaction = signed.popleft() if signed else self._transfer(number)
        self._sent_at[transaction] = time.perf_counter(), number
        await subject.spread(transaction)

    async def run(self, subject: Subject, command: dict[str, Any]) -> dict[str, Any]:
        """Send for some seconds: one after each ``interval_s``, or as many as keep ``on_the_way`` of them going."""
        self.latencies_s, self.final = [], 0
        started, cpu = time.perf_counter(), time.process_time()
        interval_s, on_the_way = command.get("interval_s"), command.get("on_the_way", 1)
        while time.perf_counter() - started < command["seconds"]:
            if interval_s is not None:
                await self.send(subject)
                await trio.sleep(interval_s)
                continue
            while self.on_the_way < on_the_way and self._free:
                await self.send(subject)
            await trio.sleep(_POLL_S)
        # What is on the way is waited for, and counts with the time that it takes.
        with trio.move_on_after(_DRAIN_TIMEOUT_S):
            while self.on_the_way:
                await trio.sleep(_POLL_S)
        return {
            "wall_s": time.perf_counter() - started,
            "cpu_s": time.process_time() - cpu,
            "final": self.final,
            "latencies_s": self.latencies_s,
            "lost": self.on_the_way,
        }


class _MeasuredNode(Node):
    """A node as it is, which tells of every block."""

    load: Load

    def peers(self) -> int:
        """How many others it is connected to."""
        return len(self._peers.connected)

    def _announce(self, final: FinalBlock) -> None:
        self.load.arrived(final.block.body.transactions)
        super()._announce(final)


@asynccontextmanager
async def _chain(index: int, directory: Path, load: Load, senders: Sequence[Address]) -> AsyncIterator[Subject]:
    chain = genesis(senders)
    key = authority(index)
    async with open_host(tagged_hash("pdfed/bench/host/v1", bytes([index])), "/ip4/127.0.0.1/tcp/0") as host:
        addresses = await _exchange(host.addresses[0])
        store = SqliteStore(directory / "chain.db")
        store.initialise(chain, Ledger().genesis_state(chain))
        signer = SqliteSigner(directory / "signer.db", chain_id=chain.chain_id, address=key.address)
        log = FileLog(directory / "consensus.wal")
        with closing(store), closing(signer), closing(log):
            parts = NodeParts(
                genesis=chain,
                key=key,
                store=store,
                log=log,
                signer=signer,
                host=host,
                addresses=addresses,
                weights=WeightsStore(directory / "weights"),
                folders=directory / "folders",
                book=BallotBook(":memory:"),
                activity=Activity(directory / "activity.json"),
                scorer=Worker("score", directory),
                trainer=Worker("train", directory),
                device="cpu",
                participant=None,
            )
            node = _MeasuredNode(parts)
            node.load = load
            async with trio.open_nursery() as nursery:
                nursery.start_soon(node.run)
                yield node
                nursery.cancel_scope.cancel()


@asynccontextmanager
async def _floor(index: int, directory: Path, load: Load) -> AsyncIterator[Subject]:
    async with open_host(tagged_hash("pdfed/bench/host/v1", bytes([index])), "/ip4/127.0.0.1/tcp/0") as host:
        addresses = await _exchange(host.addresses[0])
        with closing(FloorNode(index, host, addresses, directory, authority(index), load.arrived)) as node:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(node.run)
                yield node
                nursery.cancel_scope.cancel()


async def _exchange(address: str) -> tuple[str, ...]:
    say({"address": address})
    return await hear_addresses()


async def _run(kind: str, index: int, directory: Path) -> None:
    quiet_libp2p_logging()
    everybody = [keys(each) for each in range(NODES)]
    senders = [key.address for each in everybody for key in each]
    load = Load(everybody[index], senders)
    opened = _chain(index, directory, load, senders) if kind == "chain" else _floor(index, directory, load)
    async with opened as subject:
        while subject.peers() < NODES - 1:
            await trio.sleep(_POLL_S)
        # Gossip has its mesh with the next heartbeat.
        await trio.sleep(2.0)
        say({"connected": True})
        while (command := await hear()) is not None:
            say(await load.sign() if "sign" in command else await load.run(subject, command))


def main() -> None:
    """Run until standard input ends."""
    kind, index, directory = sys.argv[1:]
    relax_collector()
    trio.run(_run, kind, int(index), Path(directory))


if __name__ == "__main__":
    main()
