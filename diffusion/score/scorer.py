"""A task's scorer: fingerprinter, verifier, and the scale of features, as a folder that the task pins.

``fingerprinter.safetensors`` and ``verifier.safetensors`` hold float32 weights, ``scorer.json`` names the
construction and the scale. There are two constructions:

- ``lite/v5``, for images of 8 to 64 pixels. Features of the Frechet distance are the fingerprinter's pooled last map;
  the scale makes their total variance over the reference's training images 1,000, so a Frechet distance is in
  thousandths of it and means the same for every set of images.
- ``paper/v1``, the paper's own networks (`diffusion.score.paper`). Features come from a third network, in
  ``extractor.safetensors``, and are not scaled.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from diffusion.config import IMAGE_SIZES, canonical_json
from diffusion.errors import DatasetError, TensorFileError
from diffusion.score.fingerprint import Fingerprinter, FingerprintNetwork, feature_size
from diffusion.score.verifier import Verifier
from diffusion.tensorfile import read_tensors, write_tensors
from pdfedchain.types.score import ArithmeticProfile

__all__ = ["FEATURE_VARIANCE", "LITE", "PAPER", "Scorer", "read_scorer", "write_scorer"]

LITE: Final = "lite/v5"
PAPER: Final = "paper/v1"

_FINGERPRINTER_FILE: Final = "fingerprinter.safetensors"
_VERIFIER_FILE: Final = "verifier.safetensors"
_EXTRACTOR_FILE: Final = "extractor.safetensors"
_SCORER_FILE: Final = "scorer.json"
#: The paper's feature extractor has 1.2 GB of weights.
_SIZE_BYTES_MAX: Final = 2 * 2**30
#: Total variance of scaled features over the reference's training part.
FEATURE_VARIANCE: Final = 1_000.0
#: Grey, or red, green and blue.
_CHANNELS: Final = (1, 3)
_DTYPES: Final = {ArithmeticProfile.F64: torch.float64, ArithmeticProfile.F32: torch.float32}


@dataclass(frozen=True, slots=True, eq=False)
class Scorer:
    """All networks in one precision, and the factor that features are multiplied by.

    Attributes:
        image_size: side in pixels of the images it is given.
        channels: their channels, 1 or 3.
        extractor: images to features; ``None``: the fingerprinter's pooled last map is the features.
    """

    image_size: int
    channels: int
    fingerprinter: FingerprintNetwork
    verifier: Verifier
    feature_scale: float
    construction: str = LITE
    extractor: nn.Module | None = None

    def modules(self) -> tuple[nn.Module, ...]:
        """Fingerprinter, verifier and, if there is one, extractor."""
        both = (self.fingerprinter, self.verifier)
        return both if self.extractor is None else (*both, self.extractor)

    @property
    def feature_size(self) -> int:
        """Numbers that a Frechet distance sees of an image."""
        return feature_size(self.fingerprinter if self.extractor is None else self.extractor)

    @property
    def extractor_name(self) -> str:
        """What `ScoringSpec.extractor` says of it."""
        return f"{self.construction.partition('/')[0]}-{self.image_size}px-{self.channels}ch"

    def to(self, profile: ArithmeticProfile, device: str = "cpu") -> Scorer:
        """A copy in a profile's precision on a device, for inference."""

        def moved(module: Any) -> Any:
            return copy.deepcopy(module).to(device=device, dtype=_DTYPES[profile]).eval().requires_grad_(False)

        return replace(
            self,
            fingerprinter=moved(self.fingerprinter),
            verifier=moved(self.verifier),
            extractor=None if self.extractor is None else moved(self.extractor),
        )


def write_scorer(folder: Path, scorer: Scorer) -> None:
    """Write its files into an existing folder; the same scorer gives the same bytes.

    Raises:
        ValueError: its verifier has not the form that its construction is read back with.
    """
    if scorer.verifier.plain != (scorer.construction == PAPER):
        raise ValueError(f"a verifier with plain={scorer.verifier.plain} is no part of {scorer.construction}")
    for name, module in zip(_files(scorer.construction), scorer.modules(), strict=True):
        arrays = {key: tensor.detach().cpu().numpy() for key, tensor in module.state_dict().items()}
        write_tensors(folder / name, {key: array.astype(np.float32) for key, array in arrays.items()})
    about = {
        "channels": scorer.channels,
        "construction": scorer.construction,
        "feature_scale": scorer.feature_scale,
        "image_size": scorer.image_size,
    }
    (folder / _SCORER_FILE).write_text(canonical_json(about), encoding="utf-8")


def read_scorer(folder: Path, *, profile: ArithmeticProfile, device: str = "cpu") -> Scorer:
    """The scorer of a task, ready for inference.

    The folder is pinned by the task, so what is wrong with it is wrong for everybody: an error, never a score.

    Raises:
        DatasetError: a file is missing, damaged, or of a construction this version does not have.
        UsageError: its construction needs an optional part that is not installed.
    """
    try:
        scorer = _untrained(folder, json.loads((folder / _SCORER_FILE).read_text(encoding="utf-8")))
        for name, module in zip(_files(scorer.construction), scorer.modules(), strict=True):
            arrays = read_tensors(folder / name, size_bytes_max=_SIZE_BYTES_MAX)
            module.load_state_dict({key: torch.tensor(array) for key, array in _finite(arrays).items()})
        return scorer.to(profile, device)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, TensorFileError, RuntimeError) as error:
        raise DatasetError(
            f"{folder} is not a scorer: {error}",
            hint="Fetch the task's scorer again, or train one: `pdfed train-scorer`.",
        ) from error


def _files(construction: str) -> tuple[str, ...]:
    both = (_FINGERPRINTER_FILE, _VERIFIER_FILE)
    return both if construction == LITE else (*both, _EXTRACTOR_FILE)


def _finite(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"tensor {name} is not finite")
    return arrays


def _untrained(folder: Path, about: Any) -> Scorer:
    """Networks as a folder describes them, to be given weights."""
    construction = about["construction"]
    if construction not in (LITE, PAPER):
        raise DatasetError(
            f"{folder} has a scorer of construction {construction!r}, this version has {LITE!r} and {PAPER!r}",
            hint="Install the version it was made with, or train another one: `pdfed train-scorer`.",
        )
    image_size, channels, scale = int(about["image_size"]), int(about["channels"]), float(about["feature_scale"])
    if image_size not in IMAGE_SIZES:
        raise ValueError(f"image_size is {image_size}")
    if channels not in _CHANNELS:
        raise ValueError(f"channels is {channels}")
    if not 0 < scale < float("inf"):
        raise ValueError(f"feature_scale is {scale}")
    if construction == LITE:
        return Scorer(image_size, channels, Fingerprinter(), Verifier(Fingerprinter.map_channels), scale)
    from diffusion.score import paper

    return paper.paper_scorer(image_size=image_size, channels=channels, extractor=None, feature_scale=scale)
