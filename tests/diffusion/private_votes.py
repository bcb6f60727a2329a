"""What voters find on images that no scorer has learned from: ``python -m tests.diffusion.private_votes``.

A task of digits with three private shards is prepared. Images are scored against each shard as a voter scores them
(`diffusion.jobs.evaluate`): models that were trained on the first shard and the reference's training part, models that
were overfitted on 100 images of the second shard, and the real images of each shard, which are copies of their own and
of no other. Ten minutes of one core, most of it training; ADR 0144 has the table.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from diffusion import jobs
from diffusion.data.images import LabelledImages, Reference, read_shard
from diffusion.score.report import describe_reference, generate, score_images
from diffusion.score.scorer import read_scorer
from pdfedchain.types.jobs import Prepare
from pdfedchain.types.score import ArithmeticProfile
from tests.diffusion.trained import SPLIT_SEED, TaskFolder, key_of
from tests.support.planted import planted_images

SHARDS: Final = 3
#: As many as a voter scores at most.
IMAGES: Final = 200

Images = NDArray[np.uint8]


def candidates(task: TaskFolder, shards: list[LabelledImages]) -> Iterator[tuple[str, Images]]:
    """Name and images of everything that is held against every shard."""
    scoring = dataclasses.replace(task.prepared.scoring, n=IMAGES)
    for steps in (400, 800):
        made = generate(task.prepared.model, scoring, task.model(0, steps), seed=key_of(0))
        yield f"model of shard 1, {steps} steps", made.images
    for steps in (600, 1500):
        kept = f"{task.name}-overfitted-on-shard-2-{steps}"
        planted = partial(planted_images, shards[1], 100)
        weights = task.trained(kept, planted, seed=0, steps=steps, rate=5e-3)
        yield (
            f"overfitted on 100 of shard 2, {steps} steps",
            generate(task.prepared.model, scoring, weights, seed=key_of(0)).images,
        )
    for number, shard in enumerate(shards, start=1):
        yield f"real images of shard {number}", shard.images[:IMAGES].copy()


def halves(shard: LabelledImages) -> Reference:
    """As a voter takes its private images."""
    return Reference(train=shard.take(slice(0, None, 2)), test=shard.take(slice(1, None, 2)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, help="a folder in which trained weights are kept for the next call")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "task"
        prepared = jobs.prepare(Prepare("digits", SHARDS, SPLIT_SEED, str(folder), "cpu"))
        task = TaskFolder(f"digits-{SHARDS}-shards", prepared, folder, arguments.models or folder / "models")
        scoring = dataclasses.replace(prepared.scoring, n=IMAGES, profile=ArithmeticProfile.F32)
        scorer = read_scorer(folder / "scorer", profile=scoring.profile)
        shards = [read_shard(folder / f"private/{number}") for number in range(SHARDS)]
        described = [
            describe_reference(scorer, scoring, halves(shard), classes=prepared.model.classes) for shard in shards
        ]
        print(f"R_C of {IMAGES} images; ceiling {prepared.ceilings.r_c_micro_max / 1e6:.3f}")
        print("| images | " + " | ".join(f"shard {number + 1}" for number in range(SHARDS)) + " |")
        print("|" + "---|" * (1 + SHARDS))
        for name, images in candidates(task, shards):
            found = [score_images(scorer, scoring, against, images).report.r_c_micro for against in described]
            print(f"| {name} | " + " | ".join(f"{share / 1e6:.3f}" for share in found) + " |", flush=True)


if __name__ == "__main__":
    main()
