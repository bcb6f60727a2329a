"""Moving average of weights whose memory grows with the training (Karras et al. 2024, "Analyzing and improving").

After step t the average weighs step s by a power of s / t, so its width is a fixed fraction of the training
however long that is: no decay to tune, and the start (a parent's weights, or chance) is forgotten at once.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

__all__ = ["PowerAverage"]

#: Exponent for a relative width of 0.10 (their equation 4: sigma_rel = sqrt((g + 1) / ((g + 2)^2 (g + 3)))).
_EXPONENT: Final = 6.94


class PowerAverage:
    """Average of a flat weight vector over the steps of a training."""

    def __init__(self, weights: Tensor) -> None:
        self.average = weights.detach().clone()
        self._steps = 0

    def update(self, weights: Tensor) -> None:
        """Take in the weights after one more step (their equation 2)."""
        self._steps += 1
        keep = (1 - 1 / self._steps) ** (_EXPONENT + 1)
        with torch.no_grad():
            self.average.lerp_(weights, 1 - keep)
