"""libp2p as it comes, without our mends: what the transfer of weights is compared with.

Nothing of this is used by a node.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from libp2p import new_host
from libp2p.bitswap import BitswapClient
from libp2p.bitswap.dag import MerkleDag
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.network.stream.net_stream import NetStream
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from multiaddr import Multiaddr

__all__ = ["StockNode", "open_stock"]

_BARE = "/pdfed/bench/bare/1"

#: A write that fills one yamux frame inside one noise message.
_WRITE_SIZE_BYTES = 65_507
_READ_SIZE_BYTES = 262_144


class StockNode:
    """One host of libp2p 0.8.1 with its own Bitswap, made by `open_stock`."""

    def __init__(self, seed: bytes) -> None:
        keys = create_new_key_pair(seed)
        self.host = new_host(key_pair=keys, sec_opt={NOISE: NoiseTransport(keys, create_noise_key_pair().private_key)})
        self._bitswap = BitswapClient(self.host)
        self._dag = MerkleDag(self._bitswap)

    async def start(self, nursery: trio.Nursery) -> None:
        """Serve Bitswap and bare streams."""
        self._bitswap.set_nursery(nursery)
        await self._bitswap.start()
        self.host.set_stream_handler(_BARE, _send)

    @property
    def address(self) -> str:
        """Where it listens."""
        return str(self.host.get_addrs()[0])

    async def connect(self, address: str) -> None:
        """Connect to another one."""
        await self.host.connect(info_from_p2p_addr(Multiaddr(address)))

    async def bare(self, address: str, size_bytes: int) -> float:
        """Seconds in which so many bytes come over one stream."""
        stream = await self.host.new_stream(info_from_p2p_addr(Multiaddr(address)).peer_id, [_BARE])
        started = time.perf_counter()
        await stream.write(size_bytes.to_bytes(8, "big"))
        while size_bytes > 0:
            size_bytes -= len(await stream.read(_READ_SIZE_BYTES))
        wall_s = time.perf_counter() - started
        await stream.close()
        return wall_s

    async def add(self, path: Path) -> str:
        """Offer a file by Bitswap; returns its identifier in hexadecimal."""
        identifier: bytes = await self._dag.add_file(str(path))
        return identifier.hex()

    async def fetch(self, address: str, identifier: str) -> float:
        """Seconds in which a file comes by Bitswap, into memory."""
        peer_id = info_from_p2p_addr(Multiaddr(address)).peer_id
        started = time.perf_counter()
        await self._dag.fetch_file(bytes.fromhex(identifier), peer_id)
        return time.perf_counter() - started


async def _send(stream: NetStream) -> None:
    size_bytes = int.from_bytes(await stream.read(8), "big")
    data = bytes(_WRITE_SIZE_BYTES)
    while size_bytes > 0:
        part = data[: min(size_bytes, len(data))]
        await stream.write(part)
        size_bytes -= len(part)
    await stream.close()


@asynccontextmanager
async def open_stock(seed: bytes) -> AsyncIterator[StockNode]:
    """A node that listens on loopback inside the block."""
    logging.getLogger("libp2p").setLevel(logging.CRITICAL)
    node = StockNode(seed)
    async with node.host.run(listen_addrs=[Multiaddr("/ip4/127.0.0.1/tcp/0")]), trio.open_nursery() as nursery:
        await node.start(nursery)
        yield node
        nursery.cancel_scope.cancel()
