"""Networks whose weights come from integers, the same on every machine: for the self-test and for pinned scores.

They have learned nothing; what matters is that their scores are known. The weights are the noise of
`diffusion.score.noise`, seeded by each tensor's name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffusion.score.fingerprint import Fingerprinter
from diffusion.score.noise import noise_images
from diffusion.score.scorer import Scorer
from diffusion.score.verifier import Verifier
from pdfedchain.crypto import tagged_hash

__all__ = ["integer_scorer", "integer_weights", "integer_weights_of"]


def _tensor(name: str, shape: tuple[int, ...], gain: float) -> NDArray[np.float32]:
    noise = noise_images(tagged_hash("pdfed/test/weights/v1", name.encode()), 0, 1, shape)[0]
    if len(shape) == 1:
        values = 0.1 * noise + (1.0 if "norm" in name and name.endswith("weight") else 0.0)
    else:
        values = noise * gain / math.sqrt(max(math.prod(shape[1:]), 1))
    result: NDArray[np.float32] = values.astype(np.float32)
    return result


def integer_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[Any]]:
    """Weights of a task's network with tensors of these names and shapes."""
    return {name: _tensor(name, shape, 1.0) for name, shape in shapes.items()}


def integer_weights_of(module: torch.nn.Module, gain: float) -> None:
    """Fill a module."""
    state = {
        name: torch.from_numpy(_tensor(name, tuple(tensor.shape), gain)).to(tensor.dtype)
        for name, tensor in module.state_dict().items()
    }
    module.load_state_dict(state)


def integer_scorer() -> Scorer:
    """A scorer in float64 for grey images of 8 pixels; it has learned nothing."""
    fingerprinter, verifier = Fingerprinter(), Verifier(Fingerprinter.map_channels)
    integer_weights_of(fingerprinter, 1.4)
    integer_weights_of(verifier, 1.4)
    for module in (fingerprinter, verifier):
        module.double().eval().requires_grad_(False)
    return Scorer(8, 1, fingerprinter, verifier, 40.0)
