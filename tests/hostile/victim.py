"""The host that is attacked: ``python -m tests.hostile.victim`` prints its address and runs until its input ends.

It does what a node does with its host: whoever breaks the rules is banned, strangers have their share, and handlers
wait for nobody for ever. Then it prints its counters, its largest memory, who was banned, and when (by the clock that
processes of a machine share) the first peer was banned or an address barred.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import trio

from node.gate import Gate
from node.host.interface import Host, Stream
from node.host.libp2p_host import open_host, quiet_libp2p_logging
from node.weights.bitswap import PROTOCOL, Bitswap
from node.weights.store import WeightsStore
from tests.hostile.attacks import ECHO, TOPIC

_IDLE_S = 2.0
_BAN_S = 30.0


async def echo(stream: Stream) -> None:
    """Give back what comes, and wait for nobody for long."""
    while True:
        with trio.move_on_after(_IDLE_S) as waiting:
            frame = await stream.receive_frame(1_048_576)
        if waiting.cancelled_caught:
            await stream.reset()
            return
        await stream.send_frame(frame)


async def note_bars(host: Host, dropped_at: list[float]) -> None:
    """Note when an address is barred."""
    while not host.counters["addresses_barred"]:
        await trio.sleep(0.01)
    dropped_at.append(time.monotonic())


async def run(store: Path) -> None:
    """Until the input ends."""
    quiet_libp2p_logging()
    banned: set[str] = set()
    dropped_at: list[float] = []
    async with open_host(b"v" * 32) as host, trio.open_nursery() as nursery:

        def fault(peer_id: str, reason: str) -> None:
            banned.add(peer_id)
            dropped_at.append(time.monotonic())
            nursery.start_soon(host.ban, peer_id, _BAN_S)

        async def never(peer_id: str) -> None:
            await trio.sleep_forever()

        gate = Gate(lambda peer_id: False, never)
        bitswap = Bitswap(WeightsStore(store))
        bitswap.attach(host)
        host.set_stream_handler(PROTOCOL, gate.for_all(bitswap.handle))
        host.set_stream_handler(ECHO, echo)
        host.set_fault_listener(fault)
        await host.subscribe(TOPIC, lambda peer_id, data: True)
        nursery.start_soon(note_bars, host, dropped_at)
        print(json.dumps({"address": host.addresses[0]}), flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024
        answer = {
            "peak": peak,
            "banned": len(banned),
            "barred": host.counters["addresses_barred"] + bool(host.counters["inbound_address_banned"]),
            "dropped_at": min(dropped_at, default=None),
            "counters": dict(host.counters),
        }
        print(json.dumps(answer), flush=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        trio.run(run, Path(name))
