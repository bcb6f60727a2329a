"""The verifier: whether two images are the same picture, from where their regions agree.

Each image's map is projected to a quarter of its channels and pooled over 55 windows (R-MAC, Tolias et al. 2016:
1 + 4 + 9 + 16 + 25 windows at five scales of an 8 x 8 map). All 55 x 55 correlations of the two images' windows go
through a small network, in both orders, so that the network's answer is symmetric (PDFed, section 3.2).

Before that the training image of a pair is brought into line with the generated one (`diffusion.score.register`, ADR
0145 and 0146), so that a window is compared with the same part of the other picture, as sharp and as bright.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from diffusion.sampler import to_unit
from diffusion.score.fingerprint import MAP_SIZE, FingerprintNetwork
from diffusion.score.register import in_line

__all__ = ["REGIONS", "Verifier", "similarities", "window_matrix"]

_SCALES: Final = 5
#: Windows per image: 1 + 4 + 9 + 16 + 25.
REGIONS: Final = sum(scale * scale for scale in range(1, _SCALES + 1))
#: Distance from 1 below which correlations are no longer told apart.
_NEAR_ONE: Final = 0.02
#: The plain form's projections are clipped here, so that an empty window has a length and a root has a slope.
_CLIP: Final = 1e-6


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
    """`regions`: maps (N, M, 8, 8) to (N, 55, M / 4); `forward`: two such, pair by pair, to logits (N,).

    Args:
        channels: M, of the fingerprinter's maps.
        plain: what the paper makes of maps: projections clipped at zero, windows only divided by their length,
            correlations as they are, and pictures where they are. Otherwise the changes of ADR 0033, 0145 and 0146.
    """

    def __init__(self, channels: int, *, plain: bool = False) -> None:
        super().__init__()
        self.plain = plain
        self.project = nn.Conv2d(channels, channels // 4, 1)
        self.judge = nn.Sequential(
            nn.Linear(REGIONS * REGIONS, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 1)
        )
        self.register_buffer("windows", window_matrix(), persistent=False)

    def regions(self, maps: Tensor) -> Tensor:
        """Unit-length descriptors of the 55 windows of each map."""
        projected = self.project(maps).flatten(2)  # (N, D / 4, 64)
        # softplus instead of clipping: a window must have a length to be divided by
        positive = projected.clamp(min=_CLIP) if self.plain else functional.softplus(projected)
        windows: Tensor = self.get_buffer("windows")
        # generalised means of power 3 (GeM)
        pooled = (positive * positive * positive @ windows.T).pow(1 / 3)  # (N, D / 4, 55)
        if not self.plain:
            pooled = pooled - pooled.mean(dim=(1, 2), keepdim=True)
        return functional.normalize(pooled, dim=1).transpose(1, 2)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        correlation = first @ second.transpose(1, 2)  # (N, 55, 55)
        if not self.plain:
            # copies and near misses differ where correlations are close to 1, so that end is stretched: 0 stays
            # (nearly) 0, 1 becomes 2, and 0.88 is half way
            correlation = -(1 + _NEAR_ONE - correlation).clamp(min=_NEAR_ONE).log() * (2 / -math.log(_NEAR_ONE))
        forward: Tensor = self.judge(correlation.flatten(1))
        backward: Tensor = self.judge(correlation.transpose(1, 2).flatten(1))
        return (forward + backward).squeeze(1)


def similarities(
    fingerprinter: FingerprintNetwork,
    model: Verifier,
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
    pairs: NDArray[np.int64],
    *,
    batch_size: int = 64,
) -> NDArray[np.float64]:
    """s in [0, 1] of each pair; ``pairs`` (P, 2) indexes the first and the second images. Unrounded.

    The second image is brought into line with the first, unless the verifier is plain. Images of equal pixels have
    similarity 1, whatever the verifier has learned. Maps exist of a batch of pairs at a time; an image that is in
    several of them unchanged is looked at once.
    """
    weight = next(fingerprinter.parameters())

    def unit(images: NDArray[np.uint8]) -> Tensor:
        return to_unit(images, weight.dtype).to(weight.device)

    found = np.empty(len(pairs))
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    with torch.inference_mode():
        for start in range(0, len(pairs), batch_size):
            rows = order[start : start + batch_size]
            ours, place = np.unique(pairs[rows, 0], return_inverse=True)
            theirs, other = np.unique(pairs[rows, 1], return_inverse=True)
            fixed, moving = unit(first[ours]), unit(second[theirs])
            if not model.plain:
                moving, other = in_line(moving[other], fixed[place]), np.arange(len(rows))
            regions = model.regions(fingerprinter.maps(torch.cat([fixed, moving])))
            logits = model(regions[place], regions[len(ours) + other])
            found[rows] = torch.sigmoid(logits).double().cpu().numpy()
            equal = (first[pairs[rows, 0]] == second[pairs[rows, 1]]).all(axis=(1, 2, 3))
            found[rows[equal]] = 1
    return found
