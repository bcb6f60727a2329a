"""Giving one picture the sharpness, contrast and brightness of another before they are compared.

A copy that was blurred a little or shifted in colour differs from its source everywhere, though it is the same picture.
What such changes can explain is taken away: the training image of a pair is blurred, scaled about its mean and shifted,
channel by channel, to fit the generated one in the least-squares sense, each within what passes for a copy. Nothing is
chosen, so rounding is not amplified (see `diffusion.score.register`, which undoes motions first).
"""

from __future__ import annotations

from typing import Final

from torch import Tensor
from torch.nn import functional

__all__ = ["blurred", "toned"]

#: Shares of a binomial blur that are added: from a little sharpening to nearly all of it.
_BLUR: Final = (-0.2, 0.8)
#: Largest change of contrast, as a share of it.
_CONTRAST_MAX: Final = 0.06
#: Largest shift of a channel's brightness in [-1, 1]: 12.75 levels.
_SHIFT_MAX: Final = 0.1
#: Holds both factors back where a picture says little about them, as a flat one.
_DAMPING: Final = 1e-3


def blurred(images: Tensor) -> Tensor:
    """Images (N, C, S, S) under the binomial kernel of 3 x 3 pixels; edges are repeated."""
    out = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    out = (out[:, :, :-2] + out[:, :, 2:]) / 4 + out[:, :, 1:-1] / 2
    return (out[..., :-2] + out[..., 2:]) / 4 + out[..., 1:-1] / 2


def toned(moving: Tensor, fixed: Tensor) -> Tensor:
    """``moving`` with the sharpness, contrast and brightness of ``fixed``, pair by pair; (P, C, S, S) in [-1, 1]."""
    contrast = _centred(moving)
    softness = _centred(blurred(moving)) - contrast
    difference = _centred(fixed) - contrast
    # the normal equations of: difference = a * contrast + b * softness
    aa, ab, bb = _mean(contrast * contrast), _mean(contrast * softness), _mean(softness * softness)
    ad, bd = _mean(contrast * difference), _mean(softness * difference)
    aa, bb = aa + _DAMPING, bb + _DAMPING
    determinant = aa * bb - ab * ab
    a = ((bb * ad - ab * bd) / determinant).clamp(-_CONTRAST_MAX, _CONTRAST_MAX)
    b = ((aa * bd - ab * ad) / determinant).clamp(*_BLUR)
    out = moving + a * contrast + b * softness
    return out + (fixed - out).mean(dim=(2, 3), keepdim=True).clamp(-_SHIFT_MAX, _SHIFT_MAX)


def _centred(images: Tensor) -> Tensor:
    """With the mean of each channel taken off."""
    return images - images.mean(dim=(2, 3), keepdim=True)


def _mean(images: Tensor) -> Tensor:
    """Of each picture, (P, 1, 1, 1)."""
    return images.mean(dim=(1, 2, 3), keepdim=True)
