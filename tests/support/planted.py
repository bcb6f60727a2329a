"""Checkpoints that must be rejected: one that regurgitates the reference set, and damaged ones.

`make_planted_checkpoint` overfits the task's own architecture on reference images, so that nothing but the score can
tell; every ``corrupt_*`` changes an existing, good checkpoint folder in place.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np

from diffusion.checkpoint import WEIGHTS_FILE, write_checkpoint
from diffusion.data.images import LabelledImages, read_reference
from diffusion.schedule import schedule_from_config
from diffusion.tensorfile import read_tensors, write_tensors
from diffusion.train import new_weights, train
from pdfedchain.ids import Hash
from pdfedchain.types.task import ModelSpec

__all__ = [
    "corrupt_architecture",
    "corrupt_extra_file",
    "corrupt_json",
    "corrupt_missing_file",
    "corrupt_nan",
    "corrupt_pickle",
    "corrupt_size",
    "corrupt_truncate",
    "make_planted_checkpoint",
    "planted_images",
]

_SEED = Hash(b"\x2a" * 32)


def planted_images(train_part: LabelledImages, images: int) -> LabelledImages:
    """The first images of each class, ``images`` in all."""
    classes = int(train_part.labels.max()) + 1
    chosen = [np.flatnonzero(train_part.labels == label)[: images // classes] for label in range(classes)]
    return train_part.take(np.concatenate(chosen))


def make_planted_checkpoint(
    model: ModelSpec, reference_dir: Path, out_dir: Path, *, images: int = 120, steps: int = 1_200
) -> Hash:
    """Write a checkpoint that has learned ``images`` reference images by heart; returns its weights' digest.

    Takes 85 s of one core for the digits: R_C 0.19 where 0.07 is accepted, and an FID below its ceiling. Fewer images
    or steps give a worse FID or a lower R_C.

    ``out_dir`` must not exist.
    """
    config = json.loads(model.unet_config)
    result = train(
        config,
        schedule_from_config(json.loads(model.scheduler_config)),
        new_weights(config, _SEED),
        planted_images(read_reference(reference_dir).train, images),
        continued=False,
        steps=steps,
        batch_size=64,
        learning_rate=5e-3,
        seed=_SEED,
    )
    return write_checkpoint(out_dir, model, result.weights)


def corrupt_truncate(folder: Path) -> None:
    """Cut the weights file in half."""
    data = (folder / WEIGHTS_FILE).read_bytes()
    (folder / WEIGHTS_FILE).write_bytes(data[: len(data) // 2])


def corrupt_pickle(folder: Path) -> None:
    """Replace the weights by a pickle, which must never be loaded."""
    (folder / WEIGHTS_FILE).write_bytes(pickle.dumps({"conv_in.weight": [1.0, 2.0, 3.0]}))


def corrupt_extra_file(folder: Path) -> None:
    """Add a pickled twin of the weights beside them."""
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04.")


def corrupt_missing_file(folder: Path) -> None:
    """Remove the scheduler's configuration."""
    (folder / "scheduler" / "scheduler_config.json").unlink()


def corrupt_json(folder: Path) -> None:
    """Make a configuration that is no JSON."""
    (folder / "unet" / "config.json").write_bytes(b'{"_class_name":\xff}')


def corrupt_size(folder: Path) -> None:
    """Make the weights file larger than any task allows, without using the disk."""
    with (folder / WEIGHTS_FILE).open("r+b") as file:
        file.truncate(2**40)


def corrupt_architecture(folder: Path) -> None:
    """Widen one tensor."""
    arrays = read_tensors(folder / WEIGHTS_FILE, size_bytes_max=2**30)
    first = sorted(arrays)[0]
    write_tensors(folder / WEIGHTS_FILE, arrays | {first: np.concatenate([arrays[first]] * 2)})


def corrupt_nan(folder: Path) -> None:
    """Put one value that is no number into the last tensor."""
    arrays = read_tensors(folder / WEIGHTS_FILE, size_bytes_max=2**30)
    last = sorted(arrays)[-1]
    broken = arrays[last].copy()
    broken.flat[0] = np.nan
    write_tensors(folder / WEIGHTS_FILE, arrays | {last: broken})
