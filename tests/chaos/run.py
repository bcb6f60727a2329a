"""Seven real nodes, and what cuts, stops, delays and losses do to their chain: ``make chaos``.

Every node dials every other one through a line of its own in this process, which forwards bytes, or does not. So it
needs no privileges, and no node knows. A line that loses one of a hundred segments is one on which, at one of a
hundred, everything behind it arrives 200 ms later: what a TCP connection sees of a loss. (Network namespaces with netem
would lose packets themselves; the report says whether this machine has them. They are not used.) Nodes are
authorities on a chain without tasks; blocks follow each other by heartbeat.

Each trial has a verdict: who is connected to five must go on during it, a partition makes no block on the smaller side,
all seven are together again within 20 s of its end, and no height has two blocks. Ends with status 1 where one fails.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import trio

from node.config import NetworkConfig, NodeRole
from node.config_text import render_config
from node.genesis_file import GenesisFile, save_genesis_file
from node.home import Card, Home
from node.multiaddress import free_ports
from node.new_home import create_home
from node.reader import open_reader
from node.testnet.processes import NodeProcess, start_nodes, stop_nodes
from pdfedchain.codec import encode
from pdfedchain.errors import PdfedError
from pdfedchain.state import Ledger
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.genesis import ChainParameters, Genesis
from pdfedchain.types.ledger import Deadline, LedgerGenesis, LedgerParameters

NODES: Final = 7
MINORITY: Final = range(2)
MAJORITY: Final = range(2, NODES)
SEGMENT_SIZE_BYTES: Final = 1_448
RETRANSMISSION_S: Final = 0.2
RECOVERY_S: Final = 20.0
#: What was certified before a cut arrives may still be final a moment later.
LATE_BLOCKS_MAX: Final = 1


class Line:
    """One direction of dialling between two nodes."""

    def __init__(self, port: int, target: int) -> None:
        self.port, self.target = port, target
        self.delay_s = 0.0
        self.loss = 0.0
        self._flowing = trio.Event()
        self._flowing.set()

    def cut(self) -> None:
        """Carry nothing, silently, until `mend`."""
        self._flowing = trio.Event()

    def mend(self) -> None:
        """Carry what was held back, and all that follows."""
        self._flowing.set()

    async def run(self) -> None:
        await trio.serve_tcp(self._connect, self.port, host="127.0.0.1")

    async def _connect(self, near: trio.SocketStream) -> None:
        try:
            far = await trio.open_tcp_stream("127.0.0.1", self.target)
        except OSError:
            return  # that node does not listen yet, or any more
        async with far, trio.open_nursery() as nursery:
            for source, sink in ((near, far), (far, near)):
                send, receive = trio.open_memory_channel[tuple[float, bytes]](1_000)
                nursery.start_soon(self._take, source, send, nursery.cancel_scope)
                nursery.start_soon(self._deliver, receive, sink)

    async def _take(
        self, source: trio.SocketStream, send: trio.MemorySendChannel[tuple[float, bytes]], scope: trio.CancelScope
    ) -> None:
        with suppress(trio.BrokenResourceError):
            async for data in source:
                await send.send((trio.current_time(), bytes(data)))
        scope.cancel()

    async def _deliver(self, receive: trio.MemoryReceiveChannel[tuple[float, bytes]], sink: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            async for sent_at, data in receive:
                await self._flowing.wait()
                segments = -(-len(data) // SEGMENT_SIZE_BYTES)
                lost = sum(random.random() < self.loss for _ in range(segments)) if self.loss else 0
                await trio.sleep_until(sent_at + self.delay_s)
                await trio.sleep(lost * RETRANSMISSION_S)
                await sink.send_all(data)


class Chaos:
    """The nodes, their lines, and what was seen."""

    def __init__(self, directory: Path) -> None:
        ports = free_ports(NODES + NODES * (NODES - 1))
        own, between = ports[:NODES], iter(ports[NODES:])
        self.homes: list[Home] = []
        cards: list[Card] = []
        for index, port in enumerate(own):
            home, card = create_home(
                directory / f"node{index}",
                name=f"node{index}",
                roles=(NodeRole.AUTHORITY,),
                listen=f"/ip4/127.0.0.1/tcp/{port}",
            )
            self.homes.append(home)
            cards.append(card)
        self.lines = {
            (one, other): Line(next(between), own[other])
            for one in range(NODES)
            for other in range(NODES)
            if one != other
        }
        genesis = _genesis(cards)
        for one, home in enumerate(self.homes):
            peers = tuple(
                f"/ip4/127.0.0.1/tcp/{line.port}/p2p/{cards[other].peer_id}"
                for (dialler, other), line in self.lines.items()
                if dialler == one
            )
            config = home.config()
            network = NetworkConfig(config.network.listen, peers)
            home.config_path.write_text(render_config(replace(config, network=network)), encoding="utf-8")
            save_genesis_file(home.genesis_path, genesis)
        self.nodes: list[NodeProcess] = []
        self.passed = True

    def heights(self) -> list[int]:
        """Of each node; 0 before it has a chain."""
        found = []
        for home in self.homes:
            try:
                with open_reader(home, check_state=False) as reader:
                    found.append(reader.height())
            except (PdfedError, OSError):
                found.append(0)
        return found

    async def reach(self, height: int, timeout_s: float, nodes: range = range(NODES)) -> float | None:
        """Seconds until all these nodes have a height; None if that takes too long."""
        started = trio.current_time()
        while trio.current_time() - started < timeout_s:
            heights = self.heights()
            if all(heights[index] >= height for index in nodes):
                return trio.current_time() - started
            await trio.sleep(0.5)
        return None

    async def trial(self, name: str, seconds: float, going: range, standing: range = range(0)) -> None:
        """Let a disturbance last; those ``going`` must make blocks in it, those ``standing`` must not."""
        before = self.heights()
        await trio.sleep(seconds)
        gained = [after - at for at, after in zip(before, self.heights(), strict=True)]
        passed = all(gained[index] > 0 for index in going)
        passed &= all(gained[index] <= LATE_BLOCKS_MAX for index in standing)
        self._note(f"{name}, {seconds:.0f} s", f"blocks of each node {gained}", passed)

    async def recover(self) -> None:
        """After a disturbance all nodes must be where the first one was and two blocks further, and have one chain."""
        took = await self.reach(max(self.heights()) + 2, RECOVERY_S)
        said = f"not within {RECOVERY_S:.0f} s: {self.heights()}" if took is None else f"after {took:.1f} s"
        self._note("    its end: all seven two blocks further", said, took is not None)
        self.agree()

    def _note(self, what: str, seen: str, passed: bool) -> None:
        self.passed &= passed
        print(f"{'ok    ' if passed else 'FAILED'}  {what}: {seen}", flush=True)

    def agree(self) -> None:
        """All nodes must have the same block at the height that all have."""
        height = min(self.heights())
        hashes = set()
        for home in self.homes:
            with open_reader(home, check_state=False) as reader:
                hashes.add(reader.store.final_block(height).block.hash)
        same = len(hashes) == 1
        self._note(f"    height {height}", f"all seven have {'one block' if same else 'DIFFERENT BLOCKS'}", same)

    def of(self, node: int) -> list[Line]:
        """All lines of one node."""
        return [line for pair, line in self.lines.items() if node in pair]

    def between(self, group: range) -> list[Line]:
        """The lines between a group and the others."""
        return [line for (one, other), line in self.lines.items() if (one in group) != (other in group)]


def _genesis(cards: list[Card]) -> GenesisFile:
    deadline = Deadline(1, 1)
    parameters = LedgerParameters(False, deadline, deadline, deadline, deadline)
    ledger = LedgerGenesis(parameters=parameters, allocations=(), participants=(), tasks=())
    genesis = Genesis(
        chain_id="chaos",
        time_ms=1_700_000_000_000,
        version=1,
        authorities=AuthoritySet(0, tuple(card.address for card in cards)),
        parameters=ChainParameters(heartbeat_idle_ms=1_000),
        application=Ledger.name,
        application_state=encode(ledger),
    )
    return GenesisFile(genesis, ledger, ())


async def disturb(chaos: Chaos, seconds: float) -> None:
    """The trials, one after the other."""
    took = await chaos.reach(2, 120.0)
    if took is None:
        raise SystemExit(f"the chain does not begin: heights {chaos.heights()}")
    everybody = range(NODES)
    await chaos.trial("undisturbed", seconds / 2, everybody)
    parted = chaos.between(MINORITY)
    for line in parted:
        line.cut()
    await chaos.trial("partition 2|5", seconds, MAJORITY, MINORITY)
    for line in parted:
        line.mend()
    await chaos.recover()
    chaos.nodes[0].signal(signal.SIGSTOP)
    await chaos.trial("node 0 stopped (SIGSTOP)", seconds, range(1, NODES), range(1))
    chaos.nodes[0].signal(signal.SIGCONT)
    await chaos.recover()
    for line in chaos.of(0):
        line.delay_s = 0.5
    await chaos.trial("500 ms each way on all lines of node 0", seconds, everybody)
    for line in chaos.of(0):
        line.delay_s = 0.0
    await chaos.recover()
    for line in chaos.of(0):
        line.loss = 0.01
    await chaos.trial("1 % of all segments of node 0 lost", seconds, everybody)
    for line in chaos.of(0):
        line.loss = 0.0
    await chaos.recover()


def namespaces() -> str:
    """Whether this machine has network namespaces whose links delay and lose."""
    name = f"pdfed-{os.getpid()}"
    commands = {
        "namespaces": ("ip", "netns", "add", name),
        "netem": ("ip", "netns", "exec", name, "tc", "qdisc", "add", "dev", "lo", "root", "netem", "loss", "1%"),
    }
    try:
        for what, command in commands.items():
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                return f"{what} not to be had ({' '.join(done.stderr.split())[:120]})"
    except OSError as error:
        return f"not to be had ({error})"
    finally:
        with suppress(OSError):
            subprocess.run(("ip", "netns", "del", name), capture_output=True, check=False)
    return "to be had"


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each trial; default 30")
    parser.add_argument("--seed", type=int, default=1, help="of the losses; default 1")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    print(f"network namespaces with netem: {namespaces()}; every line is a proxy in this process", flush=True)
    with tempfile.TemporaryDirectory(prefix="pdfed-chaos-") as name:
        chaos = Chaos(Path(name))
        async with trio.open_nursery() as nursery:
            for line in chaos.lines.values():
                nursery.start_soon(line.run)
            chaos.nodes = start_nodes(chaos.homes)
            try:
                await disturb(chaos, arguments.seconds)
                died = [node.name for node in chaos.nodes if node.exit_status is not None]
                if died:
                    print(f"FAILED  ended by themselves: {', '.join(died)}")
                passed = not died and chaos.passed
                print("all trials passed" if passed else "FAILED")
            finally:
                for node in chaos.nodes:
                    node.signal(signal.SIGCONT)
                await trio.to_thread.run_sync(stop_nodes, chaos.nodes)
            nursery.cancel_scope.cancel()
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(trio.run(main))
