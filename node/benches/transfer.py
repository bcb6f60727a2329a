"""How fast weights move between two nodes on this machine, beside what the same machine moves without us.

Every figure is taken between real processes on loopback, with hashing and writing to disk included:

* the rate, beside that of a bare stream of libp2p as it comes and of one over our own transport (no hashes, no disk),
  and of the latter hashed and written to one file, which no transfer can do without (`node.benches.written`);
* the rate beside that of py-libp2p's own Bitswap, from memory to memory;
* the rate from three sources, beside that from one;
* the rate through a line of 50 Mbit/s, beside that of a plain TCP copy through the same program;
* how long a frame of the size of a vote takes there and back while a folder comes, over a connection of its own or not;
* the memory that a fetch takes at most on either side, above what an idle process held before its first;
* after a process was killed in the middle: how many verified blocks its successor fetched again.

What stands beside each other is measured in turns, and each ratio is the median of the ratios of neighbours. A first
round is not counted: on a virtual machine that returns free memory to its host, the first use of a page costs ten times
what the next one does. What was fetched is emptied at once and deleted in the end: for minutes ext4 passes over the
numbers of deleted files one by one, which only a node that has just deleted thousands would meet. Shared machines are
noisy: look at the ratios before the rates.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from node.benches.figures import Figure
from pdfedchain.errors import StateError

__all__ = ["bench_transfer"]

_MB: Final = 1_000_000
_PIECE_SIZE_BYTES: Final = 8_388_608
_LINE_BYTES_PER_S: Final = 6_250_000
#: A line is slow: how often it is measured at most, and how much goes through it.
_LINE_ROUNDS_MAX: Final = 3
_LINE_SIZE_BYTES_MAX: Final = 64 * _MB


class _Process:
    """One process of `node.benches.transfer_process`."""

    def __init__(self, kind: str, seed: int, store: Path) -> None:
        self._process = subprocess.Popen(
            (sys.executable, "-m", "node.benches.transfer_process", kind, str(seed), str(store)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.address: str = self.read()["address"]

    def read(self) -> dict[str, Any]:
        """Its next line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise StateError(f"a process of the bench ended with status {self._process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def tell(self, do: str, **parameters: Any) -> None:
        """Give an order."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **parameters}) + "\n")
        self._process.stdin.flush()

    def ask(self, do: str, **parameters: Any) -> dict[str, Any]:
        """Give an order and wait for its answer."""
        self.tell(do, **parameters)
        return self.read()

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """End it."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


class _Bench:
    """Processes and folders of one run."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self._stack = stack
        self._seeds = iter(range(1, 256))
        self._stores = iter(range(10_000))

    def start(self, kind: str = "node", store: str = "served") -> _Process:
        process = _Process(kind, next(self._seeds), self.directory / store)
        self._stack.callback(process.close)
        return process

    def shape(self, port: int) -> int:
        """The port of a slow line to a port."""
        process = subprocess.Popen(
            (sys.executable, "-m", "node.benches.shaper", str(_LINE_BYTES_PER_S), str(port)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._stack.enter_context(process)
        self._stack.callback(process.kill)
        assert process.stdout is not None
        return int(process.stdout.readline())

    @contextmanager
    def new_store(self) -> Iterator[str]:
        store = self.directory / f"fetched{next(self._stores)}"
        try:
            yield str(store)
        finally:
            for path in store.rglob("*"):
                if path.is_file():
                    os.truncate(path, 0)

    def fetch(self, client: _Process, sources: list[_Process], cid: str) -> dict[str, Any]:
        with self.new_store() as store:
            return client.ask("fetch", cid=cid, store=store, addresses=[source.address for source in sources])


def bench_transfer(sizes_bytes: tuple[int, ...], rounds: int) -> list[Figure]:
    """Measure.

    Args:
        sizes_bytes: of the folders, the smallest first; the smallest is also what Bitswap and three sources move.
        rounds: repetitions of each measurement, of which the median is taken; at most three through the slow line.
    """
    with tempfile.TemporaryDirectory(prefix="pdfed-bench-") as name, ExitStack() as stack:
        bench = _Bench(Path(name), stack)
        servers = [bench.start() for _ in range(3)]
        client = bench.start(store="own")
        for server in servers:
            client.ask("connect", address=server.address)
        stock = (bench.start("stock"), bench.start("stock"))
        stock[1].ask("connect", address=stock[0].address)
        cids = {size_bytes: _offer(servers[0], bench.directory, size_bytes) for size_bytes in sizes_bytes}
        smallest, largest = sizes_bytes[0], sizes_bytes[-1]
        figures = []
        for size_bytes in sizes_bytes:
            figures += _beside_bare(bench, client, servers[0], stock, cids[size_bytes], size_bytes, rounds)
        figures += _beside_bitswap(bench, client, servers[0], stock, cids[smallest], smallest, rounds)
        figures += _from_three(bench, client, servers, cids[smallest], smallest, rounds)
        figures += _memory(bench, cids[largest], largest)
        figures += _votes_beside(bench, client, servers[0], cids[largest])
        figures += _after_kill(bench, servers[0], cids[largest])
        line = min(smallest, _LINE_SIZE_BYTES_MAX)
        cid = cids[smallest] if line == smallest else _offer(servers[0], bench.directory, line)
        figures += _through_shaper(bench, servers[0], cid, line, min(rounds, _LINE_ROUNDS_MAX))
    return figures


def _offer(server: _Process, directory: Path, size_bytes: int) -> str:
    """A folder of random bytes in the server's store; returns its identifier."""
    folder = directory / f"folder{size_bytes}"
    folder.mkdir()
    _write_random(folder / "model.safetensors", size_bytes)
    cid: str = server.ask("add", path=str(folder))["cid"]
    shutil.rmtree(folder)
    return cid


def _write_random(path: Path, size_bytes: int) -> None:
    with open(path, "wb") as file:
        for start in range(0, size_bytes, _PIECE_SIZE_BYTES):
            file.write(os.urandom(min(_PIECE_SIZE_BYTES, size_bytes - start)))


def _beside_bare(
    bench: _Bench,
    client: _Process,
    server: _Process,
    stock: tuple[_Process, _Process],
    cid: str,
    size_bytes: int,
    rounds: int,
) -> list[Figure]:
    bench.fetch(client, [server], cid)
    file = str(bench.directory / "written")
    folder, libp2p, ours, written = [], [], [], []
    for _ in range(rounds):
        libp2p.append(stock[1].ask("bare", address=stock[0].address, size_bytes=size_bytes)["wall_s"])
        folder.append(bench.fetch(client, [server], cid)["wall_s"])
        ours.append(client.ask("bare", address=server.address, size_bytes=size_bytes)["wall_s"])
        written.append(client.ask("bare", address=server.address, size_bytes=size_bytes, path=file)["wall_s"])
    name, rate = f"{size_bytes / _MB:.0f} MB folder", size_bytes / median(folder) / _MB
    return [
        Figure(
            f"{name} beside {which}",
            rate,
            "MB/s",
            f"{size_bytes / median(walls) / _MB:.0f} MB/s, {what}",
            _ratio(walls, folder),
        )
        for which, what, walls in (
            ("libp2p's bare stream", "no hashes, no disk", libp2p),
            ("our bare stream", "no hashes, no disk", ours),
            ("our bare stream into a file", "hashed and written, nothing else", written),
        )
    ]


def _ratio(reference_s: list[float], measured_s: list[float]) -> float:
    """How much faster than the reference, as the median over neighbouring measurements."""
    return median(of / wall for of, wall in zip(reference_s, measured_s, strict=True))


def _memory(bench: _Bench, cid: str, size_bytes: int) -> list[Figure]:
    """The peaks of two processes that have fetched and served nothing before."""
    server, client = bench.start(), bench.start(store="idle")
    client.ask("connect", address=server.address)
    idle = {side: process.ask("memory")["resident_bytes"] for side, process in (("f", client), ("s", server))}
    bench.fetch(client, [server], cid)
    name = f"{size_bytes / _MB:.0f} MB folder"
    return [
        Figure(
            f"{name}, memory of who {side}",
            (process.ask("memory")["peak_bytes"] - idle[side[0]]) / _MB,
            "MB above idle",
        )
        for side, process in (("fetches", client), ("serves", server))
    ]


def _from_three(
    bench: _Bench, client: _Process, servers: list[_Process], cid: str, size_bytes: int, rounds: int
) -> list[Figure]:
    ones, threes = [], []
    for _ in range(rounds):
        ones.append(bench.fetch(client, servers[:1], cid)["wall_s"])
        threes.append(bench.fetch(client, servers, cid)["wall_s"])
    reference = f"{size_bytes / median(ones) / _MB:.0f} MB/s from one"
    return [Figure("three sources", size_bytes / median(threes) / _MB, "MB/s", reference, _ratio(ones, threes))]


def _votes_beside(bench: _Bench, client: _Process, server: _Process, cid: str) -> list[Figure]:
    """Round trips of small frames, alone and while a folder comes over the same connection or over one of its own."""
    alone = client.ask("trips", address=server.address)["trips_ms"]
    trips = {}
    for together in (False, True):
        with bench.new_store() as store:
            done = client.ask("fetch", cid=cid, store=store, addresses=[server.address], votes=True, together=together)
        trips[together] = done["trips_ms"]
    found = []
    for name, share in (("median", 0.5), ("99th percentile", 0.99)):
        apart, same, calm = (values[int(share * (len(values) - 1))] for values in (trips[False], trips[True], alone))
        reference = f"{same:.1f} ms on the same connection, {calm:.1f} ms without the fetch"
        found.append(Figure(f"small frame there and back during a fetch, {name}", apart, "ms", reference, apart / same))
    return found


def _after_kill(bench: _Bench, server: _Process, cid: str) -> list[Figure]:
    """Kill a fetching process half-way and let another one go on."""
    with bench.new_store() as store:
        first = bench.start(store="first")
        first.ask("connect", address=server.address)
        first.tell("fetch", cid=cid, store=store, addresses=[server.address], tell=True)
        while True:
            told = first.read()
            # A small folder may be here whole before it is noticed.
            if told["blocks"] >= told.get("blocks_known", 0) / 2 > 1 or "wall_s" in told:
                break
        first.kill()
        held = sum(path.is_file() for path in (Path(store) / "blocks").rglob("*"))
        second = bench.start(store="second")
        second.ask("connect", address=server.address)
        done = second.ask("fetch", cid=cid, store=store, addresses=[server.address])
    again = held + done["fetched_blocks"] - done["blocks"]
    reference = f"{held} of {done['blocks']} stored when the process was killed"
    return [Figure("fetched again after a kill", again, "blocks", reference)]


def _beside_bitswap(
    bench: _Bench,
    client: _Process,
    server: _Process,
    stock: tuple[_Process, _Process],
    cid: str,
    size_bytes: int,
    rounds: int,
) -> list[Figure]:
    ours, theirs = [], []
    path = bench.directory / "file"
    for _ in range(rounds):
        ours.append(bench.fetch(client, [server], cid)["wall_s"])
        _write_random(path, size_bytes)  # anew: what was fetched once is remembered
        offered = stock[0].ask("add", path=str(path))["cid"]
        path.unlink()
        theirs.append(stock[1].ask("fetch", address=stock[0].address, cid=offered)["wall_s"])
    rate, reference = (size_bytes / median(walls) / _MB for walls in (ours, theirs))
    return [
        Figure(
            "beside py-libp2p's Bitswap",
            rate,
            "MB/s",
            f"{reference:.1f} MB/s from memory to memory",
            _ratio(theirs, ours),
        )
    ]


def _through_shaper(bench: _Bench, server: _Process, cid: str, size_bytes: int, rounds: int) -> list[Figure]:
    """A folder, and a plain copy, through a line of 50 Mbit/s."""
    target = int(server.address.split("/")[4])
    plain = server.ask("tcp_offer", size_bytes=size_bytes)["port"]
    client = bench.start(store="behind a line")
    port = bench.shape(target)
    address = server.address.replace(f"/tcp/{target}/", f"/tcp/{port}/")
    client.ask("connect", address=address)
    copies, folders = [], []
    shaped = bench.shape(plain)
    for _ in range(rounds):
        copies.append(client.ask("tcp_copy", port=shaped, size_bytes=size_bytes)["wall_s"])
        folders.append(bench.fetch(client, [server], cid)["wall_s"])
    rate, reference = (size_bytes * 8 / median(walls) / _MB for walls in (folders, copies))
    return [
        Figure(
            "through a line of 50 Mbit/s",
            rate,
            "Mbit/s",
            f"{reference:.1f} Mbit/s by TCP alone",
            _ratio(copies, folders),
        )
    ]
