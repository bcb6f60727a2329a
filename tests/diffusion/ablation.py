"""What each deviation of the verifier's form from the paper's is worth: ``python -m tests.diffusion.ablation``.

The verifier differs from the paper's in four things: softplus instead of clipping at zero, the mean of all windows
taken off, correlations stretched near 1 (ADR 0033), and maps of the first two blocks instead of the last (ADR 0147).
Each is switched off by itself, all are switched off (the paper's form), and the verifiers are trained alike, on one
fingerprinter, with the same seeds. The metric is the pool test's
(`tests.diffusion.pool`) with everything replaced: share of copies found, and of novel images confirmed wrongly.
Ten minutes of one core for the digits, a quarter of an hour for Fashion-MNIST. ADR 0142 has what came out.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from diffusion.score.alterations import alter
from diffusion.score.fingerprint import Fingerprinter, FingerprintNetwork
from diffusion.score.learn import LearningPlan, train_scorer, train_verifier
from diffusion.score.scorer import Scorer
from diffusion.score.shipped import shipped_fingerprinter
from diffusion.score.verifier import Verifier
from pdfedchain.ids import Hash
from tests.diffusion.pool import KINDS, Case, load_case, see

__all__ = ["FORMS", "Form", "FormedVerifier", "LastMap", "formed_fingerprinter", "forms_of_verifier"]


@dataclass(frozen=True)
class Form:
    """Which of the deviations are switched on."""

    softplus: bool = True
    mean_off: bool = True
    stretch: bool = True
    early_maps: bool = True


FORMS: Final = {
    "as shipped": Form(),
    "clipped at zero": Form(softplus=False),
    "mean left": Form(mean_off=False),
    "not stretched": Form(stretch=False),
    "the last map": Form(early_maps=False),
    "the paper's form": Form(softplus=False, mean_off=False, stretch=False, early_maps=False),
}


class LastMap(Fingerprinter):
    """The paper's way: what is pooled into features is compared as well."""

    map_channels = Fingerprinter.feature_size

    def maps(self, images: Tensor) -> Tensor:
        *_, last = self._after_blocks(images)
        return last


def formed_fingerprinter(form: Form, model: FingerprintNetwork) -> FingerprintNetwork:
    """With the maps of this form, and the same weights."""
    if form.early_maps:
        return model
    other = LastMap()
    other.load_state_dict(model.state_dict())
    return other.eval().requires_grad_(False)


class FormedVerifier(Verifier):
    """`Verifier` with each deviation on a switch of its own; a test holds it equal to both forms of that one."""

    form = FORMS["as shipped"]

    def regions(self, maps: Tensor) -> Tensor:
        projected = self.project(maps).flatten(2)
        positive = functional.softplus(projected) if self.form.softplus else projected.clamp(min=1e-6)
        pooled = (positive.pow(3.0) @ self.get_buffer("windows").T).pow(1 / 3.0)
        if self.form.mean_off:
            pooled = pooled - pooled.mean(dim=(1, 2), keepdim=True)
        return functional.normalize(pooled, dim=1).transpose(1, 2)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        correlation = first @ second.transpose(1, 2)
        if self.form.stretch:
            correlation = -(1.02 - correlation).clamp(min=0.02).log() * (2 / -np.log(0.02))
        forward: Tensor = self.judge(correlation.flatten(1))
        backward: Tensor = self.judge(correlation.transpose(1, 2).flatten(1))
        return (forward + backward).squeeze(1)


def forms_of_verifier(form: Form) -> AbstractContextManager[object]:
    """Within it trainings make verifiers of this form."""
    return patch("diffusion.score.learn.Verifier", type("Formed", (FormedVerifier,), {"form": form}))


@dataclass(frozen=True)
class Found:
    """Shares of one trained verifier."""

    plain: float
    altered: float
    worst: float
    false: float


def shares(case: Case, scorer: Scorer, seed: int) -> Found:
    """Copies of every training image of the case, plain and altered, and its novel images."""
    rng = np.random.default_rng(seed)
    sources = rng.permutation(len(case.train))[: len(case.novel)]
    found = {}
    for kind in KINDS:
        images = case.train.images[sources]
        seen = see(scorer, case, images if kind == "plain" else alter(images, kind, rng))
        right = seen.pairs[:, 1] == sources[seen.pairs[:, 0]]
        found[kind] = len(np.unique(seen.pairs[right & (seen.similarity >= 0.8), 0])) / len(sources)
    novel = see(scorer, case, case.novel)
    false = len(np.unique(novel.pairs[novel.similarity >= 0.8, 0])) / len(case.novel)
    altered = [share for kind, share in found.items() if kind != "plain"]
    return Found(found["plain"], float(np.mean(altered)), min(altered), false)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=["digits", "fashion-mnist"])
    parser.add_argument("--size", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each verifier")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.data:
        started = time.process_time()
        case = load_case(name, arguments.size)
        tuned = train_scorer(
            case.train, seed=Hash(b"\x08" * 32), plan=LearningPlan(verifier_steps=1), start=shipped_fingerprinter()
        )
        print(f"{name}: {len(case.train)} training images, {len(case.novel)} novel")
        print("| verifier | plain | all altered | the worst alteration | false |")
        print("|" + "---|" * 5)
        for form_name, form in FORMS.items():
            results = []
            fingerprinter = formed_fingerprinter(form, tuned.fingerprinter)
            for seed in range(arguments.seeds):
                with forms_of_verifier(form):
                    verifier = train_verifier(case.train, fingerprinter, seed=Hash(bytes([seed]) * 32))
                scorer = Scorer(tuned.image_size, tuned.channels, fingerprinter, verifier, tuned.feature_scale)
                results.append(shares(case, scorer, seed))
            cells = [
                " ".join(f"{value:.4f}" for value in values)
                for values in zip(*((r.plain, r.altered, r.worst, r.false) for r in results), strict=True)
            ]
            print(f"| {form_name} | {' | '.join(cells)} |", flush=True)
        print(f"{time.process_time() - started:.0f} s of one core", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
