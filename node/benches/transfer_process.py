"""One process of the transfer bench: a host with a store, or libp2p as it comes, told by lines of JSON what to do.

``python -m node.benches.transfer_process (node|stock) SEED STORE`` prints its address and then answers each line of its
standard input with one line; it ends with its input. See `node.benches.transfer` for the other side.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import trio

from node.benches.lines import hear, say
from node.benches.written import take
from node.collector import relax_collector
from node.host.interface import Stream
from node.host.libp2p_host import Libp2pHost, open_host, quiet_libp2p_logging
from node.weights.fetch import fetch
from node.weights.serve import WeightsServer
from node.weights.store import WeightsStore
from node.weights.transfer import Progress
from pdfedchain.ids import cid_text, parse_cid

__all__ = ["main"]

BARE: Final = "/pdfed/bench/bare/1"
ECHO: Final = "/pdfed/bench/echo/1"

#: A write that fills one yamux frame inside one noise message.
_WRITE_SIZE_BYTES: Final = 65_507
_READ_SIZE_BYTES: Final = 262_144
_FOLDER_SIZE_BYTES_MAX: Final = 2**40
_VOTE_SIZE_BYTES: Final = 200
_VOTE_PAUSE_S: Final = 0.005
#: Round trips are measured for so long where nothing else goes on.
_TRIPS_S: Final = 2.0

Command = dict[str, Any]
Operation = Callable[[Command], Awaitable[Command]]


def main() -> None:
    """Run until standard input ends."""
    kind, seed, store = sys.argv[1:]
    trio.run(_stock if kind == "stock" else _node, bytes([int(seed)]) * 32, Path(store))


async def _node(seed: bytes, directory: Path) -> None:
    quiet_libp2p_logging()
    relax_collector()  # as every node does
    store = WeightsStore(directory)
    async with open_host(seed) as host:
        WeightsServer(store).attach(host)
        host.set_stream_handler(BARE, _send)
        host.set_stream_handler(ECHO, _echo)

        async def do(command: Command) -> Command:
            return await _OPERATIONS[command["do"]](host, store, command)

        await _obey(host.addresses[0], do)


async def _stock(seed: bytes, directory: Path) -> None:
    from node.benches.stock import open_stock  # other processes need not load it

    async with open_stock(seed) as node:

        async def do(command: Command) -> Command:
            match command["do"]:
                case "connect":
                    await node.connect(command["address"])
                    return {}
                case "bare":
                    return {"wall_s": await node.bare(command["address"], command["size_bytes"])}
                case "add":
                    return {"cid": await node.add(Path(command["path"]))}
                case _:
                    return {"wall_s": await node.fetch(command["address"], command["cid"])}

        await _obey(node.address, do)


async def _obey(address: str, do: Operation) -> None:
    say({"address": address})
    while (command := await hear()) is not None:
        say(await do(command))


async def _connect(host: Libp2pHost, store: WeightsStore, command: Command) -> Command:
    await host.connect(command["address"])
    return {}


async def _add(host: Libp2pHost, store: WeightsStore, command: Command) -> Command:
    cid = await trio.to_thread.run_sync(store.add_folder, Path(command["path"]))
    return {"cid": cid_text(cid)}


async def _bare(host: Libp2pHost, store: WeightsStore, command: Command) -> Command:
    size_bytes = left = command["size_bytes"]
    async with await host.open_stream(command["address"].rpartition("/")[2], BARE, bulk=True) as stream:
        started = time.perf_counter()
        await stream.write(size_bytes.to_bytes(8, "big"))
        if "path" in command:
            await take(stream, left, Path(command["path"]))
            left = 0
        while left > 0:
            part = min(left, _READ_SIZE_BYTES)
            await stream.read_exactly(part)
            left -= part
        return {"wall_s": time.perf_counter() - started}


async def _fetch(host: Libp2pHost, store: WeightsStore, command: Command) -> Command:
    peers = [address.rpartition("/")[2] for address in command["addresses"]]
    target = WeightsStore(Path(command["store"]))
    told = 0

    def tell(progress: Progress) -> None:
        nonlocal told
        if command.get("tell") and progress.blocks > told + progress.blocks_known // 16:
            told = progress.blocks
            say({"blocks": progress.blocks, "blocks_known": progress.blocks_known})

    carrier = _Together(host) if command.get("together") else host
    trips = _Trips()
    async with trio.open_nursery() as nursery:
        if command.get("votes"):
            await nursery.start(trips.measure, host, peers[0])
        started = time.perf_counter()
        report = await fetch(
            carrier, target, parse_cid(command["cid"]), peers, size_bytes_max=_FOLDER_SIZE_BYTES_MAX, on_progress=tell
        )
        wall_s = time.perf_counter() - started
        if command.get("votes"):
            await trips.one_ended.wait()
        nursery.cancel_scope.cancel()
    return {
        "trips_ms": sorted(trips.walls_ms),
        "wall_s": wall_s,
        "fetched_blocks": report.fetched_blocks,
        "blocks": report.progress.blocks,
        "size_bytes": report.fetched_bytes,
    }


class _Together:
    """A host that carries bulk over the first connection, as if it knew no other way."""

    def __init__(self, host: Libp2pHost) -> None:
        self._host = host

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    async def open_stream(self, peer_id: str, protocol: str, *, bulk: bool = False) -> Stream:
        return await self._host.open_stream(peer_id, protocol)


class _Trips:
    """What has the size of a vote goes there and back, all the time.

    Attributes:
        walls_ms: of each round trip.
        one_ended: there is a first. It began beside what is measured, and may end after it where that is quick.
    """

    def __init__(self) -> None:
        self.walls_ms: list[float] = []
        self.one_ended = trio.Event()

    async def measure(self, host: Libp2pHost, peer_id: str, *, task_status: Any) -> None:
        """For ever; started with the stream open."""
        async with await host.open_stream(peer_id, ECHO) as stream:
            task_status.started()
            while True:
                started = time.perf_counter()
                await stream.send_frame(bytes(_VOTE_SIZE_BYTES))
                await stream.receive_frame(_VOTE_SIZE_BYTES)
                self.walls_ms.append((time.perf_counter() - started) * 1_000)
                self.one_ended.set()
                await trio.sleep(_VOTE_PAUSE_S)


async def _trips(host: Libp2pHost, store: WeightsStore, command: Command) -> Command:
    trips = _Trips()
    async with trio.open_nursery() as nursery:
        await nursery.start(trips.measure, host, command["address"].rpartition("/")[2])
        await trio.sleep(_TRIPS_S)
        await trips.one_ended.wait()
        nursery.cancel_scope.cancel()
    return {"trips_ms": sorted(trips.walls_ms)}


async def _echo(stream: Stream) -> None:
    while True:
        await stream.send_frame(await stream.receive_frame(_VOTE_SIZE_BYTES))


async def _memory_now(host: Libp2pHost, store: WeightsStore, command: Command) -> Command:
    """Resident memory, and its peak since this was last asked."""
    peak = _memory("VmHWM")
    gc.collect()
    return {"peak_bytes": peak, "resident_bytes": _reset_peak()}


async def _tcp_offer(host: Libp2pHost, store: WeightsStore, command: Command) -> Command:
    """Send so many bytes to whoever connects, over TCP and nothing else."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")

    async def send(stream: trio.SocketStream) -> None:
        async with stream:
            data = bytes(_READ_SIZE_BYTES)
            for start in range(0, command["size_bytes"], len(data)):
                await stream.send_all(data[: command["size_bytes"] - start])

    trio.lowlevel.spawn_system_task(trio.serve_listeners, send, [listener])
    return {"port": listener.socket.getsockname()[1]}


async def _tcp_copy(host: Libp2pHost, store: WeightsStore, command: Command) -> Command:
    started, size_bytes = time.perf_counter(), 0
    async with await trio.open_tcp_stream("127.0.0.1", command["port"]) as stream:
        async for data in stream:
            size_bytes += len(data)
    assert size_bytes == command["size_bytes"], "a copy is whole"
    return {"wall_s": time.perf_counter() - started}


_OPERATIONS: Final = {
    "connect": _connect,
    "add": _add,
    "bare": _bare,
    "fetch": _fetch,
    "trips": _trips,
    "memory": _memory_now,
    "tcp_offer": _tcp_offer,
    "tcp_copy": _tcp_copy,
}


async def _send(stream: Stream) -> None:
    size_bytes = int.from_bytes(await stream.read_exactly(8), "big")
    data = bytes(_WRITE_SIZE_BYTES)
    while size_bytes > 0:
        part = data[: min(size_bytes, len(data))]
        await stream.write(part)
        size_bytes -= len(part)


def _reset_peak() -> int:
    """Resident memory now, from which on the peak is counted anew. Linux only; 0 elsewhere."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(key: str) -> int:
    try:
        status = Path(f"/proc/{os.getpid()}/status").read_text()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1_024 for line in status.splitlines() if line.startswith(key + ":"))


if __name__ == "__main__":
    main()
