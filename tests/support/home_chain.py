"""A home directory with a real chain of one authority in it, made without a network and without torch."""

from collections.abc import Sequence
from pathlib import Path

from node.config import NodeRole
from node.genesis_file import GenesisFile, save_genesis_file
from node.new_home import create_home
from node.weights.store import WeightsStore
from pdfedchain.codec import decode, encode
from pdfedchain.consensus.blocks import build_block, position_after, position_at_start
from pdfedchain.crypto import hash_of, tagged_hash
from pdfedchain.ids import Cid, Hash
from pdfedchain.state import Ledger
from pdfedchain.state.view import LedgerView
from pdfedchain.store.sqlite import SqliteStore
from pdfedchain.types.ballot import BallotKind, Outcome, commitment_of
from pdfedchain.types.checkpoint import Checkpoint, CheckpointStatus
from pdfedchain.types.economy import FREE, UNREWARDED
from pdfedchain.types.ledger import LedgerGenesis
from pdfedchain.types.score import ScoreReport
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
from tests.pdfedchain.chain_world import certified
from tests.support.fake_worker import digest_of, report_of
from tests.support.ledger import ECONOMY, REWARDS, small_genesis, small_task

SALT = b"s" * 32
CLAIM = TrainingClaim(30, 64, 3_000_000, 1_920, Hash(bytes(32)))


class HomeChain:
    """One authority that trains, scores and makes blocks; its weights are small files of chosen bytes."""

    def __init__(self, directory: Path, *, name: str = "alice", money: bool = False) -> None:
        self.home, card = create_home(
            directory,
            name=name,
            roles=(NodeRole.AUTHORITY, NodeRole.TRAINER),
            listen="/ip4/127.0.0.1/tcp/4610",
        )
        self.key = self.home.account_key()
        self.weights = WeightsStore(self.home.weights_dir)
        self.scratch = self.home.path / "scratch"
        rewards, economy = (REWARDS, ECONOMY) if money else (UNREWARDED, FREE)
        self.task = small_task(self.add_folder("reference"), self.add_folder("scorer"), rewards=rewards)
        self.genesis = small_genesis([card.address], self.task, chain_id="home", economy=economy)
        ledger = decode(LedgerGenesis, self.genesis.application_state, size_bytes_max=10**6)
        save_genesis_file(self.home.genesis_path, GenesisFile(self.genesis, ledger, (card.dial,)))
        self.results: dict[Cid, Outcome] = {}
        self.ledger = Ledger(self.results.get)
        state = self.ledger.genesis_state(self.genesis)
        self.position = position_at_start(self.genesis, state)
        self.store = SqliteStore(self.home.chain_db)
        self.store.initialise(self.genesis, state)

    @property
    def view(self) -> LedgerView:
        return LedgerView(self.position.state)

    def close(self) -> None:
        """Release the database, as a stopped node does."""
        self.store.close()

    def add_folder(self, content: str) -> Cid:
        """Put a folder with one small file into the weights."""
        folder = self.scratch / content
        folder.mkdir(parents=True)
        (folder / "weights.bin").write_bytes(content.encode() * 100)
        return self.weights.add_folder(folder)

    def block(self, *payloads: Payload, later_ms: int = 0) -> None:
        """Make the next block with these transactions and whatever can be settled; so much later than it could be."""
        nonce = self.view.account(self.key.address).nonce
        candidates = []
        for payload in payloads:
            ordered = not isinstance(payload, WithoutNonce)
            transaction = Transaction("home", self.key.address, nonce if ordered else 0, payload)
            candidates.append(encode(transaction.sign(self.key)))
            nonce += ordered
        self.include(candidates, later_ms=later_ms)

    def include(self, candidates: Sequence[bytes], *, later_ms: int = 0) -> None:
        """The same with transactions that are signed already."""
        position = self.position
        block, execution = build_block(
            self.ledger,
            position,
            round_=0,
            time_ms=position.time_ms_min + later_ms,
            proposer=self.key.address,
            candidates=candidates,
        )
        assert len(block.body.transactions) == len(candidates), "every transaction finds its place"
        final = certified(block, position.authorities, [self.key])
        self.store.commit(final, execution)
        self.position = position_after(self.ledger, self.genesis, final, execution)

    def register(self) -> None:
        """Register as trainer and evaluator."""
        self.block(Register(self.home.path.name, 3, Hash(bytes(32)), self.key.address, ""))

    def submit(self, name: str, *parents: Cid) -> Cid:
        """Offer a checkpoint whose weights say ``name``."""
        cid = self.add_folder(name)
        digest = digest_of(self.scratch / name)
        self.block(SubmitCheckpoint(hash_of(self.task), cid, digest, 100, parents, CLAIM))
        return cid

    def settle(self, cid: Cid, outcome: Outcome | None = None) -> Checkpoint:
        """Hold, score and settle; with what the fake worker finds unless another outcome is given."""
        self.block(Have(cid, self.checkpoint(cid).submitted_height))
        self.block()
        checkpoint = self.checkpoint(cid)
        assert checkpoint.seed is not None
        found = outcome or self.recomputed(checkpoint)
        self.results[cid] = found
        sealed = commitment_of("home", cid, self.key.address, BallotKind.SCORE, found, SALT)
        self.block(CommitBallot(cid, checkpoint.submitted_height, BallotKind.SCORE, sealed))
        self.block(RevealBallot(cid, BallotKind.SCORE, found, SALT))
        self.block()
        settled = self.checkpoint(cid)
        assert settled.status in (CheckpointStatus.ACCEPTED, CheckpointStatus.REJECTED)
        return settled

    def recomputed(self, checkpoint: Checkpoint) -> ScoreReport:
        """What `FakeWorker` answers to a score job."""
        assert checkpoint.seed is not None
        return report_of(checkpoint.weights_digest, checkpoint.seed, self.task.scoring.n)

    def checkpoint(self, cid: Cid) -> Checkpoint:
        found = self.view.checkpoint(cid)
        assert found is not None
        return found


def unknown_cid() -> Cid:
    """An identifier that no chain has."""
    return Cid(b"\x01\x70\x12\x20" + tagged_hash("test/unknown"))
