"""A run of chaos from one seed, and then peace: safety under faults first, progress after healing.

Size, links, clocks, liars, opinions, crashes, power cuts, partitions and transactions are all drawn from the seed.

`run_chaos`: at most f nodes lie, and nothing else is bounded. Crashes and partitions may take the quorum away, and
then nothing may become final, but nothing may go wrong either (the simulator's observer raises).

`run_overload`: more than f nodes lie, in ways that contradict neither themselves nor their locks. The chain may
stall, and must where too many are mute; it may never fork. Then the liars reform.

After either, all links work, all nodes run, and the chain must grow again within a bound. A run that fails says
which command plays it again.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from pdfedchain.application import Judgement
from pdfedchain.errors import UsageError
from pdfedchain.testing.byzantine import HARMLESS, LIARS, Actor, ForcesNil, RepeatsNil, Silent, Situation
from pdfedchain.testing.counter import CounterApplication
from pdfedchain.testing.invariants import InvariantBroken
from pdfedchain.testing.network import Links
from pdfedchain.testing.simulator import START_MS, Simulator
from pdfedchain.types.genesis import ChainParameters

__all__ = [
    "HEIGHTS_AFTER",
    "LIMIT_MS",
    "PARAMETERS",
    "Outcome",
    "disturb",
    "links_of",
    "peace",
    "replayable",
    "run_chaos",
    "run_overload",
]

#: Short heartbeats, so that little virtual time holds many heights; time-outs as in production, but for the cap.
PARAMETERS: Final = ChainParameters(heartbeat_idle_ms=1_500, timeout_max_ms=10_000)

#: Heights that must become final after peace has come, and the virtual time allowed for them.
HEIGHTS_AFTER: Final = 10
LIMIT_MS: Final = 180_000

#: Those that never vote for a block.
_MUTE: Final = (Silent, ForcesNil, RepeatsNil)

_DISTURBANCES: Final = (
    ("crash", 2),
    ("power", 3),
    ("lose log", 1),
    ("restart", 4),
    ("partition", 1),
    ("cut", 1),
    ("heal", 1),
    ("clock", 1),
    ("opinions", 1),
    ("submit", 3),
    ("nothing", 1),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to.

    Attributes:
        height_in_chaos: highest final height when peace came.
        height: at the end.
        audit: hash over everything that happened.
        duration_ms: virtual time.
        events: messages that arrived, timers that fired, and the like.
        counts: `Simulator.counts`.
    """

    height_in_chaos: int
    height: int
    audit: str
    duration_ms: int
    events: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)


class _Opinions:
    """What one node thinks of settlements: drawn for each, and what is pending becomes valid when it is `ripe`."""

    def __init__(self, seed: str, weights: tuple[int, int, int]) -> None:
        self._seed = seed
        self._weights = weights
        self.ripe = False

    def __call__(self, extension: bytes) -> Judgement:
        draw = random.Random(f"{self._seed} {extension.hex()}")  # noqa: S311 - a seed is a run
        drawn = draw.choices((Judgement.VALID, Judgement.INVALID, Judgement.PENDING), self._weights)[0]
        return Judgement.VALID if self.ripe and drawn is Judgement.PENDING else drawn


def run_chaos(
    seed: int,
    size: int,
    *,
    heights_after: int = HEIGHTS_AFTER,
    limit_ms: int = LIMIT_MS,
    tell: Callable[[str], None] | None = None,
) -> Outcome:
    """Run one seed with at most f liars.

    Args:
        tell: told of every event as it happens.

    Raises:
        InvariantBroken: safety broke, or ``heights_after`` more heights did not come within ``limit_ms`` of peace.
    """
    with replayable(seed, size, ""):
        draw = random.Random(f"chaos {seed} {size}")  # noqa: S311 - a seed is a run
        chosen = draw.sample(range(size), draw.randint(0, (size - 1) // 3))
        simulator, ripen = _world(seed, size, draw, {index: draw.choice(LIARS) for index in chosen}, tell)
        simulator.start()
        # Who loses its log may be locked on a polka that only this log held: a fault like a lie, one of the f.
        room = len(chosen) < (size - 1) // 3 or size == 1
        careless = draw.choice([node.index for node in simulator.honest]) if room else None
        disturb(simulator, draw, careless=careless, submit=partial(_submit, draw=draw), ripen=ripen)
        return peace(simulator, heights_after=heights_after, limit_ms=limit_ms, ripen=ripen)


def run_overload(
    seed: int,
    size: int,
    *,
    heights_after: int = HEIGHTS_AFTER,
    limit_ms: int = LIMIT_MS,
    tell: Callable[[str], None] | None = None,
) -> Outcome:
    """Run one seed with more than f liars that cannot fork a chain.

    Raises:
        UsageError: ``size`` is 1.
        InvariantBroken: safety broke, blocks became final without enough nodes that vote, or ``heights_after`` more
            did not come within ``limit_ms`` of the liars' reform.
    """
    if size < 2:
        raise UsageError("where all nodes lie there is nothing to check; have two or more")
    with replayable(seed, size, " --overload"):
        draw = random.Random(f"overload {seed} {size}")  # noqa: S311 - a seed is a run
        chosen = draw.sample(range(size), draw.randint((size - 1) // 3 + 1, size - 1))
        mute = draw.random() < 0.5
        liars = {index: draw.choice(_MUTE if mute else HARMLESS) for index in chosen}
        simulator, ripen = _world(seed, size, draw, liars, tell)
        simulator.start()
        disturb(simulator, draw, careless=None, submit=partial(_submit, draw=draw), ripen=ripen)
        speaking = size - sum(liar in _MUTE for liar in liars.values())
        if 3 * speaking <= 2 * size and simulator.height > 0:
            raise InvariantBroken(f"height {simulator.height} is final although only {speaking} of {size} vote")
        for index in liars:
            simulator.reform(index)
        return peace(simulator, heights_after=heights_after, limit_ms=limit_ms, ripen=ripen)


@contextmanager
def replayable(seed: int, size: int, more: str) -> Iterator[None]:
    """What fails within says how to see it again."""
    try:
        yield
    except Exception as error:
        error.add_note(f"to see it again: python -m pdfedchain.testing.replay --seed {seed} --size {size}{more}")
        raise


def _world(
    seed: int,
    size: int,
    draw: random.Random,
    liars: Mapping[int, Callable[[Situation], Actor]],
    tell: Callable[[str], None] | None,
) -> tuple[Simulator, Callable[[int], None]]:
    weights = draw.choice(((1, 0, 0), (8, 1, 1), (4, 1, 4), (2, 3, 0)))
    opinions = [_Opinions(f"opinion {seed} {index}", weights) for index in range(size)]
    settling = draw.choice((0.0, 0.3, 1.0))

    def application(index: int) -> CounterApplication:
        return CounterApplication(opinion=opinions[index], settles=settles)

    def settles(height: int) -> bytes:
        drawn = random.Random(f"settles {seed} {height}").random() < settling  # noqa: S311 - a seed is a run
        return b"settlement %d" % height if drawn else b""

    simulator = Simulator(
        seed=seed,
        size=size,
        parameters=PARAMETERS,
        links=links_of(draw),
        byzantine=liars,
        application=application,
        skew_ms_max=draw.choice((0, 50, 2_000)),
        tell=tell,
    )

    def ripen(index: int) -> None:
        opinions[index].ripe = True

    return simulator, ripen


def links_of(draw: random.Random) -> Links:
    """Links of a chaotic run."""
    if draw.random() < 0.5:
        return Links(
            delay_ms=(1, round(math.exp(draw.uniform(math.log(2), math.log(3_000))))),
            loss=max(0.0, draw.uniform(-0.2, 0.4)),
            repeat=max(0.0, draw.uniform(-0.2, 0.3)),
            loss_precommit=draw.choice((0.0, 0.0, 0.5, 0.8)),
            relay=draw.random() < 0.3,
            wire=draw.random() < 0.1,
        )
    # Links that are made for locks: some get the proposal, fewer see its polka, and little mends that.
    return Links(
        delay_ms=(1, draw.choice((50, 300, 800))),
        loss=draw.uniform(0.1, 0.3),
        loss_prevote=draw.choice((0.0, 0.4)),
        loss_precommit=draw.choice((0.0, 0.5)),
        loss_repair=draw.choice((0.9, 1.0)),
    )


def disturb(
    simulator: Simulator,
    draw: random.Random,
    *,
    careless: int | None,
    submit: Callable[[Simulator, int], None],
    ripen: Callable[[int], None],
) -> None:
    """Six to sixteen disturbances, with some time after each.

    Args:
        careless: the node that may lose its log.
        submit: sends transactions; told the number of the disturbance.
        ripen: settles what a node holds for pending.
    """
    kinds, weights = zip(*_DISTURBANCES, strict=True)
    for step in range(draw.randint(6, 16)):
        what = draw.choices(kinds, weights)[0]
        index = draw.randrange(len(simulator.nodes))
        if what == "opinions":
            ripen(index)
            simulator.poke(index, lambda replica: replica.on_judgement_changed())
        elif what == "submit":
            submit(simulator, step)
        else:
            if what == "lose log":
                what, index = ("crash", index) if careless is None else (what, careless)
            _disturb(simulator, draw, what, index)
        simulator.run_ms(draw.randint(50, 6_000))


def _submit(simulator: Simulator, step: int, draw: random.Random) -> None:
    size = len(simulator.nodes)
    simulator.submit(b"transaction %d" % step, draw.sample(range(size), draw.randint(1, size)))


def _disturb(simulator: Simulator, draw: random.Random, what: str, index: int) -> None:
    size = len(simulator.nodes)
    match what:
        case "crash":
            simulator.crash(index, lose_tail=draw.random() < 0.5)
        case "power":
            simulator.arm(index, draw.randint(1, 60), lose_tail=draw.random() < 0.5)
        case "lose log":
            simulator.lose_log(index)
        case "restart":
            simulator.restart(index)
        case "partition":
            side = set(draw.sample(range(size), draw.randint(1, max(1, size // 2))))
            simulator.partition(side, set(range(size)) - side)
        case "cut":
            simulator.network.cut(index, draw.randrange(size))
        case "heal":
            simulator.heal()
        case "clock":
            simulator.nodes[index].skew_ms += draw.randint(-20_000, 20_000)
        case _:
            pass


def peace(simulator: Simulator, *, heights_after: int, limit_ms: int, ripen: Callable[[int], None]) -> Outcome:
    """All links work, all nodes run, and so many more heights must become final within the limit.

    Raises:
        InvariantBroken: they do not, or the stores differ.
    """
    chaos = simulator.height
    simulator.heal()
    simulator.network.links = Links(delay_ms=(1, 50), loss=0.01)
    for node in simulator.nodes:
        node.fuse.left = 0
        node.skew_ms = max(-2_000, min(node.skew_ms, 2_000))
        ripen(node.index)
        simulator.restart(node.index)
    if not simulator.run_to_height(chaos + heights_after, limit_ms=limit_ms):
        raise InvariantBroken(f"no {heights_after} heights within {limit_ms} ms of peace, from {chaos}")
    simulator.observer.ended(node.store for node in simulator.honest)
    return Outcome(
        height_in_chaos=chaos,
        height=simulator.height,
        audit=simulator.audit(),
        duration_ms=simulator.now_ms - START_MS,
        events=simulator.events,
        counts=dict(simulator.counts),
    )
