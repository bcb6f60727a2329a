"""How much the seed alone moves a score, by n: ``python -m tests.diffusion.seed_noise`` (twelve minutes of one core).

Models of several qualities are trained, and each is scored with several seeds, as settlements would. Images are drawn
once, as many as the largest n; smaller sets are their beginnings, which is what a smaller n would have drawn.

The first table has the components' standard deviations. The largest difference of two scores of one model at the task's
n is what `pdfedchain.types.economy.Rewards.noise_micro` must cover (ADR 0083). The second table says how often a model
comes before one that was trained longer, over all pairs of their seeds, with several novelty weights (ADR 0141): none,
that is FID alone, the task's, and multiples of the FID ceiling. It is no test: run it after changing the scorer, n or
the sampler.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from pathlib import Path

import torch

from diffusion import jobs
from diffusion.data.images import read_reference
from diffusion.score.report import describe_reference, generate, score_images
from diffusion.score.scorer import read_scorer
from pdfedchain.crypto import tagged_hash
from pdfedchain.types.jobs import Prepare
from pdfedchain.types.score import MICRO, ArithmeticProfile, ScoreReport
from tests.diffusion.trained import SPLIT_SEED, TaskFolder

#: Novelty weights that are compared, in FID ceilings.
WEIGHTS = (10, 20, 45)
#: Data set -> steps of the models.
STEPS = {"digits": (150, 200, 300, 400, 800), "fashion-mnist": (300, 600, 1_200)}

Scores = dict[int, list[ScoreReport]]


def scores_of(task: TaskFolder, steps: int, ns: Sequence[int], seeds: int) -> Scores:
    """Reports of one model: n -> one of each seed. In float32, whose error is far below what seeds make."""
    scoring = dataclasses.replace(task.prepared.scoring, profile=ArithmeticProfile.F32, n=max(ns))
    scorer = read_scorer(task.folder / "scorer", profile=scoring.profile)
    reference = read_reference(task.folder / "reference")
    described = describe_reference(scorer, scoring, reference, classes=task.prepared.model.classes)
    weights = task.model(0, steps)
    reports: Scores = {n: [] for n in ns}
    for number in range(seeds):
        seed = tagged_hash("test/seed-noise", number.to_bytes(4, "big"))
        images = generate(task.prepared.model, scoring, weights, seed=seed).images
        for n in ns:
            reports[n].append(score_images(scorer, scoring, described, images[:n]).report)
    return reports


def spread_rows(task: TaskFolder, steps: int, reports: Scores) -> Iterator[str]:
    weight, worst = task.prepared.scoring.novelty_weight, task.prepared.ceilings.fid_micro_max / 2e6
    for n, some in reports.items():
        fid = [report.fid_micro / MICRO for report in some]
        r_c = [report.confirmed / report.n for report in some]
        novelty = [2 * report.qn_micro(weight) / MICRO - own for report, own in zip(some, fid, strict=True)]
        qn = [report.qn_micro(weight) / MICRO for report in some]
        cells = [
            *(f"{statistics.mean(each):.{digits}f} ± {statistics.stdev(each):.{digits}f}"
              for each, digits in ((fid, 1), (r_c, 4), (novelty, 1), (qn, 1))),
            f"{(max(qn) - min(qn)) / worst:.3f}",
        ]  # fmt: skip
        checked = sum(report.checked for report in some) / len(some)
        yield f"| {steps} | {n} | {checked:.0f} | {' | '.join(cells)} |"


def share_inverted(worse: Sequence[ScoreReport], better: Sequence[ScoreReport], weight: int) -> float:
    """Share of all pairs of scores in which the model that should be worse is not behind."""
    pairs = [one.qn_micro(weight) <= other.qn_micro(weight) for one, other in product(worse, better)]
    return sum(pairs) / len(pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="digits", choices=list(STEPS))
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--n", type=int, nargs="+", default=[200, 400, 1_000])
    parser.add_argument("--models", type=Path, help="a folder in which trained weights are kept for the next call")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "task"
        prepared = jobs.prepare(Prepare(arguments.dataset, 4, SPLIT_SEED, str(folder), "cpu"))
        task = TaskFolder(arguments.dataset, prepared, folder, arguments.models or folder / "models")
        ceiling = prepared.ceilings.fid_micro_max // MICRO
        print(f"FID ceiling {ceiling}, n {prepared.scoring.n}, w {prepared.scoring.novelty_weight}")
        print("| steps | n | checked | FID | R_C | V_C V_A R_C w | QN | highest - lowest, of the ceiling's QN |")
        print("|" + "---|" * 8)
        reports: dict[int, Scores] = {}
        for steps in STEPS[arguments.dataset]:
            reports[steps] = scores_of(task, steps, arguments.n, arguments.seeds)
            for row in spread_rows(task, steps, reports[steps]):
                print(row, flush=True)
        weights = [0, prepared.scoring.novelty_weight, *(each * ceiling for each in WEIGHTS)]
        print(f"| worse, better | n | {' | '.join(f'w = {each}' for each in weights)} |")
        print("|" + "---|" * (2 + len(weights)))
        for worse, better in pairwise(STEPS[arguments.dataset]):
            for n in arguments.n:
                cells = [share_inverted(reports[worse][n], reports[better][n], each) for each in weights]
                print(f"| {worse}, {better} | {n} | {' | '.join(f'{cell:.3f}' for cell in cells)} |")


if __name__ == "__main__":
    main()
