"""What generated copies of an image look like: the augmentations that train fingerprinter and verifier.

PDFed (section 3.2) uses colour jitter, crops, noise, blur, recompression and changes of resolution. They are done here
on whole batches in torch, without an image library, each with its own strength per image; recompression is the
quantisation of 8 x 8 cosine coefficients that JPEG does. Strengths are mild: at 8 pixels a shift by one pixel turns
an image into somebody else's.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["augment"]

_BLOCK: Final = 8


def augment(images: Tensor, rng: torch.Generator, *, strength: float = 1.0, noise: float = 0.12) -> Tensor:
    """Augmented copies of images (N, C, H, W) in [-1, 1], in the same range.

    Args:
        strength: factor of all deviations from the identity.
        noise: largest standard deviation of the noise, at strength 1.
    """
    out = _move(images, rng, strength)
    out = _soften(out, rng, strength)
    if images.shape[-1] > _BLOCK:
        out = _resize(out, rng)
    out = _jitter(out, rng, strength)
    out = out + torch.randn(out.shape, generator=rng) * _uniform(len(out), 0.0, noise * strength, rng)
    return _recompress(out, rng, strength).clamp(-1, 1)


def _uniform(count: int, low: float, high: float, rng: torch.Generator, channels: int = 1) -> Tensor:
    return low + (high - low) * torch.rand((count, channels, 1, 1), generator=rng)


def _move(images: Tensor, rng: torch.Generator, strength: float) -> Tensor:
    """Rotation by up to 4 degrees, scale by up to 6 %, shift by up to 4 % of the side: a crop put back."""
    count = len(images)
    angle = (_uniform(count, -4, 4, rng) * strength * math.pi / 180).flatten()
    scale = 1 + _uniform(count, -0.06, 0.06, rng).flatten() * strength
    shift = 2 * 0.04 * strength * (2 * torch.rand((count, 2), generator=rng) - 1)  # the grid's side is 2
    cos, sin = scale * angle.cos(), scale * angle.sin()
    matrix = torch.stack(
        [torch.stack([cos, -sin, shift[:, 0]], dim=1), torch.stack([sin, cos, shift[:, 1]], dim=1)], dim=1
    )
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _soften(images: Tensor, rng: torch.Generator, strength: float) -> Tensor:
    """Blur, or the opposite: a binomial kernel's effect times -0.3 to 0.6.

    `diffusion.score.tone.blurred` is the same and quicker, but rounds otherwise, and other weights would come out.
    """
    kernel = torch.tensor([1.0, 2.0, 1.0])
    kernel = (kernel[:, None] * kernel[None] / 16).expand(images.shape[1], 1, 3, 3)
    padded = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    blurred = functional.conv2d(padded, kernel, groups=images.shape[1])
    return images + (blurred - images) * _uniform(len(images), -0.3, 0.6, rng) * strength


def _resize(images: Tensor, rng: torch.Generator) -> Tensor:
    """Half of the images go through three quarters of their resolution."""
    small = functional.interpolate(images, scale_factor=0.75, mode="area")
    back = functional.interpolate(small, size=images.shape[-2:], mode="bilinear", align_corners=False)
    return torch.where(_uniform(len(images), 0, 1, rng) < 0.5, back, images)


def _jitter(images: Tensor, rng: torch.Generator, strength: float) -> Tensor:
    """Brightness, contrast and, for colour images, the balance of the channels."""
    count, channels = images.shape[:2]
    out = images * (1 + strength * _uniform(count, -0.15, 0.15, rng)) + strength * _uniform(count, -0.1, 0.1, rng)
    if channels > 1:
        out = out * (1 + strength * _uniform(count, -0.07, 0.07, rng, channels))
    return out


def _recompress(images: Tensor, rng: torch.Generator, strength: float) -> Tensor:
    """Round the cosine coefficients of 8 x 8 blocks to multiples of a step that grows with the frequency."""
    index = torch.arange(_BLOCK, dtype=torch.float32)
    basis = torch.cos(math.pi * (2 * index[None] + 1) * index[:, None] / (2 * _BLOCK)) * math.sqrt(2 / _BLOCK)
    basis[0] /= math.sqrt(2)
    count, channels, height, width = images.shape
    blocks = images.reshape(count, channels, height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK).transpose(3, 4)
    coefficients = basis @ blocks @ basis.T
    frequency = (index[:, None] + index[None]) / (2 * _BLOCK - 2)
    step = (0.02 + 0.4 * frequency) * strength * _uniform(count, 0.05, 1.0, rng)[..., None, None]
    rounded = torch.round(coefficients / step) * step
    return (basis.T @ rounded @ basis).transpose(3, 4).reshape(images.shape)
