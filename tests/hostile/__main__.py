"""Honest exchanges per second, undisturbed and under each attack: ``make hostile``.

For each attack two fresh hosts, of which one is attacked and one is spared, an attacker, and an honest peer here, which
sends a kilobyte, waits for it to come back, and begins again, sixteen times on a stream to the one host and sixteen
times on a stream to the other. All are processes of one machine, whose other work goes up and down, and which the
attacker keeps busy as well. So what an attack costs is told by both rates: that of the attacked host beside that of the
spared one, while the attack goes on, and before and after it. Beside it are told: after how long the attacker was first
dropped, how many of its names were banned, whether its address was barred, and the peak of the victim's memory. Ends
with status 1 where an attack costs more than half the rate, or where nobody is dropped.
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
_TURN_S: Final = 1.0


class Rate:
    """Exchanges with one host, and the time that they took."""

    def __init__(self, honest: Libp2pHost, peer_id: str) -> None:
        self._honest = honest
        self._peer_id = peer_id
        self._count = 0
        self._seconds = 0.0

    async def exchange(self) -> None:
        """Some exchanges, or as many as come about in a second."""
        started = trio.current_time()
        with trio.move_on_after(_TURN_S):
            try:
                async with await self._honest.open_stream(self._peer_id, ECHO) as stream:
                    for _ in range(_EXCHANGES_PER_STREAM):
                        await stream.send_frame(_FRAME)
                        if await stream.receive_frame(len(_FRAME)) == _FRAME:
                            self._count += 1
            except HostError:
                await trio.sleep(0.01)
        self._seconds += trio.current_time() - started

    def take(self) -> float:
        """Exchanges per second since this was last asked."""
        rate = self._count / self._seconds
        self._count, self._seconds = 0, 0.0
        return rate


async def rates(attacked: Rate, spared: Rate, seconds: float) -> tuple[float, float]:
    """Exchanges per second with both hosts, in turn."""
    ends_at = trio.current_time() + seconds
    while trio.current_time() < ends_at:
        await attacked.exchange()
        await spared.exchange()
    return attacked.take(), spared.take()


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


def listening(stack: ExitStack) -> tuple[subprocess.Popen[str], str]:
    """A host in a process of its own, and its address."""
    process = start(stack, "tests.hostile.victim")
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())["address"]


async def trial(name: str) -> dict[str, Any]:
    """One attack."""
    with ExitStack() as stack:
        (victim, address), (_, elsewhere) = listening(stack), listening(stack)
        assert victim.stdin is not None
        assert victim.stdout is not None
        async with open_host(b"h" * 32) as honest:
            hosts = Rate(honest, await honest.connect(address)), Rate(honest, await honest.connect(elsewhere))
            await rates(*hosts, _WARM_UP_S)
            before = await rates(*hosts, _UNDISTURBED_S)
            attacker = start(stack, "tests.hostile.attacks", name, address)
            assert attacker.stdout is not None
            await trio.to_thread.run_sync(attacker.stdout.readline)
            attacked_at = time.monotonic()
            during = await rates(*hosts, _ATTACKED_S)
            attacker.kill()
            await rates(*hosts, _WARM_UP_S)
            after = await rates(*hosts, _UNDISTURBED_S)
        victim.stdin.close()
        answer: dict[str, Any] = json.loads(await trio.to_thread.run_sync(victim.stdout.readline))
    usual = (before[0] + after[0]) / (before[1] + after[1])
    dropped_at = answer["dropped_at"]
    return {
        **answer,
        "undisturbed": (before[0] + after[0]) / 2,
        "during": during[0],
        "spared": during[1],
        "kept": during[0] / during[1] / usual,
        "dropped_after": None if dropped_at is None else max(0.0, dropped_at - attacked_at),
    }


def row(name: str, found: dict[str, Any]) -> str:
    """A line of the report."""
    after_s = found["dropped_after"]
    return (
        f"{name:24} {found['undisturbed']:10.0f}/s {found['during']:7.0f}/s {found['spared']:6.0f}/s "
        f"{found['kept']:6.2f} {'never' if after_s is None else f'{after_s:.1f} s':>13} {found['banned']:7} "
        f"{'yes' if found['barred'] else 'no':>7} {found['peak'] / 1e6:5.0f} MB"
    )


async def main(names: Sequence[str]) -> int:
    """All attacks, or those named; the status to end with."""
    quiet_libp2p_logging()
    print(
        f"{'attack':24} {'undisturbed':>12} {'attacked':>9} {'spared':>8} {'kept':>6} "
        f"{'dropped after':>13} {'banned':>7} {'barred':>7} {'peak':>8}"
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
