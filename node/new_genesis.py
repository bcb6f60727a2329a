"""Making a genesis: the task's reference set, scorer and shards are prepared in a worker, the rest is bookkeeping.

What goes where::

    OUT/genesis.json         for everybody
    OUT/shards/NAME/         private shards of members that are elsewhere: send each to its node, to nobody else
    HOME/genesis.json        of every local home
    HOME/private/data/       one private shard of every local home that trains or evaluates
    first HOME/weights/      reference set and scorer; the others fetch them over the network
    OUT/weights/             the same, where no home is local

A genesis with fewer than four authorities is allowed and warned about (`small_set_warning`).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import trio

from node.config import NodeRole
from node.genesis_file import LEDGER_NAME, GenesisFile, save_genesis_file
from node.home import Card, Home
from node.weights.store import WeightsStore
from node.workers import Worker
from pdfedchain.codec import encode
from pdfedchain.errors import UsageError
from pdfedchain.ids import Cid, Hash
from pdfedchain.limits import NAME_LENGTH_MAX
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.checkpoint import NO_DATA_COMMITMENT
from pdfedchain.types.economy import Economy, Rewards
from pdfedchain.types.genesis import ChainParameters, Genesis
from pdfedchain.types.governance import AuthorityOnion
from pdfedchain.types.jobs import Prepare, Prepared, Progress
from pdfedchain.types.ledger import (
    Allocation,
    Deadline,
    GenesisParticipant,
    LedgerGenesis,
    LedgerParameters,
    TaskPool,
)
from pdfedchain.types.score import MICRO, ArithmeticProfile
from pdfedchain.types.task import Ceilings, TaskSpec
from pdfedchain.types.transaction import Register, Role

__all__ = [
    "LOCAL_CHAIN",
    "LOCAL_MONEY",
    "LOCAL_PARAMETERS",
    "GenesisPlan",
    "MoneyPlan",
    "create_genesis",
    "small_set_warning",
]

LEDGER_VERSION: Final = 1

#: Deadlines that suit a testnet on one machine.
LOCAL_PARAMETERS: Final = LedgerParameters(
    open_registration=False,
    have=Deadline(5, 30_000),
    scoring=Deadline(10, 150_000),
    private_commit=Deadline(5, 60_000),
    private_reveal=Deadline(5, 30_000),
    economy=Economy(submission_bond=1_000, score_deposit=100, private_deposit=100),
)

LOCAL_CHAIN: Final = ChainParameters()

_REWARDS: Final = Rewards(per_qn=1_000, decay_micro=500_000, scorers=100, voters=100)

#: Share of the worst accepted QN within which a dozen scores of one model lie, in millionths (ADR 0083).
_NOISE_MICRO: Final = 100_000


@dataclass(frozen=True, slots=True)
class MoneyPlan:
    """The units of a new chain.

    Attributes:
        allocation: to every member's account.
        pool: for the rewards of the task.
        rewards: what the task pays.
        noise_micro: `Rewards.noise_micro`; ``None`` for a share of the worst accepted QN, measured for digits.
    """

    allocation: int = 1_000_000
    pool: int = 1_000_000
    rewards: Rewards = _REWARDS
    noise_micro: int | None = None

    def rewards_within(self, ceilings: Ceilings) -> Rewards:
        """The rewards of a task with these ceilings."""
        noise_micro = self.noise_micro
        if noise_micro is None:
            noise_micro = ceilings.fid_micro_max // 2 * _NOISE_MICRO // MICRO
        return replace(self.rewards, noise_micro=noise_micro)


LOCAL_MONEY: Final = MoneyPlan()


@dataclass(frozen=True, slots=True)
class GenesisPlan:
    """What a genesis is made from.

    Attributes:
        dataset: name of a built-in data set, or a folder of class folders with images.
        homes: local homes, in order of turns; their cards are read.
        cards: of members whose homes are elsewhere; turns after those of ``homes``.
        out: directory for genesis.json; made if need be.
        split_seed: fixes the split into reference set and shards.
        device: torch device of the preparation.
        arithmetic: of the task's scores; float32 is for models too large for float64.
    """

    chain_id: str
    dataset: str
    homes: tuple[Home, ...]
    cards: tuple[Card, ...]
    out: Path
    split_seed: Hash
    parameters: LedgerParameters = LOCAL_PARAMETERS
    chain: ChainParameters = LOCAL_CHAIN
    open_per_account_max: int = 2
    scoring_at_once_max: int = 2
    device: str = "cpu"
    money: MoneyPlan = LOCAL_MONEY
    arithmetic: ArithmeticProfile = ArithmeticProfile.F64


def small_set_warning(authorities: int) -> str | None:
    """What a small authority set cannot withstand; ``None`` for four and more."""
    if authorities >= 4:
        return None
    if authorities == 1:
        return "1 authority: nobody checks it, and the seeds of scores are its to choose; 4 survive one fault"
    return f"{authorities} authorities: every one is needed, one crash halts the chain; 4 survive one fault"


async def create_genesis(
    plan: GenesisPlan, worker: Worker, on_progress: Callable[[Progress], None] | None = None
) -> GenesisFile:
    """Prepare the task (about a minute for digits), write genesis and install it into the local homes.

    Raises:
        UsageError: members clash, a home belongs to a chain already, ``out`` holds a genesis.
        JobError: the preparation failed; nothing was written.
        OSError: the disk refuses.
    """
    members = _members(plan)
    _check_targets(plan)
    plan.out.mkdir(parents=True, exist_ok=True)
    scratch = plan.out / "preparing"
    shutil.rmtree(scratch, ignore_errors=True)
    holders = [(card, home) for card, home in members if _participant_roles(card)]
    try:
        request = Prepare(
            plan.dataset, len(holders), plan.split_seed, str(scratch.absolute()), plan.device, plan.arithmetic
        )
        prepared = await worker.run(request, on_progress)
        assert isinstance(prepared, Prepared), "a preparation answers with what it prepared"
        store_root = plan.homes[0].weights_dir if plan.homes else plan.out / "weights"
        reference, scorer = await trio.to_thread.run_sync(_store_public_parts, scratch, store_root)
        file = _genesis_file(plan, [card for card, _ in members], prepared, reference, scorer)
        for index, (card, home) in enumerate(holders):
            target = plan.out / "shards" / card.name if home is None else home.data_dir(home.config())
            await trio.to_thread.run_sync(_move_shard, scratch / "private" / str(index), target)
        save_genesis_file(plan.out / "genesis.json", file)
        for home in plan.homes:
            save_genesis_file(home.genesis_path, file)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return file


def _members(plan: GenesisPlan) -> list[tuple[Card, Home | None]]:
    members: list[tuple[Card, Home | None]] = [(home.require().card(), home) for home in plan.homes]
    members += [(card, None) for card in plan.cards]
    for what, values in (
        ("name", [card.name for card, _ in members]),
        ("address", [card.address.hex() for card, _ in members]),
        ("peer id", [card.peer_id for card, _ in members]),
        ("dial address", [card.dial.partition("/p2p/")[0] for card, _ in members]),
    ):
        for value in values:
            if values.count(value) > 1:
                raise UsageError(f"two members have the {what} {value}", hint="give each node a home of its own")
    if not any(NodeRole.AUTHORITY in card.roles for card, _ in members):
        raise UsageError("no member is an authority", hint="pdfed init --roles authority,...")
    for card, home in members:
        if home is None and ("/" in card.name or card.name in (".", "..")):
            raise UsageError(f"the name {card.name!r} of a card cannot name a folder for its shard")
    return members


def _check_targets(plan: GenesisPlan) -> None:
    if plan.out.exists() and not plan.out.is_dir():
        raise UsageError(f"{plan.out} is not a folder", hint="--out names the folder that genesis.json is written into")
    if (plan.out / "genesis.json").exists():
        raise UsageError(f"{plan.out / 'genesis.json'} exists", hint="a genesis is never written over; choose --out")
    for home in plan.homes:
        if home.genesis_path.exists() or home.chain_db.exists():
            raise UsageError(f"{home.path} belongs to a chain already", hint="`pdfed init` makes a fresh home")
        data = home.data_dir(home.config())
        if data.exists() and any(data.iterdir()):
            raise UsageError(f"{data} holds private images already", hint="move them away, or set [data] path")


def _participant_roles(card: Card) -> Role:
    roles = Role(0)
    if NodeRole.TRAINER in card.roles:
        roles |= Role.TRAINER | Role.EVALUATOR
    if NodeRole.EVALUATOR in card.roles:
        roles |= Role.EVALUATOR
    return roles


def _store_public_parts(prepared: Path, root: Path) -> tuple[Cid, Cid]:
    store = WeightsStore(root)
    cids = (store.add_folder(prepared / "reference"), store.add_folder(prepared / "scorer"))
    for cid in cids:
        store.pins.add(cid)
    return cids


def _move_shard(shard: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if target.exists():
        target.rmdir()
    shutil.move(shard, target)


def _genesis_file(plan: GenesisPlan, cards: list[Card], prepared: Prepared, reference: Cid, scorer: Cid) -> GenesisFile:
    name = Path(plan.dataset).name.encode()[:NAME_LENGTH_MAX].decode("utf-8", "ignore")
    task = TaskSpec(
        name=name,
        dataset=name,
        model=prepared.model,
        scoring=prepared.scoring,
        ceilings=prepared.ceilings,
        reference=reference,
        scorer=scorer,
        split_seed=plan.split_seed,
        open_per_account_max=plan.open_per_account_max,
        scoring_at_once_max=plan.scoring_at_once_max,
        rewards=plan.money.rewards_within(prepared.ceilings),
    )
    authorities = [card for card in cards if NodeRole.AUTHORITY in card.roles]
    ledger = LedgerGenesis(
        parameters=plan.parameters,
        allocations=tuple(Allocation(card.address, plan.money.allocation) for card in cards),
        participants=tuple(_registered(card) for card in cards if _needs_admission(card)),
        tasks=(task,),
        pools=(TaskPool(task.name, plan.money.pool),),
        onions=tuple(AuthorityOnion(card.address, card.onion) for card in authorities if card.onion is not None),
    )
    genesis = Genesis(
        chain_id=plan.chain_id,
        time_ms=time.time_ns() // 1_000_000,
        version=LEDGER_VERSION,
        authorities=AuthoritySet(0, tuple(card.address for card in authorities)),
        parameters=plan.chain,
        application=LEDGER_NAME,
        application_state=encode(ledger),
    )
    return GenesisFile(genesis, ledger, tuple(card.dial for card in cards))


def _needs_admission(card: Card) -> bool:
    """Authorities may register by themselves; other participants of the start are admitted here."""
    return NodeRole.AUTHORITY not in card.roles and bool(_participant_roles(card))


def _registered(card: Card) -> GenesisParticipant:
    registration = Register(card.name, int(_participant_roles(card)), NO_DATA_COMMITMENT, card.address, "")
    return GenesisParticipant(card.address, registration)
