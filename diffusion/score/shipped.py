"""The fingerprinter that comes with the package: trained on real pictures, for every size (docs/model-card.md).

`diffusion/score/weights/fingerprinter.safetensors` is read as it is and checked against the hash below; a task's
genesis pins the weights again, as part of its scorer.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Final

import torch

from diffusion.errors import DatasetError
from diffusion.score.fingerprint import Fingerprinter
from diffusion.tensorfile import parse_tensors

__all__ = ["WEIGHTS_SHA256", "shipped_fingerprinter"]

_FILE: Final = "weights/fingerprinter.safetensors"
WEIGHTS_SHA256: Final = "b799e5a6c6a64622a13382254b567a74783cd2ca40aa08ff95fe9660eb79b64a"


def shipped_fingerprinter() -> Fingerprinter:
    """In float32, on the CPU, for inference.

    Raises:
        DatasetError: the installed file is not the one that this version was made with.
    """
    content = files("diffusion.score").joinpath(_FILE).read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != WEIGHTS_SHA256:
        raise DatasetError(
            f"the installed {_FILE} has SHA-256 {found}, not {WEIGHTS_SHA256}", hint="Install pdfedchain again."
        )
    model = Fingerprinter()
    model.load_state_dict({name: torch.tensor(array) for name, array in parse_tensors(content).items()})
    return model.eval().requires_grad_(False)
