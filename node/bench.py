"""Measured figures of this machine, each beside what it is to be judged by, taken in the same run.

A figure alone says as much about the machine as about the program. The chain's throughput therefore stands beside the
rate at which the same process verifies Ed25519 signatures, and a scoring's time beside its number of network
evaluations. Nothing here asserts; the figures are for people.
"""

from __future__ import annotations

import os
import platform
import secrets
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from node.home import Home
from node.private_data import IMAGES_FILE
from node.reader import open_reader
from node.weights.store import WeightsStore
from node.workers import Worker
from pdfedchain.chain import Chain, single_genesis
from pdfedchain.codec import encode
from pdfedchain.crypto import SigningKey
from pdfedchain.errors import UsageError
from pdfedchain.ids import Hash
from pdfedchain.state import Ledger
from pdfedchain.store.sqlite import SqliteStore
from pdfedchain.types.checkpoint import Checkpoint
from pdfedchain.types.jobs import Score, Scored, Train, Trained
from pdfedchain.types.ledger import Allocation, Deadline, LedgerGenesis, LedgerParameters
from pdfedchain.types.task import TaskSpec
from pdfedchain.types.transaction import SignedTransaction, Transaction, Transfer

__all__ = ["Figure", "bench_chain", "bench_score", "bench_train", "machine"]

_SENDERS = 50


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement.

    Attributes:
        reference: what it stands beside, in words with its value; empty where there is nothing to compare with.
        ratio: value over the reference's value; ``None`` likewise.
    """

    name: str
    value: float
    unit: str
    reference: str = ""
    ratio: float | None = None

    def to_plain(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "reference": self.reference,
            "ratio": self.ratio,
        }


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def bench_chain(transfers: int) -> list[Figure]:
    """Signed transfers executed and committed to SQLite by one process with one authority."""
    key = SigningKey.generate()
    senders = [SigningKey.generate() for _ in range(_SENDERS)]
    deadline = Deadline(1, 1)
    ledger = LedgerGenesis(
        parameters=LedgerParameters(False, deadline, deadline, deadline, deadline),
        allocations=tuple(Allocation(sender.address, 10**9) for sender in senders),
        participants=(),
        tasks=(),
    )
    genesis = single_genesis(Ledger(), key, application_state=encode(ledger))
    signed = [
        Transaction(genesis.chain_id, sender.address, number, Transfer(key.address, 1)).sign(sender)
        for number in range(-(-transfers // _SENDERS))
        for sender in senders
    ]
    with tempfile.TemporaryDirectory(prefix="pdfed-bench-") as directory:
        path = Path(directory) / "chain.db"
        with closing(SqliteStore(path)) as store:
            chain = Chain.create(genesis, key, store=store)
            started = time.perf_counter()
            for transaction in signed:
                chain.submit(encode(transaction))
            while chain.waiting:
                chain.produce()
            rate = len(signed) / (time.perf_counter() - started)
            assert chain.query(b"account/" + key.address) is not None, "the transfers were executed"
        size_bytes = sum(part.stat().st_size for part in Path(directory).iterdir())
    verifications = _verification_rate(signed)
    reference = f"{verifications:.0f} Ed25519 verifications per second in the same process"
    return [
        Figure("transfers", rate, "1/s", reference, rate / verifications),
        Figure("disk", size_bytes / len(signed), "B per transfer"),
    ]


def _verification_rate(signed: list[SignedTransaction]) -> float:
    started = time.perf_counter()
    for transaction in signed:
        transaction.verify()
    return len(signed) / (time.perf_counter() - started)


def bench_score(home: Home) -> list[Figure]:
    """One consensus score of the best checkpoint, in a worker that has scored before, on one thread."""
    result = trio.run(_score_twice, home)
    task = _best(home)[1]
    evaluations = task.scoring.n * task.scoring.sampling_steps
    return [
        Figure("score", result.wall_ms / 1_000, "s", f"{task.scoring.n} images, {task.scoring.profile.value}"),
        Figure("sampling", result.sample_ms / evaluations, "ms per network evaluation of one image"),
        Figure("features", result.feature_ms / task.scoring.n, "ms per image, search and verification included"),
    ]


def bench_train(home: Home, steps: int) -> list[Figure]:
    """Optimiser steps per second on this home's private images, on one thread."""
    batch_size = home.config().training.batch_size
    result = trio.run(_train, home, steps, batch_size)
    rate = 1_000 * result.steps / result.wall_ms
    return [Figure("training", rate, "steps/s", f"batches of {batch_size}")]


def _best(home: Home) -> tuple[Checkpoint, TaskSpec]:
    with open_reader(home) as reader:
        best = reader.best()
        if best is None:
            raise UsageError(f"{home.path} has no accepted checkpoint", hint="run `pdfed testnet` first")
        return best, reader.task(best.task)


async def _score_twice(home: Home) -> Scored:
    best, task = _best(home)
    store = WeightsStore(home.weights_dir)
    with tempfile.TemporaryDirectory(prefix="pdfed-bench-") as name:
        folders = {
            cid: Path(name) / str(index) for index, cid in enumerate((best.weights, task.reference, task.scorer))
        }
        for cid, folder in folders.items():
            await trio.to_thread.run_sync(store.export, cid, folder)
        assert best.seed is not None, "what was scored has a seed"
        request = Score(
            task.model,
            task.scoring,
            str(folders[best.weights]),
            best.weights_digest,
            str(folders[task.reference]),
            str(folders[task.scorer]),
            best.seed,
            home.config().training.device,
        )
        async with Worker("bench", home.logs_dir) as worker:
            await worker.run(request)
            result = await worker.run(request)
    assert isinstance(result, Scored), "a score job answers with a score"
    return result


async def _train(home: Home, steps: int, batch_size: int) -> Trained:
    task = _best(home)[1]
    config = home.config()
    data = home.data_dir(config)
    if not (data / IMAGES_FILE).exists():
        raise UsageError(f"{data} holds no private images", hint="measure with the home of a trainer")
    with tempfile.TemporaryDirectory(prefix="pdfed-bench-") as name:
        request = Train(
            model=task.model,
            parents=(),
            data=(str(data),),
            exclude=(),
            output=str(Path(name) / "checkpoint"),
            steps=steps,
            batch_size=batch_size,
            learning_rate_nano=config.training.learning_rate_nano,
            seed=Hash(secrets.token_bytes(32)),
            device=config.training.device,
        )
        async with Worker("bench", home.logs_dir) as worker:
            result = await worker.run(request)
    assert isinstance(result, Trained), "a training job answers with what it trained"
    return result
