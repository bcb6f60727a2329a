"""A small task and genesis that need no torch, for tests of the ledger and of nodes in memory."""

import time
from collections.abc import Sequence
from dataclasses import replace

from pdfedchain.codec import encode
from pdfedchain.ids import Address, Cid, Hash
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.economy import FREE, UNREWARDED, Economy, Rewards
from pdfedchain.types.genesis import ChainParameters, Genesis
from pdfedchain.types.ledger import Allocation, Deadline, LedgerGenesis, LedgerParameters, TaskPool
from pdfedchain.types.score import ArithmeticProfile, ScoringSpec, Tolerance
from pdfedchain.types.task import Ceilings, ModelSpec, TaskSpec, TensorSpec

SCORING = ScoringSpec(
    version=1,
    profile=ArithmeticProfile.F64,
    n=100,
    sampling_steps=5,
    neighbours=3,
    pairs_max=300,
    match_threshold_micro=800_000,
    retrieval_deviations_micro=500_000,
    novelty_weight=1_000,
    extractor="fake",
    tolerance=Tolerance(0, 0, 1, 1, 1),
)
MODEL = ModelSpec(
    image_size=8,
    channels=1,
    classes=10,
    unet_config="{}",
    scheduler_config="{}",
    tensors=(TensorSpec("weight", "F32", (4,)),),
    size_bytes_max=1_000_000,
)


#: Prices and rewards for chains on which something costs and earns something.
ECONOMY = Economy(submission_bond=1_000, score_deposit=100, private_deposit=50, fee=3)
REWARDS = Rewards(per_qn=1_000, noise_micro=1_000_000, scorers=100, voters=30)
ALLOCATION = 50_000
POOL = 100_000


def small_task(reference: Cid, scorer: Cid, *, name: str = "small", rewards: Rewards = UNREWARDED) -> TaskSpec:
    """A task with the ceilings FID 100 and R_C 0.2."""
    return TaskSpec(
        name=name,
        dataset="fake",
        model=MODEL,
        scoring=SCORING,
        ceilings=Ceilings(100_000_000, 200_000),
        reference=reference,
        scorer=scorer,
        split_seed=Hash(bytes(32)),
        open_per_account_max=2,
        scoring_at_once_max=2,
        rewards=rewards,
    )


def small_genesis(
    authorities: Sequence[Address],
    task: TaskSpec,
    *,
    chain_id: str = "memory",
    chain: ChainParameters | None = None,
    economy: Economy = FREE,
    scoring_ms: int = 5_000,
) -> Genesis:
    """A genesis whose deadlines are short; with an economy, everybody has units and the task a pool."""
    money = economy != FREE
    ledger = LedgerGenesis(
        parameters=LedgerParameters(
            open_registration=False,
            have=Deadline(5, scoring_ms),
            scoring=Deadline(5, scoring_ms),
            private_commit=Deadline(2, 1_500),
            private_reveal=Deadline(2, 1_500 if economy == FREE else 5_000),
            late_reveal=Deadline(2, 2_000 if economy == FREE else 6_000),
            economy=economy,
        ),
        allocations=tuple(Allocation(address, ALLOCATION) for address in authorities) if money else (),
        participants=(),
        tasks=(task,),
        pools=(TaskPool(task.name, POOL),) if money else (),
    )
    pace = chain or replace(
        ChainParameters(),
        block_interval_min_ms=20,
        heartbeat_idle_ms=2_000,
        heartbeat_open_ms=100,
        timeout_propose_ms=1_000,
        timeout_prevote_ms=300,
        timeout_precommit_ms=300,
    )
    return Genesis(
        chain_id=chain_id,
        time_ms=time.time_ns() // 1_000_000 - 1_000,
        version=1,
        authorities=AuthoritySet(0, tuple(authorities)),
        parameters=pace,
        application="pdfed-ledger",
        application_state=encode(ledger),
    )
