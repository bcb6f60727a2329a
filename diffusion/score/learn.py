"""Training a task's scorer on the reference's training images, within a minute or two of a core.

The fingerprinter, usually the shipped one, is first tuned to these images (`diffusion.score.learn_fingerprinter`); then
the verifier is trained on its frozen maps. The verifier sees pairs of an image as it is and a second one, as the paper
has it: an augmented copy of any strength, or the image itself (positive); one of its nearest others, half of them as
they are and half augmented (hard negative; mined by the cosine of pooled maps); or a blend of it with a near one, in
which the other has the larger part (negative; ADR 0033). Views and their maps are computed once, so that the many short
steps cost little.

Training is seeded but need not repeat across machines: the task pins the result. With a `Keeper` it goes on where it
was interrupted, and ends with the very weights that it would have had.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from diffusion.data.images import LabelledImages
from diffusion.progress import Report, silent
from diffusion.sampler import to_unit
from diffusion.score.augment import augment
from diffusion.score.fingerprint import MAP_SIZE, Fingerprinter, FingerprintNetwork, describe
from diffusion.score.keeper import NOTHING_KEPT, Keeper
from diffusion.score.learn_fingerprinter import FingerprinterPlan, source_of, train_fingerprinter
from diffusion.score.scorer import FEATURE_VARIANCE, Scorer
from diffusion.score.verifier import Verifier
from diffusion.train import FlatAdamW, flatten_parameters, generator_of, warm_cosine
from pdfedchain.ids import Hash

__all__ = ["LearningPlan", "train_scorer", "train_verifier"]


@dataclass(frozen=True, slots=True)
class LearningPlan:
    """How long to train: steps of each network, views per image in the verifier's pool."""

    fingerprinter_steps: int = 100
    fingerprinter_batch: int = 64
    rate_micro: int = 3_000
    verifier_steps: int = 1_000
    verifier_batch: int = 32
    views: int = 12
    #: Blends per image in the verifier's pool, and the range of the image's own share in them.
    blends: int = 4
    blend_share: tuple[float, float] = (0.3, 0.5)
    #: Nearest other images among which hard negatives are drawn.
    hard_negatives: int = 8
    #: Strengths of the augmentations, from one view of an image to the next; the fingerprinter's is 1.
    strengths: tuple[float, float] = (0.25, 1.0)
    #: The verifier in the paper's own form (`Verifier`).
    plain: bool = False


#: Most images of which views are kept for the verifier; more are sampled down.
_VERIFIER_IMAGES_MAX: Final = 2_000
#: Strength of the augmentation of blends.
_BLEND_STRENGTH: Final = 0.5
#: Nearest other images that an image is blended with.
_BLENDED_WITH: Final = 4
_HARDEST: Final = 2
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
class _Pool:
    """Maps of N images in float16: ``views`` (N, views + 1, D, 8, 8), the image itself first; ``blends`` likewise.

    ``hardest`` (N, h) holds the indices of each image's nearest others.
    """

    views: Tensor
    blends: Tensor
    hardest: Tensor


def _pool_of_views(
    fingerprinter: FingerprintNetwork, images: Tensor, rng: torch.Generator, plan: LearningPlan, report: Report
) -> _Pool:
    count, device = len(images), next(fingerprinter.parameters()).device

    def maps_of(batch: Tensor) -> Tensor:
        maps: Tensor = fingerprinter(batch.to(device))[0]
        return maps.half()

    with torch.no_grad():
        pooled = torch.cat([fingerprinter(batch.to(device))[1].cpu() for batch in torch.split(images, 64)])
        unit = functional.normalize(pooled - pooled.mean(dim=0), dim=1)
        nearness = (unit @ unit.T).fill_diagonal_(-2)
        hardest = nearness.topk(min(plan.hard_negatives, count - 1), dim=1).indices
        # filled in place: together these are by far the largest tensors here
        shape = (fingerprinter.map_channels, MAP_SIZE, MAP_SIZE)
        views = torch.empty(count, plan.views + 1, *shape, dtype=torch.float16, device=device)
        blends = torch.empty(count, plan.blends, *shape, dtype=torch.float16, device=device)
        strengths = np.linspace(*plan.strengths, plan.views).tolist()
        for start in range(0, count, _MAPS_AT_ONCE):
            rows = slice(start, start + _MAPS_AT_ONCE)
            batch = images[rows]
            for position, view in enumerate([batch, *(augment(batch, rng, strength=each) for each in strengths)]):
                views[rows, position] = maps_of(view)
            for position in range(plan.blends):
                low, high = plan.blend_share
                share = low + (high - low) * torch.rand((len(batch), 1, 1, 1), generator=rng)
                which = torch.randint(min(_BLENDED_WITH, hardest.shape[1]), (len(batch), 1), generator=rng)
                near = images[hardest[rows].gather(1, which)[:, 0]]
                blended = augment(share * batch + (1 - share) * near, rng, strength=_BLEND_STRENGTH)
                blends[rows, position] = maps_of(blended)
            report("views", min(start + _MAPS_AT_ONCE, count), count, 0.0)
    return _Pool(views, blends, hardest)


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
    images = to_unit(train.images)
    if len(images) > _VERIFIER_IMAGES_MAX:
        images = images[torch.randperm(len(images), generator=rng)[:_VERIFIER_IMAGES_MAX]]
    home = next(fingerprinter.parameters()).device
    fingerprinter.to(device).eval().requires_grad_(False)
    pool = _pool_of_views(fingerprinter, images, rng, plan, report)
    fingerprinter.to(home)
    weights, gradients = flatten_parameters(model)
    optimiser = FlatAdamW(weights, decay=0.05)
    batch = plan.verifier_batch
    target = torch.cat([torch.ones(2 * batch), torch.zeros(3 * batch)]).to(device)
    for step in range(keeper.resume("verifier", optimiser, rng), plan.verifier_steps):
        anchor, *regions = torch.split(model.regions(_draw(pool, plan, rng).float()), batch)
        logits = model(anchor.repeat(5, 1, 1), torch.cat(regions))
        loss = functional.binary_cross_entropy_with_logits(logits, target)
        gradients.zero_()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step(gradients, warm_cosine(step, plan.verifier_steps, 3e-3, 30))
        keeper.keep("verifier", step + 1, optimiser, rng, last=step + 1 == plan.verifier_steps)
        report("verifier", step + 1, plan.verifier_steps, float(loss.detach()))
    return model.cpu().eval().requires_grad_(False)


def _draw(pool: _Pool, plan: LearningPlan, rng: torch.Generator) -> Tensor:
    """Maps (6 batches): images as they are; two views of each; a near other; one of the nearest others; a blend."""

    def below(high: int) -> Tensor:
        return torch.randint(high, (plan.verifier_batch,), generator=rng)

    def as_it_is_or_not() -> Tensor:
        return below(plan.views + 1) * below(2)

    near = pool.hardest.shape[1]
    one = below(len(pool.hardest))
    hard = pool.hardest[one, below(near)]
    hardest = pool.hardest[one, below(min(_HARDEST, near))]
    return torch.cat(
        [
            pool.views[one, 0],
            pool.views[one, below(plan.views + 1)],
            pool.views[one, below(plan.views + 1)],
            pool.views[hard, as_it_is_or_not()],
            pool.views[hardest, as_it_is_or_not()],
            pool.blends[one, below(plan.blends)],
        ]
    )
