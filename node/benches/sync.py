"""How fast a node catches up, beside how fast it could verify the signatures alone.

Four authorities in this process make a chain: real blocks of transfers with certificates of a quorum, without rounds or
a network, since only the result is wanted. Then a node that follows applies them, as it does with what it pulls:
decodes, verifies the certificate, verifies and executes every transfer, compares the state's root, and commits to
SQLite in batches of the size in which nodes pull. What no node can do without is one verification for every signature;
the bound is that many verifications.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final

from node.benches.chain import draw_transfers
from node.benches.figures import Figure, Stopwatch, verification_rate
from node.sync import BATCH_BLOCKS_MAX
from pdfedchain.codec import decode, encode
from pdfedchain.consensus.blocks import build_block, position_after, position_at_start
from pdfedchain.consensus.replica import Replica
from pdfedchain.crypto import SigningKey
from pdfedchain.ids import Hash
from pdfedchain.state import Ledger
from pdfedchain.store.sqlite import SqliteStore
from pdfedchain.store.wal import MemoryLog
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.block import FINAL_BLOCK_SIZE_BYTES_MAX, FinalBlock
from pdfedchain.types.genesis import ChainParameters, Genesis
from pdfedchain.types.ledger import Allocation, Deadline, LedgerGenesis, LedgerParameters
from pdfedchain.types.transaction import SignedTransaction
from pdfedchain.types.vote import Certificate, Vote, VoteKind

__all__ = ["bench_sync"]

_AUTHORITIES: Final = 4
_QUORUM: Final = 3
_SENDERS: Final = 500
_START_MS: Final = 1_700_000_000_000

#: Blocks that are made, then applied, at a time: so many fit in memory.
_BLOCKS_AT_ONCE: Final = 500

_VERIFICATIONS: Final = 2_000


def bench_sync(blocks: int, transfers_per_block: int) -> list[Figure]:
    """Measure."""
    generator = random.Random(blocks)  # noqa: S311 - a workload, not a secret
    keys = [SigningKey(generator.randbytes(32)) for _ in range(_AUTHORITIES)]
    senders = [SigningKey(generator.randbytes(32)) for _ in range(_SENDERS)]
    genesis = _genesis(keys, senders)
    receivers = [sender.address for sender in senders]
    signed = draw_transfers(genesis, senders, receivers, blocks * transfers_per_block, generator)
    sample = signed[:_VERIFICATIONS]
    before = verification_rate(sample)
    made = _chain(genesis, keys, signed, transfers_per_block)
    watch = Stopwatch()
    with (
        tempfile.TemporaryDirectory(prefix="pdfed-bench-") as directory,
        closing(SqliteStore(Path(directory) / "chain.db")) as store,
    ):
        store.initialise(genesis, Ledger().genesis_state(genesis))
        replica = Replica(
            application=Ledger(), store=store, log=MemoryLog(), signer=None, key=None, clock=lambda: _START_MS
        )
        replica.start()
        replica.begin_sync()
        signatures = 0
        for first in range(0, blocks, _BLOCKS_AT_ONCE):
            pulled = [next(made) for _ in range(min(_BLOCKS_AT_ONCE, blocks - first))]
            with watch:
                for start in range(0, len(pulled), BATCH_BLOCKS_MAX):
                    with store.batch():
                        for data in pulled[start : start + BATCH_BLOCKS_MAX]:
                            final = decode(FinalBlock, data, size_bytes_max=FINAL_BLOCK_SIZE_BYTES_MAX)
                            replica.apply_synced(final)
                            signatures += len(final.certificate.signatures) + len(final.block.body.transactions)
        assert store.height() == blocks
    rate = (before + verification_rate(sample)) / 2
    bound = blocks * rate / signatures
    shape = f"{blocks} blocks of {transfers_per_block} transfers, {signatures} signatures"
    reference = f"{bound:.0f}/s if verifying the signatures were all; {shape}"
    return [
        Figure("sync per CPU second", blocks / watch.cpu_s, "blocks/s", reference, blocks / watch.cpu_s / bound),
        Figure("sync per second", blocks / watch.wall_s, "blocks/s", reference, blocks / watch.wall_s / bound),
    ]


def _genesis(keys: list[SigningKey], senders: list[SigningKey]) -> Genesis:
    deadline = Deadline(1, 1)
    ledger = LedgerGenesis(
        parameters=LedgerParameters(False, deadline, deadline, deadline, deadline),
        allocations=tuple(Allocation(sender.address, 10**9) for sender in senders),
        participants=(),
        tasks=(),
    )
    members = AuthoritySet(0, tuple(key.address for key in keys))
    parameters = ChainParameters(block_interval_min_ms=1)
    return Genesis("bench", _START_MS, 1, members, parameters, Ledger.name, encode(ledger))


def _chain(
    genesis: Genesis, keys: list[SigningKey], signed: list[SignedTransaction], transfers_per_block: int
) -> Iterator[bytes]:
    """Encoded final blocks, made when asked for."""
    application = Ledger()
    position = position_at_start(genesis, application.genesis_state(genesis))
    by_address = {key.address: key for key in keys}
    for start in range(0, len(signed), transfers_per_block):
        block, execution = build_block(
            application,
            position,
            round_=0,
            time_ms=position.time_ms_min,
            proposer=position.authorities.proposer(position.height, 0),
            candidates=[encode(each) for each in signed[start : start + transfers_per_block]],
        )
        quorum = [by_address[address] for address in position.authorities.members[:_QUORUM]]
        certificate = Certificate.of(
            _precommit(genesis, position.authorities, block.header.height, block.hash, key) for key in quorum
        )
        final = FinalBlock(block, certificate)
        position = position_after(application, genesis, final, execution)
        yield encode(final)


def _precommit(genesis: Genesis, authorities: AuthoritySet, height: int, block: bytes, key: SigningKey) -> Vote:
    kind = VoteKind.PRECOMMIT
    unsigned = Vote(genesis.chain_id, authorities.set_id, height, 0, kind, Hash(block), key.address, bytes(64))
    return replace(unsigned, signature=key.sign(unsigned.signing_bytes()))
