"""Chaos on the federated-learning ledger: transfers, registrations, submissions and scores while nodes fail and lie.

The same disturbances as in `pdfedchain.testing.chaos`, on a ledger on which everything costs and pays something. After
every execution of a block, on every node, the units are counted again (`pdfedchain.testing.units`).
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from pdfedchain.application import BlockContext, Execution
from pdfedchain.codec import encode
from pdfedchain.crypto import SigningKey, StateTree, hash_of
from pdfedchain.ids import Cid, Hash
from pdfedchain.state.ledger import Ledger
from pdfedchain.state.view import LedgerView
from pdfedchain.testing.byzantine import LIARS
from pdfedchain.testing.chaos import (
    HEIGHTS_AFTER,
    LIMIT_MS,
    PARAMETERS,
    Outcome,
    disturb,
    links_of,
    peace,
    replayable,
)
from pdfedchain.testing.nodes import START_MS, make_keys
from pdfedchain.testing.simulator import Simulator
from pdfedchain.testing.units import check_units, issued_by
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.ballot import BallotKind, commitment_of
from pdfedchain.types.block import BlockBody
from pdfedchain.types.checkpoint import Checkpoint, CheckpointStatus
from pdfedchain.types.economy import Economy, Rewards
from pdfedchain.types.genesis import Genesis
from pdfedchain.types.ledger import Allocation, Deadline, LedgerGenesis, LedgerParameters, PrivateWindow, TaskPool
from pdfedchain.types.score import ArithmeticProfile, ScoreReport, ScoringSpec, Tolerance
from pdfedchain.types.task import Ceilings, ModelSpec, TaskSpec, TensorSpec
from pdfedchain.types.transaction import (
    CommitBallot,
    CreateTask,
    FundTask,
    Have,
    Payload,
    Register,
    RevealBallot,
    SubmitCheckpoint,
    TrainingClaim,
    Transaction,
    Transfer,
    WithoutNonce,
)

__all__ = ["CountedLedger", "run_ledger"]

_CHAIN_ID: Final = "simulated"
_SALT: Final = b"s" * 32
_CHECKPOINTS: Final = 6
_SHORT: Final = Deadline(6, 12_000)

#: After the chaos the nodes go on with their work for a while, so that what was begun comes to an end.
_CALM_STEPS: Final = 24
_CALM_MS: Final = 1_500

#: Amounts that share no factor, so that no error hides behind another.
_LEDGER: Final = LedgerParameters(
    open_registration=True,
    have=_SHORT,
    scoring=_SHORT,
    private_commit=_SHORT,
    private_reveal=_SHORT,
    late_reveal=_SHORT,
    quarantine_voters_min=2,
    economy=Economy(submission_bond=101, score_deposit=13, private_deposit=11, fee=2, fee_per_byte=1, account_price=3),
)
_REPORT: Final = ScoreReport(
    n=100, checked=20, confirmed=2, v_a_micro=500_000, v_c_micro=900_000, fid_micro=40_000, images_hash=Hash(bytes(32))
)


def _cid(name: str) -> Cid:
    return Cid(b"\x01\x70\x12\x20" + hashlib.sha256(name.encode()).digest())


_TASK: Final = TaskSpec(
    name="digits",
    dataset="digits",
    model=ModelSpec(8, 1, 10, "{}", "{}", (TensorSpec("a", "F32", (2, 3)),), 1_000_000),
    scoring=ScoringSpec(
        version=1,
        profile=ArithmeticProfile.F64,
        n=100,
        sampling_steps=10,
        neighbours=4,
        pairs_max=1_000,
        match_threshold_micro=800_000,
        retrieval_deviations_micro=500_000,
        novelty_weight=1_000,
        extractor="lite-8px",
        tolerance=Tolerance(checked=0, confirmed=0, v_a_micro=2, v_c_micro=2, fid_micro=2),
    ),
    ceilings=Ceilings(fid_micro_max=1_000_000, r_c_micro_max=500_000),
    reference=_cid("reference"),
    scorer=_cid("scorer"),
    split_seed=Hash(bytes(32)),
    open_per_account_max=2,
    scoring_at_once_max=2,
    rewards=Rewards(per_qn=1_009, noise_micro=100, decay_micro=333_333, scorers=97, voters=43),
)


class CountedLedger(Ledger):
    """A ledger that has its units counted whenever it has executed a block.

    Args:
        issued: units that genesis puts into the world.
    """

    def __init__(self, issued: int) -> None:
        super().__init__(own_results=_score_of)
        self._issued = issued

    def execute(self, state: StateTree, context: BlockContext, body: BlockBody) -> Execution:
        execution = super().execute(state, context, body)
        check_units(self._issued, execution.state.items())
        return execution


def _score_of(checkpoint: Cid) -> ScoreReport:
    """Each model has a score of its own, on which all agree; some copy too much to be accepted."""
    return replace(_REPORT, fid_micro=20_000 + 1_000 * checkpoint[-1], confirmed=15 if checkpoint[-2] % 4 == 0 else 2)


def _genesis(keys: list[SigningKey]) -> Genesis:
    ledger = LedgerGenesis(
        _LEDGER,
        tuple(Allocation(key.address, 2_000 + 7 * index) for index, key in enumerate(keys)),
        (),
        (_TASK,),
        (TaskPool(_TASK.name, 5_003),),
    )
    members = AuthoritySet(0, tuple(key.address for key in keys))
    return Genesis(_CHAIN_ID, START_MS, 1, members, PARAMETERS, Ledger.name, encode(ledger))


class _People:
    """Who sends transactions: the authorities, each for itself, and some without a node."""

    def __init__(self, authorities: list[SigningKey], draw: random.Random) -> None:
        self._authorities = authorities
        self._others = [SigningKey(hashlib.sha256(b"simulated person %d" % n).digest()) for n in range(3)]
        self._draw = draw

    def __call__(self, simulator: Simulator, step: int) -> None:
        """Send some transactions to some nodes, as the state of one honest node suggests."""
        draw, view = self._draw, LedgerView(self._draw.choice(simulator.honest).store.state())
        actions = [self._whim(view, step) for _ in range(draw.randint(1, 4))] + list(self._duties(view))
        nonces: Counter[bytes] = Counter()
        for key, payload in actions:
            nonce = 0
            if not isinstance(payload, WithoutNonce):
                nonce = view.account(key.address).nonce + nonces[key.address]
                nonces[key.address] += 1
            size = len(simulator.nodes)
            signed = encode(Transaction(_CHAIN_ID, key.address, nonce, payload).sign(key))
            simulator.submit(signed, draw.sample(range(size), draw.randint(1, size)))

    def _whim(self, view: LedgerView, step: int) -> tuple[SigningKey, Payload]:
        draw = self._draw
        key, other = draw.choice([*self._authorities, *self._others]), draw.choice([*self._authorities, *self._others])
        name = f"model {draw.randrange(_CHECKPOINTS)}"
        match draw.randrange(8):
            case 0 | 1:
                return key, Transfer(other.address, draw.randint(1, 900))
            case 2:
                return key, FundTask(draw.choice(view.index.tasks), draw.randint(1, 500))
            case 3:
                another = replace(_TASK, name=f"task {step % 3}")
                return draw.choice(self._authorities), CreateTask(another, draw.randint(0, 500))
            case 4 | 5:
                commitment = hash_of(Transfer(key.address, 1))
                return key, Register(key.address.hex()[:8], 3, commitment, key.address, "")
            case _:
                claim = TrainingClaim(100, 64, 3_000_000, 6_400, Hash(bytes(32)))
                digest = Hash(hashlib.sha256(name.encode()).digest())
                return key, SubmitCheckpoint(hash_of(_TASK), _cid(name), digest, 1_000, (), claim)

    def _duties(self, view: LedgerView) -> Iterator[tuple[SigningKey, Payload]]:
        """What nodes owe to submissions; some forget it."""
        for checkpoint in view.open_checkpoints():
            for key in self._authorities:
                duty = self._score_duty(view, checkpoint, key) if self._draw.random() < 0.8 else None
                if duty is not None:
                    yield key, duty
        for cid in view.index.private:
            checkpoint_ = view.checkpoint(cid)
            for key in (*self._authorities, *self._others):
                duty = self._ballot_duty(view, checkpoint_, key) if self._draw.random() < 0.6 else None
                if duty is not None:
                    yield key, duty

    def _score_duty(self, view: LedgerView, checkpoint: Checkpoint, key: SigningKey) -> Payload | None:
        cid = checkpoint.weights
        if checkpoint.status is CheckpointStatus.SUBMITTED:
            return None if key.address in checkpoint.holders else Have(cid, checkpoint.submitted_height)
        ballot = view.ballot(cid, BallotKind.SCORE, key.address)
        if checkpoint.status is not CheckpointStatus.SCORING or checkpoint.seed is None:
            return None
        report = _score_of(cid)
        if ballot is None:
            sealed = commitment_of(_CHAIN_ID, cid, key.address, BallotKind.SCORE, report, _SALT)
            return CommitBallot(cid, checkpoint.submitted_height, BallotKind.SCORE, sealed)
        if checkpoint.reveal_height is not None and ballot.report is None:
            return RevealBallot(cid, BallotKind.SCORE, report, _SALT)
        return None

    def _ballot_duty(self, view: LedgerView, checkpoint: Checkpoint | None, key: SigningKey) -> Payload | None:
        if checkpoint is None:
            return None
        cid, report = checkpoint.weights, _score_of(checkpoint.weights).coarse()
        window, ballot = view.private_window(cid), view.ballot(cid, BallotKind.PRIVATE, key.address)
        if window is PrivateWindow.COMMIT and ballot is None:
            sealed = commitment_of(_CHAIN_ID, cid, key.address, BallotKind.PRIVATE, report, _SALT)
            return CommitBallot(cid, checkpoint.submitted_height, BallotKind.PRIVATE, sealed)
        if window is PrivateWindow.REVEAL and ballot is not None and ballot.report is None:
            return RevealBallot(cid, BallotKind.PRIVATE, report, _SALT)
        return None


def _nothing(index: int) -> None:
    """Nobody holds anything for pending here."""


def run_ledger(
    seed: int,
    size: int,
    *,
    heights_after: int = HEIGHTS_AFTER,
    limit_ms: int = LIMIT_MS,
    tell: Callable[[str], None] | None = None,
) -> Outcome:
    """Run one seed on the ledger with at most f liars. Among the counts of the outcome are the ledger's events by kind.

    Raises:
        InvariantBroken: safety broke, units were lost or made, or the heights did not come in time.
    """
    with replayable(seed, size, " --ledger"):
        draw = random.Random(f"ledger {seed} {size}")  # noqa: S311 - a seed is a run
        keys = make_keys(size)
        genesis = _genesis(keys)
        issued = issued_by(genesis)
        chosen = draw.sample(range(size), draw.randint(0, (size - 1) // 3))
        simulator = Simulator(
            seed=seed,
            size=size,
            links=links_of(draw),
            byzantine={index: draw.choice(LIARS) for index in chosen},
            application=lambda index: CountedLedger(issued),
            genesis=genesis,
            skew_ms_max=draw.choice((0, 50, 2_000)),
            tell=tell,
        )
        simulator.start()
        people = _People(keys, draw)
        disturb(simulator, draw, careless=None, submit=people, ripen=_nothing)
        in_chaos = peace(simulator, heights_after=1, limit_ms=limit_ms, ripen=_nothing).height_in_chaos
        for step in range(_CALM_STEPS):
            people(simulator, step)
            simulator.run_ms(_CALM_MS)
        outcome = peace(simulator, heights_after=heights_after, limit_ms=limit_ms, ripen=_nothing)
        store = simulator.honest[0].store
        check_units(issued, store.state().items())
        kinds = Counter(f"ledger: {stored.event.kind}" for stored in store.events(from_height=1))
        return replace(outcome, height_in_chaos=in_chaos, counts={**outcome.counts, **kinds})
