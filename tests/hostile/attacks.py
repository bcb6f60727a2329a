"""What hostile peers do, each in a loop: ``python -m tests.hostile.attacks NAME ADDRESS``.

An attacker that is dropped comes back under another identity at once. It says when it begins, and runs at a lower
priority than its victim, with which it shares this machine's processors and a victim elsewhere would not.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import trio
from libp2p.exceptions import BaseLibp2pError
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.utils import encode_varint_prefixed

from node.host.bitswap_wire import BitswapMessage, BitswapWant, send_message
from node.host.interface import HostError
from node.host.libp2p_host import Libp2pHost, open_host, quiet_libp2p_logging
from tests.node.host.test_mends import GOSSIP, message

TOPIC: Final = "/topic"
ECHO: Final = "/honest/1"
BITSWAP: Final = "/ipfs/bitswap/1.2.0"

Attack = Callable[[Libp2pHost, str], Awaitable[None]]


async def gossip(attacker: Libp2pHost, victim: str, payload: bytes) -> None:
    """The same gossip again and again, on one stream."""
    stream = await attacker.basic.new_stream(ID.from_base58(victim), [GOSSIP])
    framed = encode_varint_prefixed(payload)
    while True:
        await stream.write(framed)


async def tiny_streams(attacker: Libp2pHost, victim: str) -> None:
    """Streams that are opened and reset."""
    while True:
        stream = await attacker.open_stream(victim, ECHO)
        await stream.reset()


async def nameless_streams(attacker: Libp2pHost, victim: str) -> None:
    """Streams that end before they say what they are for; opening one waits for nothing."""
    (connection, *_) = attacker.swarm.get_connections()
    while True:
        stream = await connection.muxed_conn.open_stream()
        await stream.reset()


async def slow_loris(attacker: Libp2pHost, victim: str) -> None:
    """As many streams as there may be, a byte of a large frame on each now and then."""
    streams = []
    with suppress(HostError):
        while len(streams) < 240:
            streams.append(await attacker.open_stream(victim, ECHO))
    for stream in streams:
        await stream.write(b"\x00\x0f\xff\xff")
    while True:
        for stream in streams:
            await stream.write(b"x")
        await trio.sleep(0.05)


async def wishes_for_one_message(attacker: Libp2pHost, victim: str) -> None:
    """One cached message, asked for forty thousand times in each request."""
    wishes = rpc_pb2.ControlIWant(messageIDs=[b"%040d" % 1] * 40_000)
    await gossip(attacker, victim, rpc_pb2.RPC(control=rpc_pb2.ControlMessage(iwant=[wishes])).SerializeToString())


async def oversized_gossip(attacker: Libp2pHost, victim: str) -> None:
    """Messages as large as a stream takes."""
    large = message(attacker, secrets.randbits(60), bytes(1_900_000))
    await gossip(attacker, victim, rpc_pb2.RPC(publish=[large]).SerializeToString())


async def replayed_gossip(attacker: Libp2pHost, victim: str) -> None:
    """One good message, thousands of times a second."""
    again = message(attacker, secrets.randbits(60), b"again")
    await gossip(attacker, victim, rpc_pb2.RPC(publish=[again] * 1_000).SerializeToString())


async def forged_gossip(attacker: Libp2pHost, victim: str) -> None:
    """Messages with wrong signatures, each another one."""
    while True:
        forged = message(attacker, secrets.randbits(60), b"forged")
        forged.data = secrets.token_bytes(100)
        await gossip(attacker, victim, rpc_pb2.RPC(publish=[forged] * 100).SerializeToString())


async def undecodable_gossip(attacker: Libp2pHost, victim: str) -> None:
    """Rubbish."""
    await gossip(attacker, victim, b"\xff" * 1_000)


async def endless_bitswap(attacker: Libp2pHost, victim: str) -> None:
    """The largest messages, none of which ends."""
    streams = []
    while victim in attacker.connected_peers():
        with suppress(HostError):
            streams.append(await attacker.open_stream(victim, BITSWAP))
            await streams[-1].write(b"\x80\x80\x80\x02" + bytes(100_000))
        await trio.sleep(0.01)


async def endless_wishes(attacker: Libp2pHost, victim: str) -> None:
    """One list of wishes after the other, for blocks that are not there."""
    nowhere = b"\x01\x55\x12\x20" + bytes(28)
    wishes = BitswapMessage(wants=tuple(BitswapWant(nowhere + number.to_bytes(4, "big")) for number in range(2_000)))
    stream = await attacker.open_stream(victim, BITSWAP)
    while True:
        await send_message(stream, wishes)


async def connections(address: str) -> None:
    """A hundred connections that say nothing, made anew as they are closed."""
    _, _, host, _, port, *_ = address.split("/")

    async def hold() -> None:
        while True:
            with suppress(OSError):
                async with await trio.open_tcp_stream(host, int(port)) as stream:
                    await stream.receive_some(1)
            await trio.sleep(0.05)

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(hold)


ATTACKS: Final[dict[str, Attack]] = {
    attack.__name__: attack
    for attack in (
        tiny_streams,
        nameless_streams,
        slow_loris,
        wishes_for_one_message,
        oversized_gossip,
        replayed_gossip,
        forged_gossip,
        undecodable_gossip,
        endless_bitswap,
        endless_wishes,
    )
}


async def attack(name: str, address: str) -> None:
    """For ever."""
    quiet_libp2p_logging()
    if name == connections.__name__:
        print("attacking", flush=True)
        await connections(address)
    while True:
        with suppress(HostError, BaseLibp2pError, OSError):
            async with open_host(secrets.token_bytes(32)) as attacker:
                victim = await attacker.connect(address)
                print("attacking", flush=True)
                await ATTACKS[name](attacker, victim)
        await trio.sleep(0.02)


if __name__ == "__main__":
    os.nice(5)
    trio.run(attack, *sys.argv[1:])
