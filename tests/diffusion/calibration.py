"""The table behind ADR 0032: ``python -m tests.diffusion.calibration`` (ten minutes of one core).

A task is prepared for the digits; then real images, copies, noise, and models that are good, undertrained or overfitted
are scored by its rules. It is no test: read the table after changing the scorer, its training or the ceilings.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from diffusion import jobs
from diffusion.data.images import concatenate, read_reference, read_shard
from diffusion.data.partition import permutation
from diffusion.score.report import describe_reference, generate, score_images
from diffusion.score.scorer import read_scorer
from diffusion.train import new_weights
from pdfedchain.ids import Hash
from pdfedchain.types.jobs import Prepare
from tests.diffusion.trained import SPLIT_SEED, TaskFolder, Weights, key_of
from tests.support.planted import planted_images
from tests.support.recognise import share_recognised

SHARDS = 4

Images = NDArray[np.uint8]


def real_and_made_up(folder: Path, n: int) -> Iterator[tuple[str, Images]]:
    reference = read_reference(folder / "reference")
    private = concatenate(*(read_shard(folder / f"private/{k}") for k in range(SHARDS)))
    both = concatenate(reference.train, reference.test)
    rng = np.random.default_rng(1)
    copies = both.images[rng.permutation(len(both))[:n]]

    def noisy(images: Images, deviation: float) -> Images:
        return np.clip(np.rint(images + rng.normal(0, deviation, images.shape)), 0, 255).astype(np.uint8)

    yield "held-out real images", private.images[permutation(len(private), Hash(bytes(32)))[:n]]
    yield "copies", copies
    for deviation in (8, 16, 32):
        yield f"copies, noise of {deviation} levels", noisy(copies, deviation)
    yield "Gaussian noise", noisy(np.full_like(copies, 127), 60)
    yield "black", np.zeros_like(copies)


def models(task: TaskFolder) -> Iterator[tuple[str, Weights]]:
    reference = read_reference(task.folder / "reference")
    yield "untrained", new_weights(json.loads(task.prepared.model.unet_config), key_of(0))
    for steps in (30, 60, 100, 200, 400, 800):
        yield f"model, {steps} steps", task.model(0, steps)
    for steps in (600, 900, 1500):
        kept = f"{task.name}-overfitted-{steps}"
        planted = partial(planted_images, reference.train, 100)
        yield f"overfitted on 100, {steps} steps", task.trained(kept, planted, seed=0, steps=steps, rate=5e-3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--models", type=Path, help="a folder in which trained weights are kept for the next call")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "task"
        started = time.process_time()
        prepared = jobs.prepare(Prepare(arguments.dataset, SHARDS, SPLIT_SEED, str(folder), "cpu"))
        task = TaskFolder(arguments.dataset, prepared, folder, arguments.models or folder / "models")
        seconds = time.process_time() - started
        print(f"prepared in {seconds:.0f} s of one core: {prepared.ceilings}, w = {prepared.scoring.novelty_weight}")
        scoring, classes = prepared.scoring, prepared.model.classes
        scorer = read_scorer(folder / "scorer", profile=scoring.profile)
        described = describe_reference(scorer, scoring, read_reference(folder / "reference"), classes=classes)
        print("| images | recognised | FID | checked | R_C | V_A | V_C | QN | verdict |")
        print("|" + "---|" * 9)

        def show(name: str, images: Images, labels: NDArray[np.int64] | None = None) -> None:
            report = score_images(scorer, scoring, described, images).report
            fid_ok = report.fid_micro <= prepared.ceilings.fid_micro_max
            copies_ok = report.r_c_micro <= prepared.ceilings.r_c_micro_max
            verdict = (
                "accepted"
                if fid_ok and copies_ok
                else " and ".join([*(["FID"] if not fid_ok else []), *(["R_C"] if not copies_ok else [])])
            )
            recognised = "" if labels is None else f"{share_recognised(images, labels):.2f}"
            figures = (report.r_c_micro, report.v_a_micro, report.v_c_micro)
            print(
                f"| {name} | {recognised} | {report.fid_micro / 1e6:.1f} | {report.checked} | "
                + " | ".join(f"{figure / 1e6:.3f}" for figure in figures)
                + f" | {report.qn_micro(scoring.novelty_weight) / 1e6:.0f} | {verdict} |",
                flush=True,
            )

        for name, images in real_and_made_up(folder, scoring.n):
            show(name, images)
        for name, weights in models(task):
            made = generate(prepared.model, scoring, weights, seed=key_of(0))
            show(name, made.images, made.labels)


if __name__ == "__main__":
    main()
