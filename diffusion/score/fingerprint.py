"""The fingerprinter: a small residual network that tells an image from all others.

The paper trains a ResNet-50 contrastively; this is the same idea at the size of the images it is for (8 to 64
pixels). It keeps an 8 x 8 map to the end, for the verifier. `describe` returns the pooled map for the Frechet distance
(its length kept: of unit-length features the distance is negligible beside the novelty term), and the unit-length
fingerprint for retrieval. Maps are twenty times larger and needed of few images, so they are computed again for those
(`diffusion.score.verifier.regions_of`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from diffusion.errors import CheckpointRefused
from diffusion.progress import Report, silent
from diffusion.sampler import to_unit
from pdfedchain.types.score import UnscorableReason

__all__ = ["FINGERPRINT_SIZE", "MAP_CHANNELS", "MAP_SIZE", "Described", "Fingerprinter", "contrastive_loss", "describe"]

#: Height and width of the last spatial map, whatever the image size.
MAP_SIZE: Final = 8
MAP_CHANNELS: Final = 64
_WIDTHS: Final = (16, 32, MAP_CHANNELS)
FINGERPRINT_SIZE: Final = 128
_GROUPS: Final = 8
_POOL_POWER: Final = 3.0
#: The temperature lambda of the loss.
_TEMPERATURE: Final = 0.1


class _Block(nn.Module):
    """Two convolutions and a shortcut (He et al. 2016), group-normalised: no statistics of a batch."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(_GROUPS, channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(_GROUPS, channels_out)
        self.shortcut = nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(hidden)) + self.shortcut(x))


class Fingerprinter(nn.Module):
    """Images (N, C, S, S) in [-1, 1] to maps (N, 64, 8, 8), pooled features (N, 64), fingerprints (N, 128)."""

    def __init__(self, *, image_size: int, channels: int) -> None:
        super().__init__()
        halvings = (image_size // MAP_SIZE).bit_length() - 1
        blocks, previous = [], channels
        for index, width in enumerate(_WIDTHS):
            blocks.append(_Block(previous, width, 2 if index < halvings else 1))
            previous = width
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Sequential(nn.Linear(MAP_CHANNELS, 128), nn.ReLU(), nn.Linear(128, FINGERPRINT_SIZE))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = images
        for block in self.blocks:
            x = block(x)
        # generalised mean (Radenovic et al. 2019, equation 3)
        pooled = x.clamp(min=1e-6).pow(_POOL_POWER).mean(dim=(2, 3)).pow(1 / _POOL_POWER)
        return x, pooled, functional.normalize(self.head(pooled), dim=1)


def contrastive_loss(fingerprints: Tensor, augmented: Tensor) -> Tensor:
    """The loss of PDFed, section 3.2, over a batch: -mean log(d(i, i^) / (d(i, i^) + sum over j != i of d(i, j))).

    Both arguments are unit-length fingerprints (N, D); d(a, b) = exp(a.b / lambda).
    """
    among = fingerprints @ fingerprints.T / _TEMPERATURE
    positive = (fingerprints * augmented).sum(dim=1) / _TEMPERATURE
    logits = among.diagonal_scatter(positive)  # the image itself gives way to its copy
    return functional.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


@dataclass(frozen=True, slots=True, eq=False)
class Described:
    """Of N images: ``features`` (N, 64) and ``fingerprints`` (N, 128)."""

    features: NDArray[np.float64]
    fingerprints: NDArray[np.float64]


def describe(
    model: Fingerprinter, images: NDArray[np.uint8], *, batch_size: int = 64, report: Report = silent
) -> Described:
    """Describe uint8 images (N, C, S, S) in the precision of the model's weights.

    Raises:
        CheckpointRefused: a feature is not finite (`UnscorableReason.DIVERGED`).
    """
    weight = next(model.parameters())
    # filled in place: small arrays left between the large ones of each batch would keep the memory of all of them
    features = np.empty((len(images), MAP_CHANNELS))
    fingerprints = np.empty((len(images), FINGERPRINT_SIZE))
    with torch.inference_mode():
        for first in range(0, len(images), batch_size):
            rows = slice(first, min(first + batch_size, len(images)))
            _, pooled, unit = model(to_unit(images[rows], weight.dtype).to(weight.device))
            features[rows], fingerprints[rows] = pooled.double().cpu().numpy(), unit.double().cpu().numpy()
            report("describe", rows.stop, len(images), 0.0)
    if not (np.isfinite(features).all() and np.isfinite(fingerprints).all()):
        raise CheckpointRefused(UnscorableReason.DIVERGED, "a feature of a generated image is not finite")
    return Described(features, fingerprints)
