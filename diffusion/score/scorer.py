"""A task's scorer: fingerprinter, verifier, and the scale of features, as a folder that the task pins.

``fingerprinter.safetensors`` and ``verifier.safetensors`` hold float32 weights, ``scorer.json`` names the
construction and the scale. The scale makes the total variance of the reference's training features 1,000, so a
Frechet distance is in thousandths of it and means the same for every extractor.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from diffusion.config import IMAGE_SIZES, canonical_json
from diffusion.errors import DatasetError, TensorFileError
from diffusion.score.fingerprint import Fingerprinter
from diffusion.score.verifier import Verifier
from diffusion.tensorfile import read_tensors, write_tensors
from pdfedchain.types.score import ArithmeticProfile

__all__ = ["FEATURE_VARIANCE", "Scorer", "extractor_name", "read_scorer", "write_scorer"]

_FINGERPRINTER_FILE: Final = "fingerprinter.safetensors"
_VERIFIER_FILE: Final = "verifier.safetensors"
_SCORER_FILE: Final = "scorer.json"
_SIZE_BYTES_MAX: Final = 256 * 2**20
#: Total variance of scaled features over the reference's training part.
FEATURE_VARIANCE: Final = 1_000.0
_CONSTRUCTION: Final = "lite/v1"
_DTYPES: Final = {ArithmeticProfile.F64: torch.float64, ArithmeticProfile.F32: torch.float32}


@dataclass(frozen=True, slots=True, eq=False)
class Scorer:
    """Both networks in one precision, and the factor that features are multiplied by."""

    image_size: int
    channels: int
    fingerprinter: Fingerprinter
    verifier: Verifier
    feature_scale: float

    def to(self, profile: ArithmeticProfile, device: str = "cpu") -> Scorer:
        """A copy in a profile's precision on a device, for inference."""
        dtype = _DTYPES[profile]
        return _assemble(
            self.image_size,
            self.channels,
            self.feature_scale,
            _arrays(self.fingerprinter),
            _arrays(self.verifier),
            dtype=dtype,
            device=device,
        )


def extractor_name(image_size: int, channels: int) -> str:
    """What `ScoringSpec.extractor` says of a scorer of this construction."""
    return f"lite-{image_size}px-{channels}ch"


def _arrays(module: torch.nn.Module) -> dict[str, NDArray[Any]]:
    return {name: tensor.detach().cpu().numpy() for name, tensor in module.state_dict().items()}


def _assemble(
    image_size: int,
    channels: int,
    scale: float,
    fingerprinter_arrays: dict[str, NDArray[Any]],
    verifier_arrays: dict[str, NDArray[Any]],
    *,
    dtype: torch.dtype,
    device: str,
) -> Scorer:
    modules = (Fingerprinter(image_size=image_size, channels=channels), Verifier())
    for module, arrays in zip(modules, (fingerprinter_arrays, verifier_arrays), strict=True):
        module.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
        module.to(device=device, dtype=dtype).eval().requires_grad_(False)
    return Scorer(image_size, channels, modules[0], modules[1], scale)


def write_scorer(folder: Path, scorer: Scorer) -> None:
    """Write the three files into an existing folder; the same scorer gives the same bytes."""
    write_tensors(folder / _FINGERPRINTER_FILE, _float32(scorer.fingerprinter))
    write_tensors(folder / _VERIFIER_FILE, _float32(scorer.verifier))
    about = {
        "channels": scorer.channels,
        "construction": _CONSTRUCTION,
        "feature_scale": scorer.feature_scale,
        "image_size": scorer.image_size,
    }
    (folder / _SCORER_FILE).write_text(canonical_json(about), encoding="utf-8")


def _float32(module: torch.nn.Module) -> dict[str, NDArray[Any]]:
    return {name: array.astype(np.float32) for name, array in _arrays(module).items()}


def read_scorer(folder: Path, *, profile: ArithmeticProfile, device: str = "cpu") -> Scorer:
    """The scorer of a task, ready for inference.

    The folder is pinned by the task, so what is wrong with it is wrong for everybody: an error, never a score.

    Raises:
        DatasetError: a file is missing, damaged, or of a construction this version does not have.
    """
    try:
        about = json.loads((folder / _SCORER_FILE).read_text(encoding="utf-8"))
        if about["construction"] != _CONSTRUCTION or about["image_size"] not in IMAGE_SIZES:
            raise DatasetError(
                f"{folder} has a scorer of construction {about['construction']!r}, this version has {_CONSTRUCTION!r}",
                hint="Install the version that the task was made with.",
            )
        scale = float(about["feature_scale"])
        if not 0 < scale < float("inf"):
            raise ValueError(f"feature_scale is {scale}")
        fingerprinter, verifier = (
            read_tensors(folder / name, size_bytes_max=_SIZE_BYTES_MAX)
            for name in (_FINGERPRINTER_FILE, _VERIFIER_FILE)
        )
        for name, array in (fingerprinter | verifier).items():
            if not np.isfinite(array).all():
                raise ValueError(f"tensor {name} is not finite")
        return _assemble(
            int(about["image_size"]),
            int(about["channels"]),
            scale,
            fingerprinter,
            verifier,
            dtype=_DTYPES[profile],
            device=device,
        )
    except (OSError, ValueError, KeyError, TypeError, TensorFileError, RuntimeError) as error:
        raise DatasetError(f"{folder} is not a scorer: {error}", hint="Fetch the task's scorer again.") from error
