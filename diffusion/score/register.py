"""Bringing one picture into line with another before they are compared: a crop is undone, so that regions correspond.

A copy that was cropped a little is, at 8 pixels, as far from its source as two pictures of one kind are from each
other. So the training image of a pair is scaled and shifted to fit the generated one as well as it can: two steps of
Gauss and Newton towards the least squared difference (Lucas and Kanade 1981), in grey, with brightness and contrast
left free. Scale and shift stay within what passes for a copy. Every step is a smooth function of both images in which
nothing is chosen, so rounding is not amplified: in float64 machines agree as they do elsewhere in a score.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from diffusion.score.tone import toned

__all__ = ["aligned", "in_line"]

#: Largest scaling either way (its logarithm), and largest shift as a share of the side.
_SCALE_MAX: Final = 0.08
_SHIFT_MAX: Final = 0.05
_STEPS: Final = 2
#: Larger images are looked at in this size to find scale and shift.
_SIDE_PX: Final = 16
#: Holds scale and shift back where a picture says little about them, as a flat one.
_DAMPING: Final = 3e-3
_CONTRAST_DAMPING: Final = 1e-3
#: Of cubic interpolation (Keys 1981).
_KEYS: Final = -0.5
#: Cubic interpolation reaches so many pixels to either side.
_REACH: Final = 2


def in_line(moving: Tensor, fixed: Tensor) -> Tensor:
    """``moving`` where ``fixed`` is and as sharp and bright: what a copy's small changes explain is undone."""
    return toned(aligned(moving, fixed), fixed)


def aligned(moving: Tensor, fixed: Tensor) -> Tensor:
    """``moving`` scaled and shifted to fit ``fixed``, pair by pair; (P, C, S, S) in [-1, 1]. Edges are repeated."""
    side = moving.shape[-1]
    return _move(moving, _fit(_reduced(moving), _reduced(fixed)) * moving.new_tensor([1.0, side, side]))


def _reduced(images: Tensor) -> Tensor:
    grey = images.mean(dim=1, keepdim=True)
    return functional.avg_pool2d(grey, max(images.shape[-1] // _SIDE_PX, 1))


def _fit(moving: Tensor, fixed: Tensor) -> Tensor:
    """(P, 3): logarithm of the scale, and shifts down and right as shares of the side."""
    count, _, side, _ = moving.shape
    most = moving.new_tensor([_SCALE_MAX, _SHIFT_MAX * side, _SHIFT_MAX * side])
    damping = moving.new_tensor([_DAMPING, _DAMPING, _DAMPING, _CONTRAST_DAMPING])
    found = moving.new_zeros(count, 3)  # in units of the most
    target = _centred(fixed)
    for _ in range(_STEPS):
        moved, slopes = _move_with_slopes(moving, found * most)
        columns = torch.stack([_centred(some) for some in (*(slopes * most[:, None, None, None, None]), moved)], dim=1)
        difference = target - columns[:, 3]
        normal = columns @ columns.transpose(1, 2) / side**2 + torch.diag(damping)
        right = (columns @ difference[:, :, None])[:, :, 0] / side**2
        right[:, :3] -= _DAMPING * found
        found = (found + torch.linalg.solve(normal, right)[:, :3]).clamp(-1, 1)
    return found * most.new_tensor([_SCALE_MAX, _SHIFT_MAX, _SHIFT_MAX])


def _centred(images: Tensor) -> Tensor:
    """(P, pixels) with the mean of each taken off: brightness does not matter."""
    flat = images.flatten(1)
    return flat - flat.mean(dim=1, keepdim=True)


def _move(images: Tensor, motion: Tensor) -> Tensor:
    """Scaled by exp(motion[:, 0]) about the centre, and shifted by motion[:, 1:] pixels."""
    side = images.shape[-1]
    down, right = (_interpolation(_positions(motion, axis, side)) for axis in (1, 2))
    return down[:, None] @ images @ right[:, None].transpose(2, 3)


def _move_with_slopes(images: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
    """The moved images (P, 1, S, S), and their derivatives by each part of the motion (3, P, 1, S, S)."""
    side = images.shape[-1]
    places = [_positions(motion, axis, side) for axis in (1, 2)]
    down, right = (_interpolation(place)[:, None] for place in places)
    down_slope, right_slope = (_interpolation(place, slope=True)[:, None] for place in places)
    across = images @ right.transpose(2, 3)
    by_down = down_slope @ across
    by_right = down @ images @ right_slope.transpose(2, 3)
    scaled = _offsets(motion, side) * motion[:, :1].exp()
    by_scale = by_down * scaled[:, None, :, None] + by_right * scaled[:, None, None, :]
    return down @ across, torch.stack([by_scale, by_down, by_right])


def _offsets(like: Tensor, side: int) -> Tensor:
    """Of each pixel of a line from the middle."""
    return torch.arange(side, dtype=like.dtype, device=like.device) - (side - 1) / 2


def _positions(motion: Tensor, axis: int, side: int) -> Tensor:
    """(P, S): from where in a line each pixel comes."""
    return _offsets(motion, side) * motion[:, :1].exp() + motion[:, axis, None] + (side - 1) / 2


def _interpolation(positions: Tensor, *, slope: bool = False) -> Tensor:
    """(P, S, S): weight of each pixel of a line at each position, or its derivative; edges are repeated."""
    count, side = positions.shape
    inside = positions.clamp(0, side - 1)[:, :, None]
    pixels = inside.floor() + torch.arange(1 - _REACH, 1 + _REACH, dtype=positions.dtype, device=positions.device)
    weights = (_cubic_slope if slope else _cubic)(inside - pixels)
    if slope:  # where an edge is repeated, nothing changes with the position
        weights = weights * ((positions > 0) & (positions < side - 1))[:, :, None]
    return weights.new_zeros(count, side, side).scatter_add(2, pixels.clamp(0, side - 1).long(), weights)


def _cubic(x: Tensor) -> Tensor:
    x = x.abs()
    near = ((_KEYS + 2) * x - (_KEYS + 3)) * x * x + 1
    far = ((_KEYS * x - 5 * _KEYS) * x + 8 * _KEYS) * x - 4 * _KEYS
    return torch.where(x <= 1, near, torch.where(x < _REACH, far, 0.0))


def _cubic_slope(x: Tensor) -> Tensor:
    sign, x = x.sign(), x.abs()
    near = (3 * (_KEYS + 2) * x - 2 * (_KEYS + 3)) * x
    far = (3 * _KEYS * x - 10 * _KEYS) * x + 8 * _KEYS
    return sign * torch.where(x <= 1, near, torch.where(x < _REACH, far, 0.0))
