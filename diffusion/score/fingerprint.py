"""The fingerprinter: a small residual network that tells an image from all others.

The paper trains a ResNet-50 contrastively; this is the same idea at the size of the images it is for (8 to 64
pixels). One set of weights serves every size, grey or in colour: how many of the blocks halve the image depends on its
size, so that the last map is always 8 x 8, and grey is colour with three equal channels. `describe` returns the pooled
last map for the Frechet distance (its length kept: of unit-length features the distance is negligible beside the
novelty term), and the unit-length fingerprint for retrieval. What a verifier compares are the maps of the first two
blocks (ADR 0147): where a picture has which edges and textures, rather than what it shows. These are much larger and
needed of few images, so they are computed again for those (`diffusion.score.verifier.similarities`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from diffusion.errors import CheckpointRefused
from diffusion.progress import Report, silent
from diffusion.sampler import to_unit
from pdfedchain.types.score import UnscorableReason

__all__ = [
    "MAP_SIZE",
    "Described",
    "FingerprintNetwork",
    "Fingerprinter",
    "contrastive_loss",
    "describe",
    "feature_size",
]

#: Height and width of the last spatial map, whatever the image size.
MAP_SIZE: Final = 8
_WIDTHS: Final = (32, 64, 128)
#: So many blocks, from the first, are seen by a verifier.
_MAPPED: Final = 2
_FINGERPRINT_SIZE: Final = 128
_COLOURS: Final = 3
_GROUPS: Final = 8
_POOL_POWER: Final = 3.0
#: The temperature lambda of the loss.
_TEMPERATURE: Final = 0.1


class _Block(nn.Module):
    """Two convolutions and a shortcut (He et al. 2016), group-normalised: no statistics of a batch."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(_GROUPS, channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(_GROUPS, channels_out)
        self.shortcut = nn.Conv2d(channels_in, channels_out, 1, bias=False)

    def forward(self, x: Tensor, *, stride: int) -> Tensor:
        hidden = functional.relu(self.norm1(functional.conv2d(x, self.conv1.weight, stride=stride, padding=1)))
        shortcut = functional.conv2d(x, self.shortcut.weight, stride=stride)
        return functional.relu(self.norm2(self.conv2(hidden)) + shortcut)


class FingerprintNetwork(nn.Module, ABC):
    """Images (N, C, S, S) in [-1, 1] to features (N, D) and unit-length fingerprints (N, F); `maps` to (N, M, 8, 8).

    Attributes:
        feature_size: D.
        fingerprint_size: F.
        map_channels: M.
    """

    feature_size: int
    fingerprint_size: int
    map_channels: int

    @abstractmethod
    def maps(self, images: Tensor) -> Tensor:
        """What a verifier compares, place by place."""


class Fingerprinter(FingerprintNetwork):
    """D = F = 128, M = 96: 0.33 million parameters, the same for every image size and for one or three channels."""

    feature_size = _WIDTHS[-1]
    fingerprint_size = _FINGERPRINT_SIZE
    map_channels = sum(_WIDTHS[:_MAPPED])

    def __init__(self) -> None:
        super().__init__()
        channels = (_COLOURS, *_WIDTHS)
        self.blocks = nn.ModuleList(_Block(before, after) for before, after in pairwise(channels))
        self.head = nn.Sequential(nn.Linear(channels[-1], 128), nn.ReLU(), nn.Linear(128, _FINGERPRINT_SIZE))

    def _after_blocks(self, images: Tensor) -> Iterator[Tensor]:
        """What comes out of one block after the other."""
        x = images.expand(-1, _COLOURS, -1, -1)
        halvings = (images.shape[-1] // MAP_SIZE).bit_length() - 1
        for index, block in enumerate(self.blocks):
            x = block(x, stride=2 if index < halvings else 1)
            yield x

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        *_, last = self._after_blocks(images)
        # generalised mean (Radenovic et al. 2019, equation 3)
        pooled = last.clamp(min=1e-6).pow(_POOL_POWER).mean(dim=(2, 3)).pow(1 / _POOL_POWER)
        return pooled, functional.normalize(self.head(pooled), dim=1)

    def maps(self, images: Tensor) -> Tensor:
        """The first two blocks' outputs, the larger ones averaged down to 8 x 8."""
        early = islice(self._after_blocks(images), _MAPPED)
        return torch.cat([functional.avg_pool2d(x, x.shape[-1] // MAP_SIZE) for x in early], dim=1)


def contrastive_loss(fingerprints: Tensor, augmented: Tensor, *, same: Tensor | None = None) -> Tensor:
    """The loss of PDFed, section 3.2, over a batch: -mean log(d(i, i^) / (d(i, i^) + sum over j != i of d(i, j))).

    Both arguments are unit-length fingerprints (N, D); d(a, b) = exp(a.b / lambda).

    Args:
        same: bool (N, N), pairs left out of the sum over j: other images that are almost equal.
    """
    among = fingerprints @ fingerprints.T / _TEMPERATURE
    positive = (fingerprints * augmented).sum(dim=1) / _TEMPERATURE
    if same is not None:
        among = among.masked_fill(same, -torch.inf)
    logits = among.diagonal_scatter(positive)  # the image itself gives way to its copy
    return functional.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


@dataclass(frozen=True, slots=True, eq=False)
class Described:
    """Of N images: ``features`` for the Frechet distance and ``fingerprints`` (N, F), both float64."""

    features: NDArray[np.float64]
    fingerprints: NDArray[np.float64]


def feature_size(network: nn.Module) -> int:
    """Numbers of an image that a Frechet distance sees, of the network that gives them."""
    size: Any = network.feature_size
    return int(size)


def describe(
    model: FingerprintNetwork,
    images: NDArray[np.uint8],
    *,
    extractor: nn.Module | None = None,
    batch_size: int = 64,
    report: Report = silent,
) -> Described:
    """Describe uint8 images (N, C, S, S) in the precision of the model's weights.

    Args:
        extractor: gives the features; without one they are the model's own.

    Raises:
        CheckpointRefused: a feature is not finite (`UnscorableReason.DIVERGED`).
    """
    weight = next(model.parameters())
    # filled in place: small arrays left between the large ones of each batch would keep the memory of all of them
    size = feature_size(model if extractor is None else extractor)
    features = np.empty((len(images), size))
    fingerprints = np.empty((len(images), model.fingerprint_size))
    with torch.inference_mode():
        for first in range(0, len(images), batch_size):
            rows = slice(first, min(first + batch_size, len(images)))
            batch = to_unit(images[rows], weight.dtype).to(weight.device)
            pooled, unit = model(batch)
            described = pooled if extractor is None else extractor(batch)
            features[rows], fingerprints[rows] = described.double().cpu().numpy(), unit.double().cpu().numpy()
            report("describe", rows.stop, len(images), 0.0)
    if not (np.isfinite(features).all() and np.isfinite(fingerprints).all()):
        raise CheckpointRefused(UnscorableReason.DIVERGED, "a feature of a generated image is not finite")
    return Described(features, fingerprints)
