"""What it costs to be convinced, and to join: light bundles and snapshots, beside executing the whole chain again.

An embedded chain of one authority makes blocks of transfers. Then one account's balance is proven to somebody who
trusts one hash, and the whole state is handed to an empty SQLite store, chunk by chunk as nodes do, but without a
network.
"""

from __future__ import annotations

import random
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Final

from node.benches.chain import draw_transfers, transfer_genesis
from node.benches.figures import Figure, Stopwatch
from pdfedchain.audit import verify_chain
from pdfedchain.chain import Chain
from pdfedchain.codec import decode, encode
from pdfedchain.crypto import SigningKey, tagged_hash
from pdfedchain.ids import Address
from pdfedchain.light import LightBlock, LightClient, StateAssembly, verify_bundle
from pdfedchain.limits import LIGHT_BLOCK_SIZE_BYTES_MAX
from pdfedchain.proving import light_bundle
from pdfedchain.snapshot import restore, take_snapshot
from pdfedchain.state import Ledger
from pdfedchain.state.view import ACCOUNT_PREFIX
from pdfedchain.store.sqlite import SqliteStore

__all__ = ["bench_proofs"]

_SENDERS_MAX: Final = 200
_BLOCK_TRANSFERS: Final = 100
_VERIFICATIONS: Final = 100
_MEBI: Final = 2**20


def bench_proofs(transfers: int, accounts: int) -> list[Figure]:
    """Measure.

    Args:
        transfers: how many the chain executes, 100 in a block.
        accounts: in the state from the start.
    """
    generator = random.Random(accounts)  # noqa: S311 - a workload, not a secret
    key = SigningKey.generate()
    senders = [SigningKey(generator.randbytes(32)) for _ in range(min(accounts, _SENDERS_MAX))]
    others = [Address(tagged_hash("pdfed/bench/v1", i.to_bytes(8, "big"))) for i in range(accounts - len(senders))]
    addresses = [*(sender.address for sender in senders), *others]
    genesis = transfer_genesis(key, addresses)
    chain = Chain.create(genesis, key)
    signed = [encode(each) for each in draw_transfers(genesis, senders, addresses, transfers, generator)]
    for start in range(0, transfers, _BLOCK_TRANSFERS):
        for transaction in signed[start : start + _BLOCK_TRANSFERS]:
            chain.submit(transaction)
        chain.produce()
    executing = Stopwatch()
    with executing:
        assert list(verify_chain(chain.store, Ledger())) == [], "what was just made is without fault"
    shape = f"{transfers} transfers in {chain.height} blocks, {accounts} accounts"
    return [
        *_proving(chain, ACCOUNT_PREFIX + addresses[0], executing, shape),
        *_joining(chain, executing, shape),
    ]


def _proving(chain: Chain, key: bytes, executing: Stopwatch, shape: str) -> list[Figure]:
    making, believing = Stopwatch(), Stopwatch()
    header = chain.store.light_block(1)
    now_ms = chain.store.light_block(chain.height).header.time_ms
    from_header = encode(light_bundle(chain.store, [key], from_height=1))
    from_genesis = encode(light_bundle(chain.store, [key]))
    for _ in range(_VERIFICATIONS):
        with making:
            encode(light_bundle(chain.store, [key], from_height=1))
        with believing:
            verify_bundle(from_header, header.hash, now_ms=now_ms)
    believing_s = believing.cpu_s / _VERIFICATIONS
    executed = f"executing the chain again {executing.cpu_s:.2f} s; {shape}"
    return [
        Figure("bundle from a header", len(from_header), "bytes", "one balance, one authority"),
        Figure("bundle from genesis", len(from_genesis), "bytes", "genesis lists all accounts"),
        Figure("making a bundle", 1e3 * making.cpu_s / _VERIFICATIONS, "ms of CPU", "from a header"),
        Figure("believing a balance", 1e3 * believing_s, "ms of CPU", executed, believing_s / executing.cpu_s),
    ]


def _joining(chain: Chain, executing: Stopwatch, shape: str) -> list[Figure]:
    serving, checking, writing = Stopwatch(), Stopwatch(), Stopwatch()
    genesis = chain.genesis
    now_ms = chain.store.light_block(chain.height).header.time_ms
    snapshot = take_snapshot(chain.store)
    with serving:
        blocks, manifest = snapshot.blocks(), snapshot.manifest()
        chunks = [snapshot.chunk(index) for index in range(snapshot.chunks())]
    with checking:
        client = LightClient.from_genesis(encode(genesis), genesis.hash)
        for block in blocks:
            client.follow(block, now_ms=now_ms)
        assembly = StateAssembly(client.head, manifest)
        for index in assembly.missing:
            assembly.add(index, chunks[index])
    followed = [decode(LightBlock, block, size_bytes_max=LIGHT_BLOCK_SIZE_BYTES_MAX) for block in blocks]
    with (
        tempfile.TemporaryDirectory(prefix="pdfed-bench-") as directory,
        closing(SqliteStore(Path(directory) / "chain.db")) as store,
    ):
        with writing:
            restore(store, genesis, followed, client, assembly)
        assert store.state().root == chain.state.root, "the restored state is the chain's"
    size_bytes = sum(map(len, (*blocks, manifest, *chunks)))
    joining_s = checking.cpu_s + writing.cpu_s
    executed = f"executing the chain again {executing.cpu_s:.2f} s; {shape}"
    return [
        Figure("snapshot", size_bytes / _MEBI, "MiB", f"{len(chunks)} chunks"),
        Figure("serving a snapshot", serving.cpu_s, "s of CPU", "cut and encoded once"),
        Figure("checking a snapshot", checking.cpu_s, "s of CPU", "manifest and chunks against the header"),
        Figure("writing a snapshot", writing.cpu_s, "s of CPU", "one transaction, durable"),
        Figure("joining", joining_s, "s of CPU", executed, joining_s / executing.cpu_s),
    ]
