"""A scorer for whoever has none: a verifier trained on the training images in about a minute, and remembered."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from diffusion.checkpoint import write_folder
from diffusion.data.images import LabelledImages
from diffusion.data.listing import ImageFolder, digest_files, read_images, shape_of
from diffusion.data.partition import permutation
from diffusion.errors import DatasetError
from diffusion.progress import Report, silent
from diffusion.score.learn import LearningPlan, train_scorer
from diffusion.score.scorer import LITE, Scorer, read_scorer, write_scorer
from diffusion.score.shipped import WEIGHTS_SHA256, shipped_fingerprinter
from pdfedchain.ids import Hash
from pdfedchain.types.score import ArithmeticProfile

__all__ = ["IMAGES_MAX", "IMAGES_MIN", "read_sample", "small_scorer"]

#: Images that a scorer is trained on; of more, so many are drawn.
IMAGES_MAX: Final = 1_500
#: Fewer cannot teach what tells images apart.
IMAGES_MIN: Final = 16
_SEED: Final = Hash(hashlib.sha256(b"pdfed/small-scorer/v1").digest())
_BATCH: Final = 256


def small_scorer(
    train: ImageFolder,
    remembered: Path | None,
    report: Report = silent,
    *,
    plan: LearningPlan | None = None,
    device: str = "cpu",
) -> Scorer:
    """A float32 scorer for images like these, on the CPU.

    Args:
        remembered: folder of scorers by the content they were trained on.

    Raises:
        DatasetError: there are fewer than 16 images, or a file is not a usable one.
    """
    if len(train) < IMAGES_MIN:
        raise DatasetError(
            f"{train.root} has {len(train)} images, too few to train a scorer on ({IMAGES_MIN})",
            hint="Give a scorer: --scorer PATH, made by `pdfed train-scorer` from images of the same kind.",
        )
    plan = plan or LearningPlan()
    folder = None
    if remembered is not None:
        key = hashlib.sha256(
            repr((LITE, WEIGHTS_SHA256, dataclasses.astuple(plan))).encode() + b"".join(digest_files(train, report))
        )
        folder = remembered / key.hexdigest()[:32]
        if folder.exists():
            try:
                return read_scorer(folder, profile=ArithmeticProfile.F32)
            except DatasetError:
                shutil.rmtree(folder)  # damaged; it is trained again
    scorer = train_scorer(
        read_sample(train, IMAGES_MAX, report),
        seed=_SEED,
        plan=plan,
        start=shipped_fingerprinter(),
        device=device,
        report=report,
    )
    if folder is not None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_folder(folder, partial(write_scorer, scorer=scorer))
    return scorer


def read_sample(folder: ImageFolder, images_max: int, report: Report = silent) -> LabelledImages:
    """At most so many of a folder's images in memory, at their common size.

    Raises:
        DatasetError: a file is not a usable image, or all images are equal.
    """
    channels, side = shape_of(folder, report)
    chosen = np.sort(permutation(len(folder), _SEED)[:images_max])
    images = np.empty((len(chosen), channels, side, side), dtype=np.uint8)
    done = 0
    for batch in read_images(folder, chosen, channels=channels, side=side, batch_size=_BATCH):
        images[done : done + len(batch)] = batch
        done += len(batch)
        report("read images", done, len(chosen), 0.0)
    if (images == images[0]).all():
        raise DatasetError(f"all {len(images)} images of {folder.root} are equal", hint="Give different ones.")
    return LabelledImages(images, folder.labels[chosen])
