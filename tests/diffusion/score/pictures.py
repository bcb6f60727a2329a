"""Digits, and how far pictures are from each other, for the tests that bring pictures into line."""

from __future__ import annotations

import torch

from diffusion.data.digits import load_digits

DIGITS = load_digits().images[:60]


def levels(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Root mean square difference of each pair of images (N, C, S, S) in [-1, 1], of 255 levels."""
    return (first - second).pow(2).mean(dim=(1, 2, 3)).sqrt() * 127.5
