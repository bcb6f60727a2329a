"""Training a fingerprinter contrastively: for images of one kind and size, or for many kinds and every size.

Each step takes a batch of one source at one size. A quarter of a batch is drawn at random; to each come the images
that are nearest to it pixel by pixel, so that the network learns to tell apart what looks alike, which is what the
retrieval threshold asks of it. Images of a batch that are almost equal are not taken for different ones. Every other
batch of colour pictures is made grey.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from diffusion.progress import Report, silent
from diffusion.sampler import to_unit
from diffusion.score.augment import augment
from diffusion.score.fingerprint import Fingerprinter, contrastive_loss
from diffusion.score.keeper import NOTHING_KEPT, Keeper
from diffusion.train import FlatAdamW, flatten_parameters, generator_of, warm_cosine
from pdfedchain.ids import Hash

__all__ = ["FingerprinterPlan", "Source", "new_fingerprinter", "source_of", "train_fingerprinter"]

#: Images of a batch that come with each one drawn.
_COMPANIONS: Final = 3
#: Nearest images among which they are drawn.
_NEAR: Final = 8
#: Side at which nearness is looked at.
_NEAR_SIDE_PX: Final = 8
#: Root mean square difference, of pixels from -1 to 1, below which two images count as one: 3.8 of 255 levels.
_EQUAL: Final = 0.03
#: Rows of distances held at a time.
_ROWS: Final = 1_024
_GREY_SHARE: Final = 0.5
_RED, _GREEN, _BLUE = 0.299, 0.587, 0.114


@dataclass(frozen=True, slots=True)
class FingerprinterPlan:
    """How long to train, and at which sizes.

    Attributes:
        sizes: image size in pixels -> share of the steps; sizes that a source does not have are left out for it.
        half: compute in bfloat16 where torch thinks it safe, which is faster on recent processors.
    """

    steps: int = 150
    batch: int = 64
    rate_micro: int = 3_000
    sizes: tuple[tuple[int, float], ...] = ()
    half: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Images of one kind.

    Attributes:
        sizes: image size -> uint8 (N, C, S, S), the same N images at each.
        near: int64 (N, k), the images most like each one.
    """

    sizes: Mapping[int, NDArray[np.uint8]]
    near: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.near)


def source_of(sizes: Mapping[int, NDArray[np.uint8]]) -> Source:
    """A source, with the nearest images of each found."""
    small = to_unit(sizes[min(sizes)])
    if small.shape[-1] > _NEAR_SIDE_PX:
        small = functional.interpolate(small, size=_NEAR_SIDE_PX, mode="area")
    flat = small.flatten(1)
    length = (flat * flat).sum(dim=1)
    parts = []
    for start in range(0, len(flat), _ROWS):
        rows = flat[start : start + _ROWS]
        away = torch.addmm(length[None], rows, flat.T, alpha=-2)
        away[torch.arange(len(rows)), torch.arange(start, start + len(rows))] = torch.inf
        parts.append(away.topk(min(_NEAR, len(flat) - 1), dim=1, largest=False).indices)
    return Source(sizes, torch.cat(parts).numpy())


def new_fingerprinter(seed: Hash) -> Fingerprinter:
    """Random weights as a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(seed[8:16], "big") >> 1)
        return Fingerprinter()


def train_fingerprinter(
    sources: Sequence[Source],
    *,
    seed: Hash,
    plan: FingerprinterPlan,
    start: Fingerprinter | None = None,
    device: str = "cpu",
    report: Report = silent,
    keeper: Keeper = NOTHING_KEPT,
) -> Fingerprinter:
    """A fingerprinter in float32, on the CPU, for inference.

    Args:
        start: weights to begin with, instead of random ones; it is left alone.
        keeper: keeps what an interrupted training needs to go on; with the same sources, seed and plan.
    """
    model = new_fingerprinter(seed) if start is None else copy.deepcopy(start).train().requires_grad_(True)
    model.to(device)
    weights, gradients = flatten_parameters(model)
    optimiser = FlatAdamW(weights, decay=0.05)
    rng = generator_of(seed)
    for step in range(keeper.resume("fingerprinter", optimiser, rng), plan.steps):
        chosen = _batch(sources, plan, rng)
        same = _equal_pairs(chosen).to(device)
        views = torch.cat([augment(chosen, rng), augment(chosen, rng)]).to(device)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=plan.half):
            _, fingerprints = model(views)
        first, second = fingerprints.float().chunk(2)
        loss = (contrastive_loss(first, second, same=same) + contrastive_loss(second, first, same=same)) / 2
        gradients.zero_()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step(gradients, warm_cosine(step, plan.steps, plan.rate_micro / 1e6, 30))
        keeper.keep("fingerprinter", step + 1, optimiser, rng, last=step + 1 == plan.steps)
        report("fingerprinter", step + 1, plan.steps, float(loss.detach()))
    return model.cpu().eval().requires_grad_(False)


def _batch(sources: Sequence[Source], plan: FingerprinterPlan, rng: torch.Generator) -> Tensor:
    """A batch of one source at one size, in [-1, 1]: some images, and others that look like them."""
    source = sources[int(torch.randint(len(sources), (1,), generator=rng))]
    shares = [(size, share) for size, share in plan.sizes if size in source.sizes] or [(max(source.sizes), 1.0)]
    drawn = torch.multinomial(torch.tensor([share for _, share in shares]), 1, generator=rng)
    images = source.sizes[shares[int(drawn)][0]]
    first = torch.randint(len(source), (max(plan.batch // (1 + _COMPANIONS), 1),), generator=rng).numpy()
    which = torch.randint(source.near.shape[1], (len(first), _COMPANIONS), generator=rng).numpy()
    companions = np.take_along_axis(source.near[first], which, axis=1)
    together = np.unique(np.concatenate([first, companions.flatten()]))  # no image is in a batch twice
    batch = to_unit(images[together])
    if batch.shape[1] > 1 and float(torch.rand(1, generator=rng)) < _GREY_SHARE:
        weights = torch.tensor([_RED, _GREEN, _BLUE])
        batch = (batch * weights[:, None, None]).sum(dim=1, keepdim=True).clamp(-1, 1)
    return batch


def _equal_pairs(images: Tensor) -> Tensor:
    """bool (N, N): pairs of different images that are almost the same picture."""
    flat = images.flatten(1)
    away = torch.cdist(flat, flat).fill_diagonal_(torch.inf)
    return away < _EQUAL * math.sqrt(flat.shape[1])
