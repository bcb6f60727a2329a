"""Trained weights that the measuring scripts of this folder share.

Training is most of their work and does not depend on the scorer, so weights are kept in a folder where one is named:
the next call scores them again with another scorer, n or weight in a fraction of the time.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffusion.data.images import concatenate, read_reference, read_shard
from diffusion.schedule import schedule_from_config
from diffusion.train import new_weights, train
from pdfedchain.crypto import tagged_hash
from pdfedchain.ids import Hash
from pdfedchain.types.jobs import Prepared

__all__ = ["SPLIT_SEED", "TaskFolder", "key_of"]

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
        path = self.models / f"{self.name}-{seed}-{steps}.npz"
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
            concatenate(read_shard(self.folder / "private/0"), read_reference(self.folder / "reference").train),
            continued=False,
            steps=steps,
            batch_size=64,
            learning_rate=3e-3,
            seed=key,
        ).weights
        self.models.mkdir(parents=True, exist_ok=True)
        np.savez(path, **weights)
        return weights
