"""Honest exchanges per second, undisturbed and under each attack: ``make hostile``.

For each attack a fresh host in a process of its own, an attacker in another one, and an honest peer here, which sends a
kilobyte, waits for it to come back, and begins again, on a new stream every sixteen times. Its rate is taken before the
attack begins, while it goes on, and after it. Beside it are told: after how long the attacker was first dropped, how
many of its names were banned, whether its address was barred, and the peak of the victim's memory. Ends with status 1
where an attack costs more than half the rate, or where nobody is dropped.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Final

import trio

from node.host.interface import HostError
from node.host.libp2p_host import Libp2pHost, open_host, quiet_libp2p_logging
from tests.hostile.attacks import ATTACKS, ECHO, connections

_UNDISTURBED_S: Final = 4.0
_ATTACKED_S: Final = 8.0
_WARM_UP_S: Final = 1.0
_KEPT_MIN: Final = 0.5
_FRAME: Final = bytes(1_000)
#: A quick machine would open more than the 128 streams a second that one peer may.
_EXCHANGES_PER_STREAM: Final = 16


async def exchanges_per_s(honest: Libp2pHost, victim: str, seconds: float) -> float:
    """How many exchanges succeed in a second."""
    done = 0
    started = trio.current_time()
    with trio.move_on_after(seconds):
        while True:
            try:
                async with await honest.open_stream(victim, ECHO) as stream:
                    for _ in range(_EXCHANGES_PER_STREAM):
                        await stream.send_frame(_FRAME)
                        if await stream.receive_frame(len(_FRAME)) == _FRAME:
                            done += 1
            except HostError:
                await trio.sleep(0.01)
    return done / (trio.current_time() - started)


def start(stack: ExitStack, *module: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        (sys.executable, "-m", *module),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


async def trial(name: str) -> dict[str, Any]:
    """One attack."""
    with ExitStack() as stack:
        victim = start(stack, "tests.hostile.victim")
        assert victim.stdin is not None
        assert victim.stdout is not None
        address = json.loads(victim.stdout.readline())["address"]
        async with open_host(b"h" * 32) as honest:
            peer_id = await honest.connect(address)
            await exchanges_per_s(honest, peer_id, _WARM_UP_S)
            before = await exchanges_per_s(honest, peer_id, _UNDISTURBED_S)
            attacker = start(stack, "tests.hostile.attacks", name, address)
            assert attacker.stdout is not None
            await trio.to_thread.run_sync(attacker.stdout.readline)
            attacked_at = time.monotonic()
            during = await exchanges_per_s(honest, peer_id, _ATTACKED_S)
            attacker.kill()
            await exchanges_per_s(honest, peer_id, _WARM_UP_S)
            after = await exchanges_per_s(honest, peer_id, _UNDISTURBED_S)
        victim.stdin.close()
        answer: dict[str, Any] = json.loads(await trio.to_thread.run_sync(victim.stdout.readline))
    undisturbed = (before + after) / 2
    dropped_at = answer["dropped_at"]
    return {
        **answer,
        "undisturbed": undisturbed,
        "during": during,
        "kept": during / undisturbed,
        "dropped_after": None if dropped_at is None else max(0.0, dropped_at - attacked_at),
    }


def row(name: str, found: dict[str, Any]) -> str:
    """A line of the report."""
    dropped_after = found["dropped_after"]
    return (
        f"{name:24} {found['undisturbed']:10.0f}/s {found['during']:7.0f}/s {found['kept']:6.2f} "
        f"{'never' if dropped_after is None else f'{dropped_after:.1f} s':>13} {found['banned']:7} "
        f"{'yes' if found['barred'] else 'no':>7} {found['peak'] / 1e6:5.0f} MB"
    )


async def main(names: Sequence[str]) -> int:
    """All attacks, or those named; the status to end with."""
    quiet_libp2p_logging()
    print(
        f"{'attack':24} {'undisturbed':>12} {'attacked':>9} {'kept':>6} {'dropped after':>13} {'banned':>7} "
        f"{'barred':>7} {'peak':>8}"
    )
    found = {}
    for name in names or (*ATTACKS, connections.__name__):
        found[name] = await trial(name)
        print(row(name, found[name]), flush=True)
    costly = [name for name, each in found.items() if each["kept"] < _KEPT_MIN]
    tolerated = [name for name, each in found.items() if each["dropped_after"] is None]
    print("took more than half of the rate: " + (", ".join(costly) or "none"))
    print("dropped nobody: " + (", ".join(tolerated) or "none"))
    return int(bool(costly or tolerated))


if __name__ == "__main__":
    sys.exit(trio.run(main, sys.argv[1:]))
