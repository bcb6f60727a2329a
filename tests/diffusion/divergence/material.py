"""What is scored: a task of digits with the scorer that it would have, and checkpoints at every stage of training.

Chains of short trainings, each a checkpoint; every second chain has seen a few reference images only, so that there are
copies to confirm. Beside some checkpoints lies one trained 5 % longer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffusion import jobs
from diffusion.data.images import concatenate, read_reference, read_shard
from diffusion.schedule import schedule_from_config
from diffusion.tensorfile import read_tensors, write_tensors
from diffusion.train import new_weights, train
from pdfedchain.codec import decode, encode
from pdfedchain.crypto import tagged_hash
from pdfedchain.ids import Hash
from pdfedchain.types.jobs import Prepare, Prepared

__all__ = ["STAGES", "Material", "make_checkpoints", "prepare"]

SEED = Hash(b"\x01" * 32)
#: Trainings of one chain, and the steps of each.
STAGES = 20
STEPS = 15
LONGER_EVERY = 5
_SEEN_BY_MEMORISERS = 40


@dataclass(frozen=True, slots=True)
class Material:
    """A folder with the task and checkpoints ``0000`` ...; ``0004+`` is ``0004`` trained 5 % longer."""

    folder: Path
    prepared: Prepared

    @property
    def names(self) -> list[str]:
        return sorted(path.stem for path in (self.folder / "checkpoints").glob("*.safetensors"))

    def weights(self, name: str) -> dict[str, NDArray[Any]]:
        return dict(read_tensors(self.path(name), size_bytes_max=2**28))

    def path(self, name: str) -> Path:
        return self.folder / "checkpoints" / f"{name}.safetensors"


def prepare(folder: Path) -> Material:
    """The task in a folder; made the first time."""
    record = folder / "prepared.bin"
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    (folder / "reports").mkdir(exist_ok=True)
    if not record.exists():
        prepared = jobs.prepare(Prepare("digits", 2, SEED, str(folder / "task"), "cpu"))
        record.write_bytes(encode(prepared))
    return Material(folder, decode(Prepared, record.read_bytes(), size_bytes_max=2**24))


def make_checkpoints(material: Material, count: int) -> None:
    """Train what is missing of ``count`` checkpoints."""
    model = material.prepared.model
    config, schedule = json.loads(model.unet_config), schedule_from_config(json.loads(model.scheduler_config))
    reference = read_reference(material.folder / "task/reference")
    every = concatenate(read_shard(material.folder / "task/private/0"), reference.train)
    few = reference.train.take(np.arange(_SEEN_BY_MEMORISERS))

    def trained(name: str, start: dict[str, NDArray[Any]], steps: int, chain: int) -> dict[str, NDArray[Any]]:
        if not material.path(name).exists():
            weights = train(
                config,
                schedule,
                start,
                few if chain % 2 else every,
                continued=False,
                steps=steps,
                batch_size=16,
                learning_rate=3e-3,
                seed=tagged_hash("test/divergence", name.encode()),
            ).weights
            temporary = material.folder / "unfinished"
            write_tensors(temporary, weights)
            temporary.rename(material.path(name))
        return material.weights(name)

    for index in range(count):
        chain, stage = divmod(index, STAGES)
        if stage == 0:
            weights = new_weights(config, tagged_hash("test/divergence-start", bytes([chain])))
        weights = trained(f"{index:04}", weights, STEPS, chain)
        if stage % LONGER_EVERY == LONGER_EVERY - 1:
            trained(f"{index:04}+", weights, max((stage + 1) * STEPS // 20, 1), chain)
