"""Running the node of a home directory: opens what lies there, puts the node together, and closes everything again.

Imports libp2p, so only commands that need the network import this module.
"""

from __future__ import annotations

import logging
import time
from contextlib import AsyncExitStack, closing

import trio

from node.authority import AuthorityDuties
from node.ballot_book import BallotBook
from node.config import Config
from node.core import Node, NodeParts
from node.genesis_file import GenesisFile
from node.home import Home
from node.host.interface import Host
from node.host.libp2p_host import open_host
from node.host.neighbours import neighbours
from node.outbox import Outbox
from node.participant import Participant, ParticipantSettings
from node.private_data import data_commitment
from node.state_sync import sync_state
from node.strategy import strategy_named
from node.telemetry import Activity
from node.weights.store import WeightsStore
from node.workers import TRAINING_NICENESS, Worker, require_diffusion
from pdfedchain.consensus.ports import Signer
from pdfedchain.errors import UsageError
from pdfedchain.ids import address_text
from pdfedchain.state import Ledger
from pdfedchain.store.interface import Store
from pdfedchain.store.signer import SqliteSigner
from pdfedchain.store.sqlite import SqliteStore
from pdfedchain.store.wal import FileLog

__all__ = ["run_node"]

log = logging.getLogger(__name__)


async def run_node(
    home: Home,
    *,
    until_height: int | None = None,
    duties: type[AuthorityDuties] = AuthorityDuties,
    participant: type[Participant] = Participant,
) -> None:
    """Run one node until cancelled, or until its chain reaches a height.

    Args:
        duties, participant: replaced by tests that need a node which misbehaves.

    Raises:
        UsageError: the home, its configuration or its genesis cannot be used as they are.
        PortTaken: another program listens on the configured address.
        StateError: the disk failed, or what lies on it is damaged.
    """
    home.require()
    config, genesis = home.config(), home.genesis()
    if config.is_authority or config.participant_roles:
        require_diffusion("an authority, trainer or evaluator")
    with home.lock():
        async with AsyncExitStack() as stack:
            parts = await _open(home, config, genesis, stack)
            node = Node(parts, duties=duties, participant=participant)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(node.run)
                if config.network.mdns:
                    await stack.enter_async_context(neighbours(parts.host.addresses, node.add_peer))
                log.info("node %s listens on %s", config.node.name, ", ".join(parts.host.addresses))
                while until_height is None or node.head.height < until_height:
                    await node.head.wait_change(60.0)
                nursery.cancel_scope.cancel()


async def _open(home: Home, config: Config, genesis: GenesisFile, stack: AsyncExitStack) -> NodeParts:
    key = home.account_key()
    chain = genesis.genesis
    log_file = stack.enter_context(closing(FileLog(home.consensus_wal)))
    store = stack.enter_context(closing(SqliteStore(home.chain_db)))
    host = await stack.enter_async_context(
        open_host(home.network_key().seed, config.network.listen, providers=config.network.dht)
    )
    if store.genesis() is None:
        await _begin(home, config, genesis, host, store)
    found = store.genesis()
    if found is None or found.hash != chain.hash:
        raise UsageError(
            f"{home.chain_db} holds another chain than {home.genesis_path}",
            hint="put back the genesis.json of that chain, or use a new home directory",
        )
    home.private_dir.mkdir(exist_ok=True)
    signer: Signer | None = None
    if config.is_authority:
        if key.address not in store.next_authorities():
            log.warning(
                "%s is no authority of chain %s now: the node watches until it is one",
                address_text(key.address),
                chain.chain_id,
            )
        signer = stack.enter_context(
            closing(SqliteSigner(home.signer_db, chain_id=chain.chain_id, address=key.address))
        )
    return NodeParts(
        genesis=chain,
        key=key,
        store=store,
        log=log_file,
        signer=signer,
        host=host,
        addresses=home.peers(config, genesis),
        weights=WeightsStore(home.weights_dir, size_bytes_max=config.weights.size_bytes_max),
        folders=home.folders_dir,
        book=stack.enter_context(closing(BallotBook(home.ballots_db))),
        activity=Activity(home.activity_path),
        scorer=Worker("score", home.logs_dir),
        trainer=Worker("train", home.logs_dir, niceness=TRAINING_NICENESS),
        device=config.training.device,
        participant=_participant(home, config),
        sync=config.sync,
        outbox=Outbox(home.outbox_dir),
    )


async def _begin(home: Home, config: Config, genesis: GenesisFile, host: Host, store: Store) -> None:
    """Begin the chain of an empty home: by a snapshot from peers if that is wanted and to be had, else by genesis."""
    chain = genesis.genesis
    if config.sync.from_snapshot:
        peers = home.peers(config, genesis)
        if await sync_state(host, chain, peers, store, clock=lambda: time.time_ns() // 1_000_000) is not None:
            return
        log.warning("no peer offers a snapshot: beginning with genesis and fetching every block")
    store.initialise(chain, Ledger(own_results=lambda _: None).genesis_state(chain))


def _participant(home: Home, config: Config) -> ParticipantSettings | None:
    if not config.participant_roles:
        return None
    data, training = home.data_dir(config), config.training
    return ParticipantSettings(
        name=config.node.name,
        roles=config.participant_roles,
        strategy=strategy_named(config.participant.strategy),
        data=data,
        data_commitment=data_commitment(data, home.private_dir / "salt"),
        private=home.private_dir,
        steps=training.steps,
        batch_size=training.batch_size,
        learning_rate_nano=training.learning_rate_nano,
        pause_s=training.pause_s,
    )
