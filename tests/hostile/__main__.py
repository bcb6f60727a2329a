"""Honest exchanges per second, undisturbed and under each attack: ``make hostile``.

For each attack a fresh host in a process of its own, an attacker in another one, and an honest peer here, which opens a
stream, sends a kilobyte, waits for it to come back, and begins again. Its rate is taken before the attack begins and
while it goes on; the peak of the victim's memory and whom it banned are told beside it. Ends with status 1 where an
attack costs more than half the rate.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from typing import Any, Final

import trio

from node.host.interface import HostError
from node.host.libp2p_host import Libp2pHost, open_host, quiet_libp2p_logging
from tests.hostile.attacks import ATTACKS, ECHO, connections

_PHASE_S: Final = 4.0
_WARM_UP_S: Final = 1.0
_KEPT_MIN: Final = 0.5
_FRAME: Final = bytes(1_000)


async def exchanges_per_s(honest: Libp2pHost, victim: str, seconds: float) -> float:
    """How many exchanges succeed in a second."""
    done = 0
    started = trio.current_time()
    with trio.move_on_after(seconds):
        while True:
            try:
                async with await honest.open_stream(victim, ECHO) as stream:
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
            before = await exchanges_per_s(honest, peer_id, _PHASE_S)
            attacker = start(stack, "tests.hostile.attacks", name, address)
            assert attacker.stdout is not None
            await trio.to_thread.run_sync(attacker.stdout.readline)
            during = await exchanges_per_s(honest, peer_id, _PHASE_S)
            attacker.kill()
            await exchanges_per_s(honest, peer_id, _WARM_UP_S)
            after = await exchanges_per_s(honest, peer_id, _PHASE_S)
        victim.stdin.close()
        answer: dict[str, Any] = json.loads(await trio.to_thread.run_sync(victim.stdout.readline))
    undisturbed = (before + after) / 2
    return {"undisturbed": undisturbed, "during": during, "kept": during / undisturbed, **answer}


async def main() -> int:
    """All attacks; the status to end with."""
    quiet_libp2p_logging()
    print(f"{'attack':24} {'undisturbed':>12} {'attacked':>9} {'kept':>6} {'banned':>7} {'peak':>8}")
    failed = False
    for name in (*ATTACKS, connections.__name__):
        found = await trial(name)
        failed |= found["kept"] < _KEPT_MIN
        print(
            f"{name:24} {found['undisturbed']:10.0f}/s {found['during']:7.0f}/s {found['kept']:6.2f} "
            f"{found['banned']:7} {found['peak'] / 1e6:5.0f} MB",
            flush=True,
        )
    print("an attack took more than half of the rate" if failed else "honest traffic kept at least half of its rate")
    return int(failed)


if __name__ == "__main__":
    sys.exit(trio.run(main))
