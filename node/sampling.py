"""A picture of a checkpoint: samples of every class, computed in a worker from a home's own weights."""

from __future__ import annotations

import tempfile
from pathlib import Path

import trio

from node.home import Home
from node.weights.store import WeightsStore
from node.workers import Worker
from pdfedchain.crypto import tagged_hash
from pdfedchain.errors import UsageError
from pdfedchain.types.checkpoint import Checkpoint
from pdfedchain.types.jobs import Sample, Sampled
from pdfedchain.types.task import TaskSpec

__all__ = ["IMAGE_PIXELS_MIN", "sample_grid"]

#: Images smaller than this are shown enlarged, by a whole factor.
IMAGE_PIXELS_MIN = 48


async def sample_grid(
    home: Home,
    checkpoint: Checkpoint,
    task: TaskSpec,
    target: Path,
    *,
    per_class: int = 8,
    device: str = "cpu",
    seed: int = 0,
) -> Sampled:
    """Write a PNG with one row per class.

    Args:
        target: file to make; an existing one is replaced.
        per_class: columns.

    Raises:
        NotFound: the weights are not in this home.
        JobError: they cannot be sampled here.
    """
    size = task.model.image_size
    with tempfile.TemporaryDirectory(prefix="pdfed-") as scratch:
        folder, picture = Path(scratch) / "checkpoint", Path(scratch) / "grid.png"
        await trio.to_thread.run_sync(WeightsStore(home.weights_dir).export, checkpoint.weights, folder)
        request = Sample(
            model=task.model,
            checkpoint=str(folder),
            weights_digest=checkpoint.weights_digest,
            per_class=per_class,
            sampling_steps=task.scoring.sampling_steps,
            scale=max(1, -(-IMAGE_PIXELS_MIN // size)),
            seed=tagged_hash("pdfed/sample-seed/v1", seed.to_bytes(8, "big")),
            output=str(picture),
            device=device,
        )
        async with Worker("sample", home.logs_dir) as worker:
            result = await worker.run(request)
        assert isinstance(result, Sampled), "a sample job answers with a picture"
        try:
            target.write_bytes(picture.read_bytes())
        except OSError as error:
            raise UsageError(f"{target} cannot be written: {error.strerror}") from error
    return result
