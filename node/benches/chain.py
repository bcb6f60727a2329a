"""How many signed transfers one process executes and commits in a second, and what they leave in memory and on disk.

An embedded chain of one authority on a durable SQLite store. Every transfer is decoded, its signature verified, checked
against the state, proposed, executed, put into a signed and certified block with a Merkle root, and written with its
events and indices; `Chain.produce` returns when the disk has it. Senders and receivers are drawn from all accounts.
"""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from node.benches.figures import Figure, Stopwatch, memory_size_bytes, verification_rate
from pdfedchain.chain import Chain, single_genesis
from pdfedchain.codec import encode
from pdfedchain.crypto import SigningKey, tagged_hash
from pdfedchain.errors import UsageError
from pdfedchain.ids import Address
from pdfedchain.state import Ledger
from pdfedchain.store.sqlite import SqliteStore
from pdfedchain.types.genesis import Genesis
from pdfedchain.types.ledger import Allocation, Deadline, LedgerGenesis, LedgerParameters
from pdfedchain.types.transaction import SignedTransaction, Transaction, Transfer

__all__ = ["bench_chain", "draw_transfers", "transfer_genesis"]

#: Of the accounts, so many send; the others only receive. Making a key costs as much as verifying a signature.
_SENDERS_MAX: Final = 2_000

#: Transfers of one block: nearly what fits the default block of two megabytes.
_BLOCK_TRANSFERS: Final = 9_000

#: Signatures that the reference rate is measured on, before and after.
_VERIFICATIONS: Final = 4_000

#: Transfers that py-evm executes for comparison; it needs a hundred times as long.
_ETH_TRANSFERS_MAX: Final = 300

_MILLION: Final = 1_000_000


def bench_chain(transfers: int, accounts: int, eth_tester_python: Path | None = None) -> list[Figure]:
    """Measure.

    Args:
        accounts: in the state before the first transfer.
        eth_tester_python: an interpreter that has ``eth-tester`` and ``py-evm``, to execute transfers of the same
            pattern in the same run.

    Raises:
        UsageError: that interpreter cannot do it.
    """
    generator = random.Random(accounts)  # noqa: S311 - a workload, not a secret
    key, senders = (
        SigningKey.generate(),
        [SigningKey(generator.randbytes(32)) for _ in range(min(accounts, _SENDERS_MAX))],
    )
    others = [Address(tagged_hash("pdfed/bench/v1", i.to_bytes(8, "big"))) for i in range(accounts - len(senders))]
    addresses = [*(sender.address for sender in senders), *others]
    genesis = transfer_genesis(key, addresses)
    signed = draw_transfers(genesis, senders, addresses, transfers, generator)
    encoded = [encode(each) for each in signed]
    # What is not measured is out of the garbage collector's sight: only the bytes to submit are kept.
    sample = signed[: max(_VERIFICATIONS, _ETH_TRANSFERS_MAX)]
    del signed
    before = verification_rate(sample)
    with tempfile.TemporaryDirectory(prefix="pdfed-bench-") as directory:
        path = Path(directory) / "chain.db"
        checking, producing = Stopwatch(), Stopwatch()
        with closing(SqliteStore(path)) as store:
            chain = Chain.create(genesis, key, store=store)
            empty_size_bytes, memory_sizes_bytes = _size_bytes(path), [memory_size_bytes()]
            for start in range(0, transfers, _BLOCK_TRANSFERS):
                with checking:
                    for transaction in encoded[start : start + _BLOCK_TRANSFERS]:
                        chain.submit(transaction)
                with producing:
                    while chain.waiting:
                        chain.produce()
                memory_sizes_bytes.append(memory_size_bytes())
            blocks = chain.height
            executed = sum(1 for _ in store.events(from_height=1, kind="transferred"))
            assert executed == transfers, f"{executed} of {transfers} transfers were executed"
        grown_size_bytes = _size_bytes(path) - empty_size_bytes
    verifications = (before + verification_rate(sample)) / 2
    cpu_s, wall_s = checking.cpu_s + producing.cpu_s, checking.wall_s + producing.wall_s
    shape = f"{transfers} transfers in {blocks} blocks, {accounts} accounts"
    reference = f"{verifications:.0f} Ed25519 verifications per second of one thread"
    figures = [
        Figure("transfers per CPU second", transfers / cpu_s, "1/s", reference, transfers / cpu_s / verifications),
        Figure("transfers per second", transfers / wall_s, "1/s", reference, transfers / wall_s / verifications),
        Figure(
            "checking", 1e6 * checking.cpu_s / transfers, "us of CPU per transfer", f"{shape}; one verification each"
        ),
        Figure("executing and committing", 1e6 * producing.cpu_s / transfers, "us of CPU per transfer", shape),
        Figure("disk", grown_size_bytes / transfers, "MB per million transfers", f"extrapolated from {transfers}"),
        Figure("memory", memory_sizes_bytes[0] / 1e6, "MB", f"resident with {accounts} accounts, before any transfer"),
        _memory_growth(memory_sizes_bytes),
    ]
    if eth_tester_python is not None:
        count = min(transfers, _ETH_TRANSFERS_MAX)
        figures.append(_beside_eth_tester(eth_tester_python, sample[:count], transfers / cpu_s))
    return figures


def transfer_genesis(key: SigningKey, addresses: Sequence[Address]) -> Genesis:
    """A chain of one authority on which everybody has units to send."""
    deadline = Deadline(1, 1)
    ledger = LedgerGenesis(
        parameters=LedgerParameters(False, deadline, deadline, deadline, deadline),
        allocations=tuple(Allocation(address, 10**9) for address in addresses),
        participants=(),
        tasks=(),
    )
    return single_genesis(Ledger(), key, application_state=encode(ledger))


def draw_transfers(
    genesis: Genesis,
    senders: Sequence[SigningKey],
    receivers: Sequence[Address],
    count: int,
    generator: random.Random,
) -> list[SignedTransaction]:
    """Transfers of one unit between accounts drawn evenly, each sender's in order of nonce."""
    nonces = dict.fromkeys((sender.address for sender in senders), 0)
    signed = []
    for _ in range(count):
        sender = generator.choice(senders)
        payload = Transfer(generator.choice(receivers), 1)
        signed.append(Transaction(genesis.chain_id, sender.address, nonces[sender.address], payload).sign(sender))
        nonces[sender.address] += 1
    return signed


def _memory_growth(sizes_bytes: Sequence[int]) -> Figure:
    """Per transfer, from the first block to the last: what one block needs for a while is there after the first."""
    transfers = (len(sizes_bytes) - 2) * _BLOCK_TRANSFERS
    grown = 0.0 if transfers <= 0 else (sizes_bytes[-1] - sizes_bytes[1]) / transfers
    return Figure("memory growth", grown, "MB per million transfers", f"extrapolated from {max(transfers, 0)}")


def _size_bytes(database: Path) -> int:
    """Of the file itself, with the write-ahead log written back into it."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return database.stat().st_size


def _beside_eth_tester(python: Path, signed: Sequence[SignedTransaction], own_rate: float) -> Figure:
    """The same transfers, by index of sender and receiver, on the Ethereum project's chain for tests."""
    numbers: dict[bytes, int] = {}
    transfers = [
        [
            numbers.setdefault(address, len(numbers))
            for address in (each.transaction.sender, each.transaction.payload.to)
        ]
        for each in signed
        if isinstance(each.transaction.payload, Transfer)
    ]
    script = Path(__file__).with_name("eth_tester_transfers.py")
    try:
        output = subprocess.run(
            [str(python), str(script)],
            input=json.dumps({"accounts": len(numbers), "transfers": transfers}),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        detail = getattr(error, "stderr", "") or str(error)
        raise UsageError(
            f"{python} cannot run the comparison: {detail.strip().splitlines()[-1]}",
            hint="`make bench-eth` sets up an environment that can",
        ) from error
    found: dict[str, Any] = json.loads(output)
    rate = len(transfers) / float(found["cpu_s"])
    reference = (
        f"eth-tester {found['eth_tester']} on py-evm {found['py_evm']}: {rate:.1f}/s of {len(transfers)} transfers"
    )
    return Figure("transfers beside eth-tester", own_rate, "1/s of CPU", reference, own_rate / rate)
