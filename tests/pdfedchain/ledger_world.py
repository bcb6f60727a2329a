"""A ledger, its participants and a way to make blocks, without consensus."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from pdfedchain.application import BlockContext, Execution, rules_of
from pdfedchain.codec import encode
from pdfedchain.crypto import SigningKey, hash_of, tagged_hash
from pdfedchain.ids import Cid, Hash
from pdfedchain.state.beacon import due_onion
from pdfedchain.state.events import LedgerEvent, ledger_event
from pdfedchain.state.ledger import Ledger
from pdfedchain.state.onion import OnionSecrets
from pdfedchain.state.settlements import extension_bytes, settleable
from pdfedchain.state.view import LedgerView
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.ballot import BallotKind, Outcome, commitment_of
from pdfedchain.types.block import BlockBody
from pdfedchain.types.checkpoint import Checkpoint
from pdfedchain.types.genesis import ChainParameters, Genesis
from pdfedchain.types.governance import AuthorityOnion
from pdfedchain.types.ledger import (
    Allocation,
    Deadline,
    GenesisParticipant,
    LedgerGenesis,
    LedgerParameters,
    PrivateWindow,
    TaskPool,
)
from pdfedchain.types.score import ArithmeticProfile, ScoreReport, ScoringSpec, Tolerance
from pdfedchain.types.task import Ceilings, ModelSpec, TaskSpec, TensorSpec
from pdfedchain.types.transaction import (
    CommitBallot,
    Have,
    Payload,
    Register,
    RevealBallot,
    SubmitCheckpoint,
    TrainingClaim,
    Transaction,
    WithoutNonce,
)

CHAIN_ID = "test-chain"
START_MS = 1_700_000_000_000
SALT = b"s" * 32
GOOD = ScoreReport(
    n=100, checked=20, confirmed=2, v_a_micro=500_000, v_c_micro=900_000, fid_micro=40_000, images_hash=Hash(bytes(32))
)

PARAMETERS = LedgerParameters(
    open_registration=False,
    have=Deadline(5, 30_000),
    scoring=Deadline(10, 60_000),
    private_commit=Deadline(4, 20_000),
    private_reveal=Deadline(3, 10_000),
)

TASK = TaskSpec(
    name="digits",
    dataset="digits",
    model=ModelSpec(8, 1, 10, "{}", "{}", (TensorSpec("a", "F32", (2, 3)), TensorSpec("b", "F32", ())), 1_000_000),
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
    ceilings=Ceilings(fid_micro_max=1_000_000, r_c_micro_max=100_000),
    reference=Cid(b"\x01\x70\x12\x20" + b"r" * 32),
    scorer=Cid(b"\x01\x70\x12\x20" + b"s" * 32),
    split_seed=Hash(b"p" * 32),
    open_per_account_max=2,
    scoring_at_once_max=2,
)


def key_of(name: str) -> SigningKey:
    """The key of that name, always the same."""
    return SigningKey(hashlib.sha256(name.encode()).digest())


def cid_of(name: str) -> Cid:
    """A directory identifier that depends on the name only."""
    return Cid(b"\x01\x70\x12\x20" + hashlib.sha256(name.encode()).digest())


def digest_of(name: str) -> Hash:
    return tagged_hash("test/digest", name.encode())


def registration(name: str, *, roles: int = 3, data: bytes = b"") -> Register:
    return Register(name, roles, tagged_hash("test/data", name.encode(), data), key_of(name).address, "")


def offer(name: str, task: TaskSpec = TASK, *, parents: tuple[Cid, ...] = (), digest: str = "") -> SubmitCheckpoint:
    claim = TrainingClaim(100, 64, 3_000_000, 6_400, Hash(bytes(32)))
    return SubmitCheckpoint(hash_of(task), cid_of(name), digest_of(digest or name), 1_000, parents, claim)


def genesis_of(
    authorities: int = 4,
    *,
    tasks: Sequence[TaskSpec] = (TASK,),
    parameters: LedgerParameters = PARAMETERS,
    chain_parameters: ChainParameters | None = None,
    amount: int = 1_000,
    pool: int = 0,
    onions: Sequence[AuthorityOnion] = (),
) -> Genesis:
    """A genesis in which authorities are participants, and so are "trainer" and "voter"; each task has a pool."""
    names = [f"authority{i}" for i in range(authorities)]
    people = [*names, "trainer", "voter"]
    ledger = LedgerGenesis(
        parameters,
        tuple(Allocation(key_of(name).address, amount) for name in people),
        tuple(GenesisParticipant(key_of(name).address, registration(name)) for name in people),
        tuple(tasks),
        tuple(TaskPool(task.name, pool) for task in tasks) if pool else (),
        onions=tuple(onions),
    )
    members = tuple(key_of(name).address for name in names)
    return Genesis(
        CHAIN_ID,
        START_MS,
        1,
        AuthoritySet(0, members),
        chain_parameters or ChainParameters(),
        "pdfed-ledger",
        encode(ledger),
    )


class World:
    """One ledger and its newest state. Every block moves the time on by a second unless told otherwise."""

    def __init__(self, authorities: int = 4, ledger: Ledger | None = None, **genesis: object) -> None:
        self.genesis = genesis_of(authorities, **genesis)  # type: ignore[arg-type]
        self.ledger = ledger or Ledger()
        self.state = self.ledger.genesis_state(self.genesis)
        self.authorities = [key_of(f"authority{i}") for i in range(authorities)]
        self.voting = self.genesis.authorities
        self.height = 0
        self.time_ms = START_MS
        self.events: list[LedgerEvent] = []
        #: Contributions to the beacon, of authorities whose keys this world has.
        self.onions = {key.address: OnionSecrets(key) for key in self.authorities}

    @property
    def view(self) -> LedgerView:
        return LedgerView(self.state)

    def checkpoint(self, name: str) -> Checkpoint:
        checkpoint = self.view.checkpoint(cid_of(name))
        assert checkpoint is not None
        return checkpoint

    def context(self, *, round_: int = 0, advance_ms: int = 1_000) -> BlockContext:
        """Context of the next block."""
        height = self.height + 1
        return BlockContext(
            CHAIN_ID,
            rules_of(self.ledger, self.genesis, self.state, height).version,
            height,
            round_,
            self.time_ms + advance_ms,
            tagged_hash("test/parent", height.to_bytes(8, "big")),
            self.voting.proposer(height, round_),
            tagged_hash("test/beacon", height.to_bytes(8, "big")),
            self.voting,
        )

    def sign(self, key: SigningKey, payload: Payload, *, nonce: int | None = None, chain_id: str = CHAIN_ID) -> bytes:
        """An encoded transaction with the account's next nonce, or with none where there is none."""
        if nonce is None:
            without = isinstance(payload, WithoutNonce)
            nonce = 0 if without else self.view.account(key.address).nonce
        return encode(Transaction(chain_id, key.address, nonce, payload).sign(key))

    def block(
        self,
        *transactions: bytes | tuple[SigningKey, Payload],
        settle: Sequence[Cid] = (),
        round_: int = 0,
        advance_ms: int = 1_000,
    ) -> Execution:
        """Execute a block with these transactions and settlements, and go on from it."""
        encoded = tuple(item if isinstance(item, bytes) else self.sign(*item) for item in transactions)
        context = self.context(round_=round_, advance_ms=advance_ms)
        onion = due_onion(self.view, context.proposer)
        preimage = None if onion is None else self.onions[context.proposer].preimage(onion)
        body = BlockBody(encoded, extension_bytes(tuple(settle), preimage))
        execution = self.ledger.execute(self.state, context, body)
        self.state, self.height, self.time_ms = execution.state, context.height, context.time_ms
        self.voting = execution.next_authorities
        self.events = [ledger_event(event) for event in execution.events]
        return execution

    def settle_all(self) -> tuple[Cid, ...]:
        """Settle whatever can be settled."""
        ready = tuple(checkpoint.weights for checkpoint, _ in settleable(self.view, self.context()))
        self.block(settle=ready)
        return ready

    # The usual course of events

    def submit(self, name: str, author: str = "trainer", **options: object) -> None:
        self.block((key_of(author), offer(name, **options)))  # type: ignore[arg-type]

    def start_scoring(self, name: str) -> None:
        """Every authority has the weights; the seed is fixed."""
        quorum = [key for key in self.authorities if self.checkpoint(name).status.value == "submitted"]
        needed = 2 * len(quorum) // 3 + 1
        self.block(*((key, self.have(name)) for key in quorum[:needed]))
        self.block()

    def submitted_height(self, name: str) -> int:
        """Of the newest submission; 0 where there is none."""
        checkpoint = self.view.checkpoint(cid_of(name))
        return 0 if checkpoint is None else checkpoint.submitted_height

    def have(self, name: str) -> Have:
        """Have of the newest submission."""
        return Have(cid_of(name), self.submitted_height(name))

    def commit(self, name: str, reports: dict[int, Outcome]) -> None:
        """Authorities by number seal these reports, in one block."""
        self.block(*(self.commitment(name, self.authorities[i], report) for i, report in reports.items()))

    def reveal(self, name: str, reports: dict[int, Outcome]) -> None:
        """Authorities by number open these reports, in one block."""
        self.block(*(self.opening(name, self.authorities[i], report) for i, report in reports.items()))

    def commitment(
        self, name: str, key: SigningKey, report: Outcome, kind: BallotKind = BallotKind.SCORE, salt: bytes = SALT
    ) -> tuple[SigningKey, CommitBallot]:
        sealed = commitment_of(CHAIN_ID, cid_of(name), key.address, kind, report, salt)
        return key, CommitBallot(cid_of(name), self.submitted_height(name), kind, sealed)

    def opening(
        self, name: str, key: SigningKey, report: Outcome, kind: BallotKind = BallotKind.SCORE, salt: bytes = SALT
    ) -> tuple[SigningKey, RevealBallot]:
        return key, RevealBallot(cid_of(name), kind, report, salt)

    def score(self, name: str, report: Outcome = GOOD) -> None:
        """From submitted to settled, all authorities agreeing."""
        self.start_scoring(name)
        reports = dict.fromkeys(range(len(self.authorities)), report)
        self.commit(name, reports)
        self.reveal(name, reports)
        self.settle_all()

    def vote(self, name: str, reports: dict[str, ScoreReport | None]) -> None:
        """Private ballots by name of the voter, from the first window to the last; ``None`` is sealed, never opened."""
        sealed = {key_of(voter): (report or GOOD).coarse() for voter, report in reports.items()}
        opened = {key_of(voter): report.coarse() for voter, report in reports.items() if report is not None}
        self.block(*(self.commitment(name, key, report, BallotKind.PRIVATE) for key, report in sealed.items()))
        self.wait_for(name, PrivateWindow.REVEAL)
        self.block(*(self.opening(name, key, report, BallotKind.PRIVATE) for key, report in opened.items()))
        self.wait_for(name, PrivateWindow.CLOSED)

    def wait_for(self, name: str, window: PrivateWindow) -> None:
        """Blocks until the window of private ballots has come to this."""
        while self.view.private_window(cid_of(name)) is not window:
            self.block(advance_ms=10_000)

    def accept(self, name: str, author: str = "trainer", report: ScoreReport = GOOD, **options: object) -> None:
        """A new checkpoint that is accepted."""
        self.submit(name, author, **options)
        self.score(name, report)


def varied(report: ScoreReport = GOOD, **changes: int) -> ScoreReport:
    """A report with other components."""
    return replace(report, **changes)  # type: ignore[arg-type]
