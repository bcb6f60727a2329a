"""How fast weights move between two nodes on this machine, beside what the same machine moves without us.

Every figure is taken between real processes on loopback, with hashing and writing to disk included:

* the rate, beside that of a bare stream over the same transport (no hashes, no disk), the two measured in turns;
* the rate beside that of py-libp2p's own Bitswap, from memory to memory;
* the rate from three sources, beside that from one, in turns;
* how long a frame of the size of a vote takes there and back while a folder comes, over a connection of its own or not;
* the memory that a fetch takes at most, above what the process held before it;
* after a process was killed in the middle: how many verified blocks its successor fetched again.

Shared machines are noisy: compare the ratios, which come from neighbouring runs, before the rates.
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

    @contextmanager
    def new_store(self) -> Iterator[str]:
        store = self.directory / f"fetched{next(self._stores)}"
        try:
            yield str(store)
        finally:
            shutil.rmtree(store, ignore_errors=True)

    def fetch(self, client: _Process, sources: list[_Process], cid: str) -> dict[str, Any]:
        with self.new_store() as store:
            return client.ask("fetch", cid=cid, store=store, addresses=[source.address for source in sources])


def bench_transfer(sizes_bytes: tuple[int, ...], rounds: int) -> list[Figure]:
    """Measure.

    Args:
        sizes_bytes: of the folders, the smallest first; the smallest is also what Bitswap and three sources move.
        rounds: repetitions of each pair of measurements, of which the median is taken.
    """
    with tempfile.TemporaryDirectory(prefix="pdfed-bench-") as name, ExitStack() as stack:
        bench = _Bench(Path(name), stack)
        servers = [bench.start() for _ in range(3)]
        client = bench.start(store="own")
        for server in servers:
            client.ask("connect", address=server.address)
        figures = []
        cids = {size_bytes: _offer(servers[0], bench.directory, size_bytes) for size_bytes in sizes_bytes}
        smallest = sizes_bytes[0]
        for size_bytes in sizes_bytes:
            count = rounds if size_bytes == smallest else max(1, rounds // 2)
            figures += _beside_bare(bench, client, servers[0], cids[size_bytes], size_bytes, count)
        figures += _from_three(bench, client, servers, cids[smallest], smallest, rounds)
        figures += _votes_beside(bench, client, servers[0], cids[sizes_bytes[-1]])
        figures += _after_kill(bench, servers[0], cids[sizes_bytes[-1]])
        ours = figures[0].value
        figures += _beside_bitswap(bench, smallest, ours)
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
    bench: _Bench, client: _Process, server: _Process, cid: str, size_bytes: int, rounds: int
) -> list[Figure]:
    rates, ratios, memory = [], [], []
    for _ in range(rounds):
        bare_s = client.ask("bare", address=server.address, size_bytes=size_bytes)["wall_s"]
        done = bench.fetch(client, [server], cid)
        rates.append(size_bytes / done["wall_s"] / _MB)
        ratios.append(bare_s / done["wall_s"])
        memory.append(done["extra_memory_bytes"] / _MB)
    name = f"{size_bytes / _MB:.0f} MB"
    ratio = median(ratios)
    reference = f"{median(rates) / ratio:.0f} MB/s over a bare stream, no hashes, no disk"
    return [
        Figure(f"{name} folder", median(rates), "MB/s", reference, ratio),
        Figure(f"{name} folder, memory", max(memory), "MB above idle"),
    ]


def _from_three(
    bench: _Bench, client: _Process, servers: list[_Process], cid: str, size_bytes: int, rounds: int
) -> list[Figure]:
    ones, threes = [], []
    for _ in range(rounds):
        ones.append(size_bytes / bench.fetch(client, servers[:1], cid)["wall_s"] / _MB)
        threes.append(size_bytes / bench.fetch(client, servers, cid)["wall_s"] / _MB)
    one, three = median(ones), median(threes)
    return [Figure("three sources", three, "MB/s", f"{one:.0f} MB/s from one", three / one)]


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


def _beside_bitswap(bench: _Bench, size_bytes: int, ours: float) -> list[Figure]:
    server, client = bench.start("stock"), bench.start("stock")
    path = bench.directory / "file"
    _write_random(path, size_bytes)
    cid = server.ask("add", path=str(path))["cid"]
    path.unlink()
    client.ask("connect", address=server.address)
    bare = size_bytes / client.ask("bare", address=server.address, size_bytes=size_bytes)["wall_s"] / _MB
    rate = size_bytes / client.ask("fetch", address=server.address, cid=cid)["wall_s"] / _MB
    return [
        Figure("beside py-libp2p's bare stream", ours, "MB/s", f"{bare:.0f} MB/s without our mends", ours / bare),
        Figure("beside py-libp2p's Bitswap", ours, "MB/s", f"{rate:.1f} MB/s from memory to memory", ours / rate),
    ]
