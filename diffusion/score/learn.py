"""Training a task's scorer on the reference's training images, within a minute or two of a core.

The fingerprinter, usually the shipped one, is first tuned to these images (`diffusion.score.learn_fingerprinter`); then
the verifier is trained on its frozen maps. The verifier sees pairs of something that a model might have generated and
an image, brought into line with it as in a score: an augmented copy of any strength, or the image itself (positive);
one of its nearest others, half of them as they are and half augmented (hard negative; mined by the cosine of
features); or a blend of it with a near one, in which the other has the larger part (negative; ADR 0033). Negatives that
are almost the image are left out. Pairs and their maps are computed once, so that the many short steps cost little.

Training is seeded but need not repeat across machines: the task pins the result. With a `Keeper` it goes on where it
was interrupted, and ends with the very weights that it would have had.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from diffusion.data.images import LabelledImages
from diffusion.progress import Report, silent
from diffusion.sampler import to_unit
from diffusion.score.augment import augment
from diffusion.score.fingerprint import MAP_SIZE, Fingerprinter, FingerprintNetwork, describe
from diffusion.score.keeper import NOTHING_KEPT, Keeper
from diffusion.score.learn_fingerprinter import FingerprinterPlan, source_of, train_fingerprinter
from diffusion.score.nearest import nearest
from diffusion.score.register import in_line
from diffusion.score.scorer import FEATURE_VARIANCE, Scorer
from diffusion.score.verifier import Verifier
from diffusion.train import FlatAdamW, flatten_parameters, generator_of, warm_cosine
from pdfedchain.ids import Hash

__all__ = ["LearningPlan", "train_scorer", "train_verifier"]


@dataclass(frozen=True, slots=True)
class LearningPlan:
    """How long to train: steps of each network, pairs of a step of the verifier, augmented copies per image."""

    fingerprinter_steps: int = 100
    fingerprinter_batch: int = 64
    rate_micro: int = 3_000
    verifier_steps: int = 1_500
    verifier_batch: int = 96
    views: int = 9
    #: Blends per image, and the range of the image's own share in them.
    blends: int = 4
    blend_share: tuple[float, float] = (0.3, 0.5)
    #: Nearest other images that are its hard negatives.
    hard_negatives: int = 8
    #: Strengths of the augmentations, from one copy of an image to the next; the fingerprinter's is 1.
    strengths: tuple[float, float] = (0.1, 0.8)
    #: Largest standard deviation of their noise in [-1, 1], at strength 1.
    noise: float = 0.2
    #: How many missed copies are as bad as one image that is called a copy wrongly.
    negative_weight: float = 3.0
    #: The verifier without the changes of its form (`Verifier`); such a one is measured, not written down.
    plain: bool = False


#: Most images of which pairs are kept for the verifier; of more, so many are drawn.
_VERIFIER_IMAGES_MAX: Final = 1_000
#: Strength of the augmentation of blends.
_BLEND_STRENGTH: Final = 0.4
#: Nearest other images that an image is blended with.
_BLENDED_WITH: Final = 4
#: Negatives closer to the image, before they are augmented, teach nothing: 16 levels, root mean square, in [-1, 1].
_ALMOST_EQUAL: Final = 16 / 127.5
#: Of five pairs of a step so many are copies, and so many blends.
_COPIES, _BLENDS, _OF = 2, 1, 5
_MAPS_AT_ONCE: Final = 32


def train_scorer(
    train: LabelledImages,
    *,
    seed: Hash,
    plan: LearningPlan | None = None,
    start: Fingerprinter | None = None,
    device: str = "cpu",
    report: Report = silent,
    keeper: Keeper = NOTHING_KEPT,
) -> Scorer:
    """A scorer in float32, on the CPU, for images like ``train``.

    Args:
        start: a fingerprinter to begin with, instead of random weights; with no ``fingerprinter_steps`` it stays as it
            is.
        keeper: keeps what an interrupted training needs to go on; with the same images, seed and plan.
    """
    plan = plan or LearningPlan()
    channels, image_size = train.images.shape[1], train.images.shape[2]
    if start is None or plan.fingerprinter_steps:
        start = train_fingerprinter(
            [source_of({image_size: train.images})],
            seed=seed,
            plan=FingerprinterPlan(
                steps=plan.fingerprinter_steps, batch=plan.fingerprinter_batch, rate_micro=plan.rate_micro
            ),
            start=start,
            device=device,
            report=report,
            keeper=keeper,
        )
    verifier = train_verifier(train, start, seed=seed, plan=plan, device=device, report=report, keeper=keeper)
    features = describe(start, train.images).features
    scale = float(np.sqrt(FEATURE_VARIANCE / features.var(axis=0).sum()))
    return Scorer(image_size, channels, start, verifier, scale)


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """What the verifier learns from: maps in float16 (N, K, M, 8, 8), of K pairs of each of N images.

    Attributes:
        generated: what a model might have generated: copies of the image first, then others, then blends.
        images: the image, each time brought into line with that.
        kinds: of copies, others and blends, (image, place) of the pairs to learn from, int64 (P, 2).
    """

    generated: Tensor
    images: Tensor
    kinds: tuple[Tensor, Tensor, Tensor]


def _pairs(
    fingerprinter: FingerprintNetwork,
    images: NDArray[np.uint8],
    chosen: NDArray[np.int64],
    near: NDArray[np.int64],
    rng: torch.Generator,
    plan: LearningPlan,
    report: Report,
) -> _Pairs:
    """Of the N chosen images, with ``near`` (N, h) the nearest others of each, nearest first."""
    count, device = len(chosen), next(fingerprinter.parameters()).device
    sizes = plan.views + 1, near.shape[1], plan.blends
    # filled in place: together these are by far the largest tensors here
    shape = (count, sum(sizes), fingerprinter.map_channels, MAP_SIZE, MAP_SIZE)
    generated, moved = (torch.empty(shape, dtype=torch.float16, device=device) for _ in range(2))
    kept = torch.empty(shape[:2], dtype=torch.bool)
    with torch.no_grad():
        for start in range(0, count, _MAPS_AT_ONCE):
            rows = slice(start, start + _MAPS_AT_ONCE)
            batch = to_unit(images[chosen[rows]])
            others = [to_unit(images[near[rows, place]]) for place in range(near.shape[1])]
            copies = [(view, torch.ones(len(batch), dtype=torch.bool)) for view in _copies(batch, rng, plan)]
            for place, (view, use) in enumerate([*copies, *_negatives(batch, others, rng, plan)]):
                generated[rows, place] = fingerprinter.maps(view.to(device)).half()
                own = batch if plan.plain else in_line(batch, view)
                moved[rows, place] = fingerprinter.maps(own.to(device)).half()
                kept[rows, place] = use
            report("views", min(start + _MAPS_AT_ONCE, count), count, 0.0)
    kinds = []
    first = 0
    for size in sizes:
        use = kept[:, first : first + size]
        to_learn_from = torch.nonzero(use if use.any() else torch.ones_like(use))
        kinds.append(to_learn_from + torch.tensor([0, first]))
        first += size
    return _Pairs(generated, moved, (kinds[0], kinds[1], kinds[2]))


def _copies(batch: Tensor, rng: torch.Generator, plan: LearningPlan) -> list[Tensor]:
    """The images themselves, then augmented copies of growing strength."""
    strengths = np.linspace(*plan.strengths, plan.views).tolist()
    return [batch, *(augment(batch, rng, strength=each, noise=plan.noise) for each in strengths)]


def _negatives(
    batch: Tensor, others: list[Tensor], rng: torch.Generator, plan: LearningPlan
) -> Iterator[tuple[Tensor, Tensor]]:
    """The others in turn, every second one augmented, then blends; with which of them are not almost the image."""

    def apart(other: Tensor) -> Tensor:
        return (other - batch).pow(2).mean(dim=(1, 2, 3)).sqrt() >= _ALMOST_EQUAL

    low, high = plan.strengths
    for place, other in enumerate(others):
        strength = low + (high - low) * float(torch.rand(1, generator=rng))
        view = augment(other, rng, strength=strength, noise=plan.noise) if place % 2 else other
        yield view, apart(other)
    nearest_few = torch.stack(others[:_BLENDED_WITH])
    low, high = plan.blend_share
    for _ in range(plan.blends):
        share = low + (high - low) * torch.rand((len(batch), 1, 1, 1), generator=rng)
        which = torch.randint(len(nearest_few), (len(batch),), generator=rng)
        blend = share * batch + (1 - share) * nearest_few[which, torch.arange(len(batch))]
        yield augment(blend, rng, strength=_BLEND_STRENGTH, noise=plan.noise), apart(blend)


def train_verifier(
    train: LabelledImages,
    fingerprinter: FingerprintNetwork,
    *,
    seed: Hash,
    plan: LearningPlan | None = None,
    device: str = "cpu",
    report: Report = silent,
    keeper: Keeper = NOTHING_KEPT,
) -> Verifier:
    """A verifier in float32, on the CPU, for a fingerprinter that is frozen."""
    plan = plan or LearningPlan()
    rng = generator_of(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(seed[8:16], "big") >> 1)
        model = Verifier(fingerprinter.map_channels, plain=plan.plain).to(device)
    chosen = torch.randperm(len(train), generator=rng)[:_VERIFIER_IMAGES_MAX].numpy()
    home = next(fingerprinter.parameters()).device
    fingerprinter.to(device).eval().requires_grad_(False)
    near = _nearest_others(fingerprinter, train.images, chosen, plan.hard_negatives)
    pairs = _pairs(fingerprinter, train.images, chosen, near, rng, plan, report)
    fingerprinter.to(home)
    weights, gradients = flatten_parameters(model)
    optimiser = FlatAdamW(weights, decay=0.05)
    copies = plan.verifier_batch * _COPIES // _OF
    target = (torch.arange(plan.verifier_batch) < copies).float().to(device)
    weight = target + plan.negative_weight * (1 - target)
    for step in range(keeper.resume("verifier", optimiser, rng), plan.verifier_steps):
        image, place = _draw(pairs, plan.verifier_batch, rng).to(pairs.images.device).T
        first, second = (model.regions(maps[image, place].float()) for maps in (pairs.generated, pairs.images))
        loss = functional.binary_cross_entropy_with_logits(model(first, second), target, weight=weight)
        gradients.zero_()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step(gradients, warm_cosine(step, plan.verifier_steps, 3e-3, 30))
        keeper.keep("verifier", step + 1, optimiser, rng, last=step + 1 == plan.verifier_steps)
        report("verifier", step + 1, plan.verifier_steps, float(loss.detach()))
    return model.cpu().eval().requires_grad_(False)


def _nearest_others(
    fingerprinter: FingerprintNetwork, images: NDArray[np.uint8], chosen: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """(N, h): of each chosen image the nearest of all others, by the cosine of features."""
    pooled = describe(fingerprinter, images).features
    pooled -= pooled.mean(axis=0)
    pooled /= np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12)
    found = nearest(pooled[chosen], pooled, count=min(count + 1, len(images)))[1]
    itself = found == chosen[:, None]
    itself[~itself.any(axis=1), -1] = True  # among more equal images than are asked for
    others: NDArray[np.int64] = found[~itself].reshape(len(chosen), -1)
    return others


def _draw(pairs: _Pairs, batch: int, rng: torch.Generator) -> Tensor:
    """(image, place) of a batch of pairs, copies first."""
    copies, blends = batch * _COPIES // _OF, batch * _BLENDS // _OF
    counts = copies, batch - copies - blends, blends
    return torch.cat(
        [
            kind[torch.randint(len(kind), (count,), generator=rng)]
            for kind, count in zip(pairs.kinds, counts, strict=True)
        ]
    )
