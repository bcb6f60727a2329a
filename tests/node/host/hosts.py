"""Hosts of both kinds for the same tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import trio

from node.host.interface import Host, HostLimits, Stream
from node.host.libp2p_host import open_host
from node.memory_host import MemoryNetwork

KINDS = ("libp2p", "memory")


class Opener(Protocol):
    def __call__(
        self, number: int, listen: str = "", limits: HostLimits | None = None
    ) -> AbstractAsyncContextManager[Host]: ...


def opener(kind: str) -> Opener:
    """Opens hosts that can reach each other; the number is the identity."""
    network = MemoryNetwork()

    @asynccontextmanager
    async def open_one(number: int, listen: str = "", limits: HostLimits | None = None) -> AsyncIterator[Host]:
        seed = bytes([number]) * 32
        if kind == "memory":
            # All at one address, as on loopback.
            async with network.open_host(seed, listen, site="127.0.0.1", limits=limits) as memory_host:
                yield memory_host
        else:
            async with open_host(seed, listen or "/ip4/127.0.0.1/tcp/0", limits=limits, providers=True) as libp2p_host:
                yield libp2p_host

    return open_one


async def until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Wait for something that must happen; failing to happen is the failure of the test."""
    with trio.fail_after(timeout_s):
        while not condition():
            await trio.sleep(0.005)


async def until_connected(host: Host, *peer_ids: str) -> None:
    """Wait until a host knows that these peers are there."""
    await until(lambda: host.connected_peers().issuperset(peer_ids))


async def echo(stream: Stream) -> None:
    while True:
        await stream.send_frame(await stream.receive_frame(16_777_216))


Handler = Callable[[Stream], Awaitable[None]]
