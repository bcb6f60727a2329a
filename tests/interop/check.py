"""A node's host against js-libp2p and Helia, in processes of their own: ``make interop``.

Connect, identify and ping; gossip, signed, both ways; a checkpoint folder by identifier out of our store into Helia,
and one that Helia has made into our store; a checkpoint of a chain, where a home that holds one is named. Says what
it finds, and ends with status 1 where anything differs.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import trio

from node.home import Home
from node.host.libp2p_host import Libp2pHost, open_host, quiet_libp2p_logging
from node.reader import open_reader
from node.weights.bitswap import PROTOCOL, Bitswap
from node.weights.fetch import fetch
from node.weights.serve import WeightsServer
from node.weights.store import WeightsStore
from pdfedchain.ids import cid_text, parse_cid

HERE: Final = Path(__file__).parent
TOPIC: Final = "/pdfed/interop/tx"
TIMEOUT_S: Final = 120.0


class Helia:
    """The other process."""

    def __init__(self, modules: Path) -> None:
        self._process = subprocess.Popen(
            (modules / "node" / "bin" / "node", HERE / "helia.mjs"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.hello = self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"Helia ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise SystemExit(f"Helia: {answer['error']}")
        return answer

    async def ask(self, do: str, **parameters: Any) -> dict[str, Any]:
        """Give an order and wait for its answer, while our own host goes on."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **parameters}) + "\n")
        self._process.stdin.flush()
        return await trio.to_thread.run_sync(self._read)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


def report(what: str, passed: bool, detail: str = "") -> bool:
    print(f"{'ok    ' if passed else 'FAILED'}  {what}" + (f": {detail}" if detail else ""))
    return passed


def make_folder(path: Path, name: str) -> Path:
    """A folder as diffusers makes it, with a file of several chunks and one that fits a single chunk exactly."""
    (path / "unet").mkdir(parents=True)
    (path / "model_index.json").write_text(json.dumps({"name": name}))
    (path / "unet" / "config.json").write_text("{}")
    (path / "unet" / "weights.safetensors").write_bytes(hashlib.shake_128(name.encode()).digest(5 * 1_048_576 + 1))
    (path / "unet" / "chunk").write_bytes(hashlib.shake_128(b"chunk").digest(1_048_576))
    return path


def read(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def until(condition: Callable[[], bool]) -> bool:
    with trio.move_on_after(10):
        while not condition():
            await trio.sleep(0.05)
    return condition()


async def check_connection(host: Libp2pHost, helia: Helia) -> bool:
    await helia.ask("connect", address=host.addresses[0])
    passed = report("js-libp2p connects to us", await until(lambda: helia.hello["peer"] in host.connected_peers()))
    found = (await helia.ask("identify", peer=host.peer_id))["protocols"]
    passed &= report("identify", PROTOCOL in found, f"{len(found)} protocols")
    trip = await helia.ask("ping", address=host.addresses[0])
    return passed & report("ping", trip["ms"] >= 0, f"{trip['ms']} ms")


async def check_gossip(host: Libp2pHost, helia: Helia) -> bool:
    received: list[bytes] = []

    def accept(peer_id: str, data: bytes) -> bool:
        received.append(data)
        return True

    await host.subscribe(TOPIC, accept)
    await helia.ask("subscribe", topic=TOPIC)
    heard: list[dict[str, Any]] = []
    with trio.move_on_after(20):
        while not received or not heard:
            await helia.ask("publish", topic=TOPIC, data="from js")
            await host.publish(TOPIC, b"from python")
            await trio.sleep(0.5)
            heard = (await helia.ask("heard"))["messages"]
    passed = report("signed gossip from js to us", b"from js" in received)
    theirs = [each for each in heard if each["data"] == "from python"]
    return passed & report("signed gossip from us to js", bool(theirs) and all(each["signed"] for each in theirs))


async def check_weights(host: Libp2pHost, helia: Helia, directory: Path) -> bool:
    store = WeightsStore(directory / "store")
    bitswap = Bitswap(store)
    bitswap.attach(host)
    WeightsServer(store).attach(host)
    ours = make_folder(directory / "ours", "ours")
    cid = cid_text(store.add_folder(ours))
    done = await helia.ask("fetch", cid=cid, out=str(directory / "out"))
    passed = report(
        "Helia fetches a folder from us", read(directory / "out") == read(ours), f"{done['wall_ms']:.0f} ms"
    )
    again = await helia.ask("add", folder=str(ours))
    passed &= report("Helia gives it the same identifier", again["cid"] == cid, cid)
    theirs = make_folder(directory / "theirs", "theirs")
    made = parse_cid((await helia.ask("add", folder=str(theirs)))["cid"])
    with trio.fail_after(TIMEOUT_S):
        result = await fetch(host, store, made, [helia.hello["peer"]], size_bytes_max=10**9, bitswap=bitswap)
    store.export(made, directory / "exported")
    same = read(directory / "exported") == read(theirs)
    return passed & report("we fetch a folder from Helia", same, f"{result.fetched_blocks} blocks")


async def check_home(host: Libp2pHost, helia: Helia, home: Home, directory: Path) -> bool:
    """A checkpoint that nodes have trained, out of the store of one of them."""
    store = WeightsStore(home.weights_dir)
    with open_reader(home, check_state=False) as reader:
        held = [each.weights for each in reader.checkpoints() if store.complete(each.weights)]
    if not held:
        return report(f"a checkpoint in {home.path}", False, "none is there")
    Bitswap(store).attach(host)
    store.export(held[-1], directory / "checkpoint")
    cid = cid_text(held[-1])
    await helia.ask("fetch", cid=cid, out=str(directory / "of Helia"))
    same = read(directory / "of Helia") == read(directory / "checkpoint")
    passed = report("Helia fetches a checkpoint of a chain from its node's store", same, cid)
    again = await helia.ask("add", folder=str(directory / "checkpoint"))
    return passed & report("Helia gives the checkpoint the same identifier", again["cid"] == cid)


async def main() -> int:
    quiet_libp2p_logging()
    helia = Helia(Path(sys.argv[1]))
    try:
        with tempfile.TemporaryDirectory(prefix="pdfed-interop-") as name:
            async with open_host(bytes([7]) * 32) as host:
                Bitswap(WeightsStore(Path(name) / "empty")).attach(host)
                passed = await check_connection(host, helia)
                passed &= await check_gossip(host, helia)
                passed &= await check_weights(host, helia, Path(name))
                if len(sys.argv) > 2:
                    passed &= await check_home(host, helia, Home(Path(sys.argv[2])), Path(name))
    finally:
        helia.close()
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(trio.run(main))
