"""The verifier: whether two images are the same picture, from where their regions agree.

Each image's map is projected to a quarter of its channels and pooled over 55 windows (R-MAC, Tolias et al. 2016:
1 + 4 + 9 + 16 + 25 windows at five scales of an 8 x 8 map). All 55 x 55 correlations of the two images' windows go
through a small network, in both orders, so that the similarity is symmetric (PDFed, section 3.2).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from diffusion.score.fingerprint import MAP_CHANNELS, MAP_SIZE

__all__ = ["REGIONS", "Verifier", "similarities", "window_matrix"]

_SCALES: Final = 5
#: Windows per image: 1 + 4 + 9 + 16 + 25.
REGIONS: Final = sum(scale * scale for scale in range(1, _SCALES + 1))
_POOL_POWER: Final = 3.0
#: Distance from 1 below which correlations are no longer told apart.
_NEAR_ONE: Final = 0.02


def window_matrix() -> Tensor:
    """Averages of 55 square windows of an 8 x 8 map as one matrix, float32 (55, 64).

    At scale s there are s x s windows of side 2 S / (s + 1), rounded down, evenly spread so that neighbours overlap.
    """
    rows = []
    for scale in range(1, _SCALES + 1):
        side = max(2 * MAP_SIZE // (scale + 1), 1)
        room = MAP_SIZE - side
        starts = [(room * index) // (scale - 1) if scale > 1 else 0 for index in range(scale)]
        for top in starts:
            for left in starts:
                window = torch.zeros(MAP_SIZE, MAP_SIZE)
                window[top : top + side, left : left + side] = 1 / side**2
                rows.append(window.flatten())
    return torch.stack(rows)


class Verifier(nn.Module):
    """`regions`: maps (N, D, 8, 8) to (N, 55, D / 4); `forward`: two such, pair by pair, to logits (N,).

    Args:
        channels: D, of the fingerprinter's maps.
    """

    def __init__(self, channels: int = MAP_CHANNELS) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, channels // 4, 1)
        self.judge = nn.Sequential(
            nn.Linear(REGIONS * REGIONS, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 1)
        )
        self.register_buffer("windows", window_matrix(), persistent=False)

    def regions(self, maps: Tensor) -> Tensor:
        """Unit-length descriptors of the 55 windows of each map."""
        projected = self.project(maps).flatten(2)  # (N, D / 4, 64)
        # softplus instead of clipping: a window must have a length to be divided by
        powered = functional.softplus(projected).pow(_POOL_POWER)
        windows: Tensor = self.get_buffer("windows")
        pooled = (powered @ windows.T).pow(1 / _POOL_POWER)  # (N, D / 4, 55)
        return functional.normalize(pooled - pooled.mean(dim=(1, 2), keepdim=True), dim=1).transpose(1, 2)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        # copies and near misses differ where correlations are close to 1, so that end is stretched (0.98 is half way)
        correlation = first @ second.transpose(1, 2)  # (N, 55, 55)
        stretched = -(1 + _NEAR_ONE - correlation).clamp(min=_NEAR_ONE).log() * (2 / -math.log(_NEAR_ONE))
        forward: Tensor = self.judge(stretched.flatten(1))
        backward: Tensor = self.judge(stretched.transpose(1, 2).flatten(1))
        return (forward + backward).squeeze(1)


def similarities(
    model: Verifier,
    maps_first: Tensor,
    maps_second: Tensor,
    pairs: NDArray[np.int64],
    *,
    batch_size: int = 128,
) -> NDArray[np.float64]:
    """s in [0, 1] of each pair; ``pairs`` (P, 2) indexes the first and the second maps. Unrounded."""
    if len(pairs) == 0:
        return np.zeros(0)
    parts = []
    with torch.inference_mode():
        device = maps_first.device
        # regions are computed once per image, however many pairs it is in
        first, which_first = _unique(pairs[:, 0], device)
        second, which_second = _unique(pairs[:, 1], device)
        regions_first = model.regions(maps_first[first])
        regions_second = model.regions(maps_second[second])
        for start in range(0, len(pairs), batch_size):
            end = start + batch_size
            logits = model(regions_first[which_first[start:end]], regions_second[which_second[start:end]])
            parts.append(torch.sigmoid(logits))
    result: NDArray[np.float64] = torch.cat(parts).double().cpu().numpy()
    return result


def _unique(indices: NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor]:
    """The different indices, and for each index its position among them."""
    unique, inverse = np.unique(indices, return_inverse=True)
    return torch.from_numpy(unique).to(device), torch.from_numpy(inverse).to(device)
