"""Kills a process that produces blocks: at every write in turn, then at random times; each restart must go on.

Every process is forked from this one, so it has the code loaded already and starts within milliseconds; it is killed
with SIGKILL and has no say in it.
"""

from __future__ import annotations

import argparse
import os
import random
import selectors
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.crash.fleet import Fleet
from tests.crash.ledger import BrokenPromiseError, Ledger
from tests.crash.writes import Points

LIMIT_S = 60.0


def main() -> int:
    """Both parts, for one authority and for four."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description="Kill processes, and look what is left.")
    parser.add_argument("--every", type=int, default=1, help="kill at every n-th write point only")
    parser.add_argument("--random", type=int, default=200, help="kills at random times, per size")
    parser.add_argument("--heights", type=int, default=2, help="blocks that a run with chosen points makes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        for size in (1, 4):
            at_points(Path(folder), size, every=options.every, heights=options.heights)
            at_random(Path(folder), size, kills=options.random)
    return 0


def at_points(folder: Path, size: int, *, every: int, heights: int) -> None:
    """Kill at each point of a fresh chain, half of the time once more during the restart, and let it finish."""
    home, draw = folder / f"points-{size}", random.Random(size)
    points = int(run(home, size, heights)[1].rsplit("points ", 1)[1])
    kills = 0
    for point in range(1, points + 1, every):
        shutil.rmtree(home)
        ledger = Ledger()
        for kill_at in (point, draw.randint(1, points) if draw.random() < 0.5 else 0):
            status, said = run(home, size, heights, kill_at=kill_at, start_ms=2_000 * kills)
            kills += status == -signal.SIGKILL
            ledger.take(without_points(said), killed=status != 0)
        finish(ledger, home, size, heights, start_ms=2_000 * kills)
    say(f"{size} in one process: {kills} kills over {points} write points of {heights} blocks, all survived")


def at_random(folder: Path, size: int, *, kills: int) -> None:
    """Kill one and the same chain again and again, at random times; it must grow between."""
    home, draw = folder / f"random-{size}", random.Random(size)
    ledger, done = Ledger(), 0
    while done < kills:
        after_s = draw.uniform(0.005, 0.25)
        status, said = run(home, size, ledger.height + 1_000, kill_after_s=after_s, start_ms=2_000 * done)
        assert status == -signal.SIGKILL, said
        ledger.take(said, killed=True)
        done += 1
    finish(ledger, home, size, ledger.height + 2, start_ms=2_000 * done)
    say(f"{size} in one process: {done} kills at random times, {ledger.height} blocks, {ledger.signatures} signatures")


def finish(ledger: Ledger, home: Path, size: int, height: int, *, start_ms: int) -> None:
    """A last run without a kill."""
    status, said = run(home, size, height, start_ms=start_ms)
    if status != 0:
        raise BrokenPromiseError(f"a restart ended with status {status}:\n{said}")
    ledger.take(without_points(said), killed=False)
    if ledger.height < height:
        raise BrokenPromiseError(f"height {ledger.height}, not {height}")


def run(
    home: Path, size: int, height: int, *, kill_at: int = 0, kill_after_s: float = LIMIT_S, start_ms: int = 0
) -> tuple[int, str]:
    """One process; its exit status, negative for a signal, and what it said."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        work(home, size, height, Points(kill_at), writing, start_ms=start_ms)
    os.close(writing)
    said = listen(reading, child, kill_after_s)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, said


def work(home: Path, size: int, height: int, points: Points, pipe: int, *, start_ms: int) -> None:
    """The child: never returns."""
    code = 1
    try:
        points.install()
        fleet = Fleet(home, size, start_ms=start_ms, say=lambda line: tell(points, pipe, line))
        fleet.run(height)
        tell(points, pipe, f"points {points.passed}")
        code = 0
    except BaseException:  # noqa: BLE001 - the parent judges it
        tell(points, pipe, traceback.format_exc())
    finally:
        os._exit(code)


def tell(points: Points, pipe: int, line: str) -> None:
    data = line.encode() + b"\n"
    while data:
        data = data[points.write_past(pipe, data) :]


def listen(pipe: int, child: int, kill_after_s: float) -> str:
    """Read until the child is gone, killing it in time."""
    chunks: list[bytes] = []
    deadline_s = time.monotonic() + kill_after_s
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        killed = False
        while True:
            left_s = max(0.0, deadline_s - time.monotonic())
            if not killed and (left_s == 0 or not selector.select(left_s)):
                os.kill(child, signal.SIGKILL)
                killed = True
            chunk = os.read(pipe, 65_536)
            if not chunk:
                break
            chunks.append(chunk)
    os.close(pipe)
    return b"".join(chunks).decode()


def without_points(said: str) -> str:
    return "".join(f"{line}\n" for line in said.split("\n")[:-1] if not line.startswith("points "))


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
