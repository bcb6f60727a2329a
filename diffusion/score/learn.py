"""Training a task's scorer on the reference's training images, within a minute of two cores.

First the fingerprinter, contrastively; then the verifier on its frozen maps. The verifier sees pairs of two augmented
views: of one image (positive), of an image and one of its nearest others (hard negative; mined by the cosine of
pooled maps), or of an image and a blend of it with a near one, in which the other has the larger part. Without the
blends, 300 images teach no boundary: a tenth of held-out real images was confirmed as copies, with them a fiftieth
(ADR 0032). Views and their maps are computed once, so that the verifier's many short steps cost little.

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
from diffusion.score.fingerprint import MAP_SIZE, Fingerprinter, contrastive_loss, describe
from diffusion.score.keeper import NOTHING_KEPT, Keeper
from diffusion.score.scorer import FEATURE_VARIANCE, Scorer
from diffusion.score.verifier import Verifier
from diffusion.train import FlatAdamW, flatten_parameters, generator_of, warm_cosine
from pdfedchain.ids import Hash

__all__ = ["LearningPlan", "train_scorer"]


@dataclass(frozen=True, slots=True)
class LearningPlan:
    """How long to train: steps of each network, views per image in the verifier's pool."""

    fingerprinter_steps: int = 150
    fingerprinter_batch: int = 64
    verifier_steps: int = 200
    verifier_batch: int = 64
    views: int = 12
    #: Blends per image in the verifier's pool, and the range of the image's own share in them.
    blends: int = 4
    blend_share: tuple[float, float] = (0.3, 0.5)
    #: Nearest other images among which hard negatives are drawn.
    hard_negatives: int = 8
    #: Strength of the verifier's augmentations; the fingerprinter's is 1.
    verifier_strength: float = 0.5


#: Most images of which views are kept for the verifier; more are sampled down.
_VERIFIER_IMAGES_MAX: Final = 2_000


def train_scorer(
    train: LabelledImages,
    *,
    seed: Hash,
    plan: LearningPlan | None = None,
    report: Report = silent,
    keeper: Keeper = NOTHING_KEPT,
) -> Scorer:
    """A scorer in float32 for images like ``train``, trained on nothing else.

    Args:
        keeper: keeps what an interrupted training needs to go on; with the same images, seed and plan.
    """
    plan = plan or LearningPlan()
    rng = generator_of(seed)
    channels, image_size = train.images.shape[1], train.images.shape[2]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(seed[8:16], "big") >> 1)
        fingerprinter, verifier = Fingerprinter(), Verifier(Fingerprinter.map_channels)
    images = to_unit(train.images)
    _train_fingerprinter(fingerprinter, images, rng, plan, report, keeper)
    fingerprinter.eval().requires_grad_(False)
    if len(images) > _VERIFIER_IMAGES_MAX:
        images = images[torch.randperm(len(images), generator=rng)[:_VERIFIER_IMAGES_MAX]]
    _train_verifier(verifier, fingerprinter, images, rng, plan, report, keeper)
    features = describe(fingerprinter, train.images).features
    scale = float(np.sqrt(FEATURE_VARIANCE / features.var(axis=0).sum()))
    return Scorer(image_size, channels, fingerprinter, verifier.eval().requires_grad_(False), scale)


def _train_fingerprinter(
    model: Fingerprinter,
    images: Tensor,
    rng: torch.Generator,
    plan: LearningPlan,
    report: Report,
    keeper: Keeper,
) -> None:
    weights, gradients = flatten_parameters(model)
    optimiser = FlatAdamW(weights, decay=0.05)
    batch = min(plan.fingerprinter_batch, len(images))
    for step in range(keeper.resume("fingerprinter", optimiser, rng), plan.fingerprinter_steps):
        chosen = images[torch.randperm(len(images), generator=rng)[:batch]]
        views = torch.cat([augment(chosen, rng), augment(chosen, rng)])
        first, second = model(views)[2].chunk(2)
        loss = (contrastive_loss(first, second) + contrastive_loss(second, first)) / 2
        gradients.zero_()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step(gradients, warm_cosine(step, plan.fingerprinter_steps, 3e-3, 30))
        keeper.keep("fingerprinter", step + 1, optimiser, rng, last=step + 1 == plan.fingerprinter_steps)
        report("fingerprinter", step + 1, plan.fingerprinter_steps, float(loss.detach()))


@dataclass(frozen=True, slots=True, eq=False)
class _Pool:
    """Maps of N images: ``views`` (N, views + 1, D, 8, 8), the image itself first; ``blends`` (N, blends, ...).

    ``hardest`` (N, h) holds the indices of each image's nearest others.
    """

    views: Tensor
    blends: Tensor
    hardest: Tensor


def _pool_of_views(
    fingerprinter: Fingerprinter, images: Tensor, rng: torch.Generator, plan: LearningPlan, report: Report
) -> _Pool:
    count, strength = len(images), plan.verifier_strength

    def maps_of(batch: Tensor) -> Tensor:
        maps: Tensor = fingerprinter(batch)[0]
        return maps

    with torch.no_grad():
        pooled = torch.cat([fingerprinter(batch)[1] for batch in torch.split(images, 64)])
        unit = functional.normalize(pooled - pooled.mean(dim=0), dim=1)
        nearness = (unit @ unit.T).fill_diagonal_(-2)
        hardest = nearness.topk(min(plan.hard_negatives, count - 1), dim=1).indices
        # filled in place: together these are by far the largest tensors here
        shape = (fingerprinter.map_channels, MAP_SIZE, MAP_SIZE)
        views = torch.empty(count, plan.views + 1, *shape)
        blends = torch.empty(count, plan.blends, *shape)
        for start in range(0, count, 32):
            batch = images[start : start + 32]
            several = [batch, *(augment(batch, rng, strength=strength) for _ in range(plan.views))]
            for position, view in enumerate(several):
                views[start : start + 32, position] = maps_of(view)
            for position in range(plan.blends):
                low, high = plan.blend_share
                share = low + (high - low) * torch.rand((len(batch), 1, 1, 1), generator=rng)
                which = torch.randint(min(4, hardest.shape[1]), (len(batch),), generator=rng)
                near = images[hardest[start : start + 32].gather(1, which[:, None])[:, 0]]
                blended = augment(share * batch + (1 - share) * near, rng, strength=strength)
                blends[start : start + 32, position] = maps_of(blended)
            report("views", min(start + 32, count), count, 0.0)
    return _Pool(views, blends, hardest)


def _train_verifier(
    model: Verifier,
    fingerprinter: Fingerprinter,
    images: Tensor,
    rng: torch.Generator,
    plan: LearningPlan,
    report: Report,
    keeper: Keeper,
) -> None:
    pool = _pool_of_views(fingerprinter, images, rng, plan, report)
    weights, gradients = flatten_parameters(model)
    optimiser = FlatAdamW(weights, decay=0.05)
    batch = plan.verifier_batch

    def draw(high: int) -> Tensor:
        return torch.randint(high, (batch,), generator=rng)

    target = torch.cat([torch.ones(batch), torch.zeros(3 * batch)])
    for step in range(keeper.resume("verifier", optimiser, rng), plan.verifier_steps):
        one = draw(len(images))
        hard = pool.hardest[one, draw(pool.hardest.shape[1])]
        hardest = pool.hardest[one, draw(min(2, pool.hardest.shape[1]))]
        others = [pool.views[other, draw(plan.views + 1)] for other in (one, hard, hardest)]
        others.append(pool.blends[one, draw(plan.blends)])
        described = model.regions(torch.cat([pool.views[one, draw(plan.views + 1)], *others]))
        anchor, *regions = torch.split(described, batch)
        logits = model(anchor.repeat(4, 1, 1), torch.cat(regions))
        loss = functional.binary_cross_entropy_with_logits(logits, target)
        gradients.zero_()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step(gradients, warm_cosine(step, plan.verifier_steps, 3e-3, 30))
        keeper.keep("verifier", step + 1, optimiser, rng, last=step + 1 == plan.verifier_steps)
        report("verifier", step + 1, plan.verifier_steps, float(loss.detach()))
