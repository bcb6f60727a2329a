"""One process of the gossip bench, told by lines of JSON what to do.

``python -m node.benches.gossip_process (gossip|flood) INDEX COUNT``; see `node.benches.gossip` for the other side and
`node.benches.processes` for what is said between them.
"""

from __future__ import annotations

import struct
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from node.benches.figures import percentile
from node.benches.lines import hear, hear_addresses, say
from node.collector import relax_collector
from node.host.interface import Host, HostLimits, Stream
from node.host.libp2p_host import open_host, quiet_libp2p_logging
from node.reconciliation import Pending, Reconciliation, pending_name
from node.wire import PENDING_PROTOCOL
from pdfedchain.crypto import tagged_hash

__all__ = ["MESSAGE_SIZE_BYTES", "main"]

MESSAGE_SIZE_BYTES: Final = 500

_TOPIC: Final = "/pdfed/bench/tx"
_FLOOD_PROTOCOL: Final = "/pdfed/bench-flood/1"
_POLL_S: Final = 0.002

#: Load, sender, number, and when it was sent: the monotonic clock is the same for all processes of a machine.
_HEAD: Final = struct.Struct("!HHIQ")

#: After a load that was too much, what is on the way arrives before the next one begins.
_QUIET_S: Final = 0.5
_QUIET_TIMEOUT_S: Final = 20.0
_SIGNATURE_SIZE_BYTES: Final = 64
_FLOOD_QUEUE_MAX: Final = 100_000


class Member(ABC):
    """A process's part: it sends messages, and remembers which have come and how long each took."""

    def __init__(self, host: Host, index: int) -> None:
        self.host = host
        self._index = index
        self._number = 0
        self.load = 0
        self.received: dict[bytes, bytes] = {}
        self.latencies_s: list[float] = []

    def take(self, message: bytes) -> bool:
        """A message has come; whether it is new."""
        head = message[: _HEAD.size]
        load, _, _, sent_ns = _HEAD.unpack(head)
        if load != self.load or head in self.received:
            return False
        self.received[head] = message
        self.latencies_s.append((time.monotonic_ns() - sent_ns) / 1e9)
        return True

    async def send(self) -> None:
        """Send the next message."""
        self._number += 1
        head = _HEAD.pack(self.load, self._index, self._number, time.monotonic_ns())
        message = head + bytes(MESSAGE_SIZE_BYTES - len(head))
        self.received[head] = message
        await self.publish(message)

    @abstractmethod
    async def start(self, nursery: trio.Nursery) -> None:
        """Get ready, once all peers are connected."""

    @abstractmethod
    async def publish(self, message: bytes) -> None:
        """Send a message to everybody."""

    @property
    def pulled(self) -> int:
        """How many messages were lost at first and pulled."""
        return 0


class GossipMember(Member):
    """What a node does: gossipsub as `node.host` has it, and lost messages are pulled."""

    def __init__(self, host: Host, index: int) -> None:
        super().__init__(host, index)
        pending = Pending(
            lambda: {pending_name(message): message for message in self.received.values()}, self.take, lambda: None
        )
        self._reconciliation = Reconciliation(
            self.host, pending, lambda: sorted(self.host.connected_peers()), lambda peer_id, reason: None
        )
        self.host.set_stream_handler(PENDING_PROTOCOL, self._reconciliation.handle)

    async def start(self, nursery: trio.Nursery) -> None:
        await self.host.subscribe(_TOPIC, lambda peer_id, message: self.take(message))
        nursery.start_soon(self._reconciliation.run)

    async def publish(self, message: bytes) -> None:
        await self.host.publish(_TOPIC, message)

    @property
    def pulled(self) -> int:
        return self._reconciliation.counters["pulled"]


class FloodMember(Member):
    """The least that could do the same: one stream to each peer, every new message signed, verified and passed on."""

    def __init__(self, host: Host, index: int) -> None:
        super().__init__(host, index)
        self._keys: dict[int, Ed25519PublicKey] = {}
        self._key = _flood_key(index)
        self._queues: dict[str, trio.MemorySendChannel[bytes]] = {}
        host.set_stream_handler(_FLOOD_PROTOCOL, self._receive)

    async def start(self, nursery: trio.Nursery) -> None:
        for peer_id in self.host.connected_peers():
            send, receive = trio.open_memory_channel[bytes](_FLOOD_QUEUE_MAX)
            self._queues[peer_id] = send
            nursery.start_soon(self._send_to, peer_id, receive)

    async def publish(self, message: bytes) -> None:
        self._pass_on(self._key.sign(message) + message, "")
        await trio.lowlevel.checkpoint()

    def _pass_on(self, frame: bytes, source: str) -> None:
        for peer_id, queue in self._queues.items():
            if peer_id != source:
                queue.send_nowait(frame)

    async def _send_to(self, peer_id: str, frames: trio.MemoryReceiveChannel[bytes]) -> None:
        stream = await self.host.open_stream(peer_id, _FLOOD_PROTOCOL)
        async for frame in frames:
            await stream.send_frame(frame)

    async def _receive(self, stream: Stream) -> None:
        while True:
            frame = await stream.receive_frame(MESSAGE_SIZE_BYTES + _SIGNATURE_SIZE_BYTES)
            message = frame[_SIGNATURE_SIZE_BYTES:]
            if message[: _HEAD.size] in self.received or _HEAD.unpack_from(message)[0] != self.load:
                continue
            author = _HEAD.unpack_from(message)[1]
            key = self._keys.get(author) or self._keys.setdefault(author, _flood_key(author).public_key())
            key.verify(frame[:_SIGNATURE_SIZE_BYTES], message)
            self.take(message)
            self._pass_on(frame, stream.peer_id)


def _flood_key(index: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(tagged_hash("pdfed/bench/flood/v1", bytes([index])))


async def _run_load(member: Member, command: dict[str, Any]) -> dict[str, Any]:
    """Send so many messages at a rate, and wait until ``expected`` have come from all, or the time is over."""
    member.load = command["load"]
    member.received.clear()
    member.latencies_s.clear()
    pulled, dropped = member.pulled, member.host.counters["gossip_dropped"]
    started, cpu = time.perf_counter(), time.process_time()
    for number in range(command["count"]):
        await trio.sleep(max(0.0, started + number / command["rate"] - time.perf_counter()))
        await member.send()
    sent_s = time.perf_counter() - started
    with trio.move_on_after(command["patience_s"]):
        while len(member.received) < command["expected"]:
            await trio.sleep(_POLL_S)
    cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - started
    received, latencies_s = len(member.received), tuple(member.latencies_s)
    # Others may still ask for what only this one has.
    await trio.sleep(command.get("linger_s", 0.0))
    with trio.move_on_after(_QUIET_TIMEOUT_S):
        before = -1
        while before != len(member.received):
            before = len(member.received)
            await trio.sleep(_QUIET_S)
    return {
        "received": received,
        "sent_s": sent_s,
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "p50_s": percentile(latencies_s, 50),
        "p99_s": percentile(latencies_s, 99),
        "pulled": member.pulled - pulled,
        "dropped": member.host.counters["gossip_dropped"] - dropped,
    }


@asynccontextmanager
async def _host(index: int) -> AsyncIterator[Host]:
    seed = tagged_hash("pdfed/bench/host/v1", bytes([index]))
    async with open_host(seed, "/ip4/127.0.0.1/tcp/0", limits=HostLimits()) as host:
        yield host


async def _run(kind: str, index: int, count: int) -> None:
    quiet_libp2p_logging()
    async with _host(index) as host:
        member = (GossipMember if kind == "gossip" else FloodMember)(host, index)
        say({"address": host.addresses[0]})
        addresses = await hear_addresses()
        for address in addresses[:index]:
            await host.connect(address)
        while len(host.connected_peers()) < count - 1:
            await trio.sleep(_POLL_S)
        async with trio.open_nursery() as nursery:
            await member.start(nursery)
            # Gossip has its mesh with the next heartbeat.
            await trio.sleep(3.0)
            say({"connected": True})
            while (command := await hear()) is not None:
                say(await _run_load(member, command))
            nursery.cancel_scope.cancel()


def main() -> None:
    """Run until standard input ends."""
    kind, index, count = sys.argv[1:]
    relax_collector()
    trio.run(_run, kind, int(index), int(count))


if __name__ == "__main__":
    main()
