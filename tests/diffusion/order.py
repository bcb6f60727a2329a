"""Does the score put a good model first? ``python -m tests.diffusion.order`` (ten minutes of one core for digits).

A task is prepared for each data set. For each seed a model is trained well and another one briefly; both are sampled
and scored by the task's rules, as are Gaussian noise and exact copies of reference images. The well-trained model must
come before the others: each of them is either refused by a ceiling or has the worse QN. What does not is printed as an
inversion, with the components that explain it in the table above it.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from diffusion import jobs
from diffusion.data.images import concatenate, read_reference
from diffusion.score.report import describe_reference, generate, score_images
from diffusion.score.scorer import read_scorer
from pdfedchain.types.jobs import Prepare, Prepared
from pdfedchain.types.score import ArithmeticProfile, ScoreReport
from tests.diffusion.trained import SPLIT_SEED, TaskFolder, key_of

WELL, BRIEFLY, NOISE, COPIES = "well-trained", "undertrained", "noise", "copies"
#: Data set -> steps of the well-trained and of the undertrained model.
STEPS = {"digits": (400, 40), "fashion-mnist": (1_200, 60)}


@dataclass(frozen=True)
class Outcome:
    name: str
    report: ScoreReport
    refused: tuple[str, ...]
    qn: float


def outcome_of(name: str, report: ScoreReport, prepared: Prepared) -> Outcome:
    ceilings = prepared.ceilings
    refused = [
        *(["FID"] if report.fid_micro > ceilings.fid_micro_max else []),
        *(["R_C"] if report.r_c_micro > ceilings.r_c_micro_max else []),
    ]
    return Outcome(name, report, tuple(refused), report.qn_micro(prepared.scoring.novelty_weight) / 1e6)


def inversions(outcomes: list[Outcome]) -> list[str]:
    """Sentences about what does not come after the well-trained model."""
    best = next(outcome for outcome in outcomes if outcome.name == WELL)
    found = [f"{WELL} is refused by {' and '.join(best.refused)}"] if best.refused else []
    found += [
        f"{other.name} (QN {other.qn:.1f}) before {WELL} (QN {best.qn:.1f})"
        for other in outcomes
        if other is not best and not other.refused and other.qn <= best.qn
    ]
    return found


def row_of(seed: int, outcome: Outcome) -> str:
    report = outcome.report
    shares = [f"{value / 1e6:.3f}" for value in (report.r_c_micro, report.v_a_micro, report.v_c_micro)]
    cells = [f"{report.fid_micro / 1e6:.1f}", str(report.checked), *shares, f"{outcome.qn:.1f}"]
    return f"| {seed} | {outcome.name} | {' | '.join(cells)} | {' and '.join(outcome.refused)} |"


def images_of(task: TaskFolder, seed: int, steps: tuple[int, int]) -> dict[str, NDArray[np.uint8]]:
    reference = read_reference(task.folder / "reference")
    scoring = dataclasses.replace(task.prepared.scoring, profile=ArithmeticProfile.F32)  # a quarter of the time

    def sampled(count: int) -> NDArray[np.uint8]:
        return generate(task.prepared.model, scoring, task.model(seed, count), seed=key_of(seed)).images

    rng = np.random.default_rng(seed)
    both = concatenate(reference.train, reference.test).images
    shape = (scoring.n, *both.shape[1:])
    return {
        WELL: sampled(steps[0]),
        BRIEFLY: sampled(steps[1]),
        NOISE: np.clip(np.rint(rng.normal(127, 60, shape)), 0, 255).astype(np.uint8),
        COPIES: both[rng.permutation(len(both))[: scoring.n]],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--models", type=Path, help="a folder in which trained weights are kept for the next call")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    wrong = 0
    for name in arguments.data:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "task"
            prepared = jobs.prepare(Prepare(name, 4, SPLIT_SEED, str(folder), "cpu"))
            task = TaskFolder(name, prepared, folder, arguments.models or folder / "models")
            scoring = prepared.scoring
            print(f"{name}: {prepared.ceilings}, w = {scoring.novelty_weight}, n = {scoring.n}")
            scorer = read_scorer(folder / "scorer", profile=scoring.profile)
            classes = prepared.model.classes
            described = describe_reference(scorer, scoring, read_reference(folder / "reference"), classes=classes)
            print("| seed | images | FID | checked | R_C | V_A | V_C | QN | refused by |")
            print("|" + "---|" * 9)
            for seed in range(arguments.seeds):
                outcomes = [
                    outcome_of(kind, score_images(scorer, scoring, described, images).report, prepared)
                    for kind, images in images_of(task, seed, STEPS[name]).items()
                ]
                for outcome in outcomes:
                    print(row_of(seed, outcome))
                for sentence in inversions(outcomes):
                    wrong += 1
                    print(f"inversion with seed {seed}: {sentence}")
                sys.stdout.flush()
    print(f"{wrong} inversions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
