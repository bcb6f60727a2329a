"""Several nodes in one process: real consensus, ledger, duties and transfers over memory hosts; only torch is faked."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import trio

from node.authority import AuthorityDuties
from node.ballot_book import BallotBook
from node.config import SyncConfig
from node.core import Node, NodeParts
from node.host.interface import Host
from node.memory_host import MemoryNetwork
from node.outbox import Outbox
from node.participant import Participant, ParticipantSettings
from node.strategy import strategy_named
from node.telemetry import Activity
from node.weights.store import WeightsStore
from pdfedchain.codec import decode, encode
from pdfedchain.crypto import SigningKey
from pdfedchain.ids import Hash
from pdfedchain.state import Ledger
from pdfedchain.state.onion import new_onion
from pdfedchain.store.interface import Store
from pdfedchain.store.memory import MemoryStore
from pdfedchain.store.signer import MemorySigner
from pdfedchain.store.wal import MemoryLog
from pdfedchain.types.economy import FREE, UNREWARDED
from pdfedchain.types.genesis import Genesis
from pdfedchain.types.governance import AuthorityOnion
from pdfedchain.types.ledger import LedgerGenesis
from pdfedchain.types.score import ScoringSpec
from pdfedchain.types.transaction import Role
from tests.support.fake_worker import FakeWorker
from tests.support.ledger import ECONOMY, REWARDS, SCORING, small_genesis, small_task

KEYS = tuple(SigningKey(bytes([index + 1]) * 32) for index in range(7))


@dataclass(frozen=True)
class Cast:
    """What a test replaces, by index of the node."""

    workers: Mapping[int, FakeWorker]
    duties: Mapping[int, type[AuthorityDuties]]
    participants: Mapping[int, type[Participant]]


@dataclass
class MemoryTestnet:
    """Running nodes, and what they have in common."""

    genesis: Genesis
    network: MemoryNetwork
    nodes: list[Node]

    async def wait(self, condition: Callable[[Node], bool], *, timeout_s: float = 120.0) -> None:
        """Return when ``condition`` holds of every node."""
        with trio.fail_after(timeout_s):
            while not all(condition(node) for node in self.nodes):
                await trio.sleep(0.02)


@asynccontextmanager
async def memory_testnet(
    directory: Path,
    *,
    nodes: int = 4,
    trainers: int = 2,
    authorities: int | None = None,
    onion_length: int | None = None,
    heartbeat_ms: int = 2_000,
    running: Sequence[int] | None = None,
    workers: Mapping[int, FakeWorker] | None = None,
    duties: Mapping[int, type[AuthorityDuties]] | None = None,
    participants: Mapping[int, type[Participant]] | None = None,
    snapshot_interval: int = 100,
    keep_blocks: int = 0,
    money: bool = False,
    scoring_ms: int = 60_000,
    scoring: ScoringSpec = SCORING,
) -> AsyncIterator[MemoryTestnet]:
    """Nodes 0 to ``nodes - 1``; the first ``trainers`` train, all evaluate.

    Args:
        authorities: how many of them are, from the first on; all if not given.
        onion_length: of the authorities' onions; they have none if not given.
        heartbeat_ms: of an idle chain.
        running: indices of the nodes that are started; all if not given.
        snapshot_interval, keep_blocks: see `SyncConfig`.
        money: whether submissions and ballots cost and earn something.
        scoring: of the task.
        scoring_ms: how long weights may be fetched, and scored; a busy machine is not to be taken for a lost node.
    """
    cast = Cast(workers or {}, duties or {}, participants or {})
    count = nodes if authorities is None else authorities
    genesis = _with_onions(
        _genesis(directory, count, money=money, scoring_ms=scoring_ms, scoring=scoring), KEYS[:count], onion_length
    )
    genesis = replace(genesis, parameters=replace(genesis.parameters, heartbeat_idle_ms=heartbeat_ms))
    network = MemoryNetwork()
    async with AsyncExitStack() as stack:
        hosts: dict[int, Host] = {}
        for index in range(nodes) if running is None else running:
            hosts[index] = await stack.enter_async_context(network.open_host(bytes([100 + index]) * 32))
        addresses = [host.addresses[0] for host in hosts.values()]
        testnet = MemoryTestnet(genesis, network, [])
        for index, host in hosts.items():
            roles = Role.TRAINER | Role.EVALUATOR if index < trainers else Role.EVALUATOR
            worker = cast.workers.get(index) or FakeWorker(directory / "logs", delay_s=0.05)
            parts = _parts(directory, index, genesis, host, addresses, roles, worker)
            sync = SyncConfig(snapshot_interval=snapshot_interval, keep_blocks=keep_blocks)
            parts = replace(parts, sync=sync)
            testnet.nodes.append(
                Node(
                    parts,
                    duties=cast.duties.get(index, AuthorityDuties),
                    participant=cast.participants.get(index, Participant),
                )
            )
        async with trio.open_nursery() as nursery:
            for node in testnet.nodes:
                nursery.start_soon(node.run)
            yield testnet
            nursery.cancel_scope.cancel()


def _with_onions(genesis: Genesis, keys: Sequence[SigningKey], length: int | None) -> Genesis:
    if length is None:
        return genesis
    onions = tuple(AuthorityOnion(key.address, new_onion(key, length)) for key in keys)
    ledger = decode(LedgerGenesis, genesis.application_state, size_bytes_max=1_000_000)
    return replace(genesis, application_state=encode(replace(ledger, onions=onions)))


def _genesis(directory: Path, nodes: int, *, money: bool, scoring_ms: int, scoring: ScoringSpec) -> Genesis:
    """A genesis whose public parts lie in the first node's weights; the others fetch them."""
    store = WeightsStore(directory / "home0" / "weights")
    cids = []
    for name in ("reference", "scorer"):
        folder = directory / "public" / name
        folder.mkdir(parents=True)
        (folder / "data.bin").write_bytes(name.encode() * 100)
        cids.append(store.add_folder(folder))
    task = replace(small_task(*cids, rewards=REWARDS if money else UNREWARDED), scoring=scoring)
    authorities = [key.address for key in KEYS[:nodes]]
    return small_genesis(authorities, task, economy=ECONOMY if money else FREE, scoring_ms=scoring_ms)


def _parts(
    directory: Path,
    index: int,
    genesis: Genesis,
    host: Host,
    addresses: Sequence[str],
    roles: Role,
    worker: FakeWorker,
) -> NodeParts:
    home = directory / f"home{index}"
    (home / "private").mkdir(parents=True)
    store = MemoryStore()
    store.initialise(genesis, Ledger().genesis_state(genesis))
    settings = ParticipantSettings(
        name=f"node{index}",
        roles=roles,
        strategy=strategy_named("best-of-others"),
        data=home / "private",
        data_commitment=Hash(bytes([index + 1]) * 32),
        private=home / "private",
        steps=10,
        batch_size=4,
        learning_rate_nano=1_000,
        pause_s=0.05,
    )
    return NodeParts(
        genesis=genesis,
        key=KEYS[index],
        store=store,
        log=MemoryLog(),
        signer=MemorySigner(),
        host=host,
        addresses=tuple(addresses),
        weights=WeightsStore(home / "weights"),
        folders=home / "folders",
        book=BallotBook(":memory:"),
        activity=Activity(home / "activity.json"),
        scorer=worker,
        trainer=worker,
        device="cpu",
        participant=settings,
        outbox=Outbox(home / "outbox"),
    )


def observer_parts(directory: Path, genesis: Genesis, host: Host, addresses: Sequence[str], store: Store) -> NodeParts:
    """A node that neither votes nor takes part, with a store that has begun."""
    home = directory / "observer"
    home.mkdir()
    worker = FakeWorker(directory / "logs")
    return NodeParts(
        genesis=genesis,
        key=SigningKey(bytes([99]) * 32),
        store=store,
        log=MemoryLog(),
        signer=None,
        host=host,
        addresses=tuple(addresses),
        weights=WeightsStore(home / "weights"),
        folders=home / "folders",
        book=BallotBook(":memory:"),
        activity=Activity(home / "activity.json"),
        scorer=worker,
        trainer=worker,
        device="cpu",
        participant=None,
    )
