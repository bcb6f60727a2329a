"""A run of chaos from one seed, and then peace: safety under faults first, progress after healing.

Size, links, clocks, liars, crashes, partitions and transactions are all drawn from the seed. At most f nodes lie, and
nothing else is bounded: crashes and partitions may take the quorum away, and then nothing may become final, but
nothing may go wrong either (the simulator's observer raises). After that all links work, all honest nodes run, and
the chain must grow again within a bound.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pdfedchain.testing.byzantine import (
    Actor,
    EquivocatesProposals,
    EquivocatesVotes,
    ProposesAfresh,
    Replays,
    Silent,
    Situation,
    VotesForAll,
)
from pdfedchain.testing.invariants import InvariantBroken
from pdfedchain.testing.simulator import Links, Simulator
from pdfedchain.types.genesis import ChainParameters

__all__ = ["Outcome", "run_chaos"]

#: Short heartbeats, so that little virtual time holds many heights; time-outs as in production.
PARAMETERS = ChainParameters(heartbeat_idle_ms=1_500, timeout_max_ms=10_000)

_LIARS: tuple[Callable[[Situation], Actor], ...] = (
    EquivocatesProposals,
    EquivocatesVotes,
    ProposesAfresh,
    Replays,
    Silent,
    VotesForAll,
)
_CHAOS_STEPS = 12


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to.

    Attributes:
        height_in_chaos: highest final height when peace came.
        height: at the end.
        audit: hash over everything that happened.
        duration_ms: virtual time.
    """

    height_in_chaos: int
    height: int
    audit: str
    duration_ms: int


def run_chaos(seed: int, size: int, *, heights_after: int = 3, limit_ms: int = 120_000) -> Outcome:
    """Run one seed.

    Raises:
        InvariantBroken: safety broke, or ``heights_after`` more heights did not come within ``limit_ms`` of peace.
    """
    draw = random.Random(f"chaos {seed} {size}")  # noqa: S311 - a seed is a run
    simulator = Simulator(
        seed=seed,
        size=size,
        parameters=PARAMETERS,
        links=Links(
            delay_ms=(1, draw.choice((5, 50, 400, 1_500))),
            loss=draw.choice((0.0, 0.02, 0.1, 0.3)),
            repeat=draw.choice((0.0, 0.1)),
            loss_precommit=draw.choice((0.0, 0.0, 0.5, 0.8)),
            relay=draw.random() < 0.3,
        ),
        byzantine=_liars(draw, size),
        skew_ms_max=draw.choice((0, 50, 2_000)),
    )
    started_ms = simulator.now_ms
    simulator.start()
    careless = draw.randrange(size)
    for step in range(_CHAOS_STEPS):
        _disturb(simulator, draw, step, careless)
        simulator.run_ms(draw.randint(50, 6_000))
    chaos = simulator.height
    simulator.heal()
    simulator.links = Links(delay_ms=(1, 50), loss=0.01)
    for node in simulator.nodes:
        simulator.restart(node.index)
    if not simulator.run_to_height(chaos + heights_after, limit_ms=limit_ms):
        raise InvariantBroken(f"seed {seed}, size {size}: no {heights_after} heights within {limit_ms} ms of peace")
    return Outcome(chaos, simulator.height, simulator.audit(), simulator.now_ms - started_ms)


def _liars(draw: random.Random, size: int) -> Mapping[int, Callable[[Situation], Actor]]:
    faults = (size - 1) // 3
    chosen = draw.sample(range(size), draw.randint(0, faults))
    return {index: draw.choice(_LIARS) for index in chosen}


def _disturb(simulator: Simulator, draw: random.Random, step: int, careless: int) -> None:
    # Only one node ever loses its log: a block that others are locked on lives in logs until it is final.
    size = len(simulator.nodes)
    index = draw.randrange(size)
    match draw.choice(
        ("crash", "crash", "lose log", "restart", "restart", "partition", "heal", "submit", "submit", "nothing")
    ):
        case "crash":
            simulator.crash(index, lose_tail=draw.random() < 0.5)
        case "lose log":
            simulator.lose_log(careless)
        case "restart":
            simulator.restart(index)
        case "partition":
            side = set(draw.sample(range(size), draw.randint(1, max(1, size // 2))))
            simulator.partition(side, set(range(size)) - side)
        case "heal":
            simulator.heal()
        case "submit":
            simulator.submit(b"transaction %d" % step, draw.sample(range(size), draw.randint(1, size)))
        case _:
            pass
