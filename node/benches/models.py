"""What scoring and training cost on this machine, with the task and the data of a home."""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path

import trio

from node.benches.figures import Figure
from node.home import Home
from node.private_data import IMAGES_FILE
from node.reader import open_reader
from node.weights.store import WeightsStore
from node.workers import Worker
from pdfedchain.errors import UsageError
from pdfedchain.ids import Hash
from pdfedchain.types.checkpoint import Checkpoint
from pdfedchain.types.jobs import Score, Scored, Train, Trained
from pdfedchain.types.task import TaskSpec

__all__ = ["bench_score", "bench_train"]


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
