"""Trained weights that the measuring scripts of this folder share.

Training is most of their work and does not depend on the scorer, so weights are kept in a folder where one is named:
the next call scores them again with another scorer, n or weight in a fraction of the time.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffusion.data.images import LabelledImages, concatenate, read_reference, read_shard
from diffusion.schedule import schedule_from_config
from diffusion.train import new_weights, train
from pdfedchain.crypto import tagged_hash
from pdfedchain.ids import Hash
from pdfedchain.types.jobs import Prepared

__all__ = ["SPLIT_SEED", "TaskFolder", "Weights", "key_of"]

#: Of the tasks that the scripts prepare: one split, so that they have the same reference set and the same models.
SPLIT_SEED = Hash(b"\x03" * 32)

Weights = dict[str, NDArray[Any]]


def key_of(seed: int) -> Hash:
    """Seeds a training and the sampling of its model."""
    return tagged_hash("pdfed/order/v1", bytes([seed]))


@dataclass(frozen=True)
class TaskFolder:
    """A prepared task, where its folder is, and where weights are kept."""

    name: str
    prepared: Prepared
    folder: Path
    models: Path

    def model(self, seed: int, steps: int) -> Weights:
        """Weights trained on the reference's training part and the first shard, as a node does from scratch."""

        def data() -> LabelledImages:
            return concatenate(read_shard(self.folder / "private/0"), read_reference(self.folder / "reference").train)

        return self.trained(f"{self.name}-{seed}-{steps}", data, seed=seed, steps=steps, rate=3e-3)

    def trained(
        self, file_name: str, data: Callable[[], LabelledImages], *, seed: int, steps: int, rate: float
    ) -> Weights:
        """Weights trained from scratch on any images, or read where they are kept."""
        path = self.models / f"{file_name}.npz"
        if path.exists():
            try:
                with np.load(path) as stored:
                    return dict(stored)
            except (OSError, zipfile.BadZipFile):
                path.unlink()  # of a call that was interrupted
        config, key = json.loads(self.prepared.model.unet_config), key_of(seed)
        weights = train(
            config,
            schedule_from_config(json.loads(self.prepared.model.scheduler_config)),
            new_weights(config, key),
            data(),
            continued=False,
            steps=steps,
            batch_size=64,
            learning_rate=rate,
            seed=key,
        ).weights
        self.models.mkdir(parents=True, exist_ok=True)
        np.savez(path, **weights)
        return weights
