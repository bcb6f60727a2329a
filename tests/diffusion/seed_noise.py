"""How much the seed alone moves a score: ``python -m tests.diffusion.seed_noise`` (six minutes of one core).

Models of three qualities are trained on the digits, and each is scored with several seeds, as settlements would. The
largest difference of two scores of one model is what `pdfedchain.types.economy.Rewards.noise_micro` must cover (ADR
0083). It is no test: run it after changing the scorer, n or the sampler.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import torch

from diffusion import jobs
from diffusion.data.images import concatenate, read_reference, read_shard
from diffusion.schedule import schedule_from_config
from diffusion.score.report import describe_reference, generate, score_images
from diffusion.score.scorer import read_scorer
from diffusion.train import new_weights, train
from pdfedchain.crypto import tagged_hash
from pdfedchain.ids import Hash
from pdfedchain.types.jobs import Prepare

SEED = Hash(b"\x01" * 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--seeds", type=int, default=12)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "task"
        prepared = jobs.prepare(Prepare(arguments.dataset, 4, SEED, str(folder), "cpu"))
        scoring, model = prepared.scoring, prepared.model
        reference = read_reference(folder / "reference")
        scorer = read_scorer(folder / "scorer", profile=scoring.profile)
        described = describe_reference(scorer, scoring, reference, classes=model.classes)
        config = json.loads(model.unet_config)
        data = concatenate(read_shard(folder / "private/0"), reference.train)
        print(f"FID ceiling {prepared.ceilings.fid_micro_max / 1e6:.0f}, n {scoring.n}, {arguments.seeds} seeds")
        print("| steps | QN mean | deviation | lowest | highest | highest - lowest | of the ceiling's QN |")
        print("|" + "---|" * 7)
        for steps in (150, 300, 800):
            weights = train(
                config,
                schedule_from_config(json.loads(model.scheduler_config)),
                new_weights(config, SEED),
                data,
                continued=False,
                steps=steps,
                batch_size=64,
                learning_rate=3e-3,
                seed=SEED,
            ).weights
            scores = []
            for number in range(arguments.seeds):
                seed = tagged_hash("test/seed-noise", number.to_bytes(4, "big"))
                images = generate(model, scoring, weights, seed=seed).images
                report = score_images(scorer, scoring, described, images).report
                scores.append(report.qn_micro(scoring.novelty_weight) / 1e6)
            spread = max(scores) - min(scores)
            share = 2e6 * spread / prepared.ceilings.fid_micro_max
            print(
                f"| {steps} | {statistics.mean(scores):.2f} | {statistics.stdev(scores):.2f} | {min(scores):.2f}"
                f" | {max(scores):.2f} | {spread:.2f} | {share:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
