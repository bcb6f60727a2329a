"""What is checked before a job computes: the device, the scoring version, the machine itself, the images' shape."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from diffusion.data.images import LabelledImages
from diffusion.errors import DatasetError
from diffusion.score.golden import golden_self_test
from diffusion.score.spec import SCORING_VERSION
from pdfedchain.errors import PdfedError, UsageError
from pdfedchain.types.score import ArithmeticProfile, ScoringSpec
from pdfedchain.types.task import ModelSpec

__all__ = ["check_images", "check_version", "differences", "scoring_device", "usable_device"]


def check_images(part: LabelledImages, model: ModelSpec, folder: Path) -> None:
    expected = (model.channels, model.image_size, model.image_size)
    if part.images.shape[1:] != expected:
        raise DatasetError(f"{folder} has images of shape {part.images.shape[1:]}, the task's are {expected}")
    labels: NDArray[Any] = part.labels
    if len(labels) and not 0 <= labels.min() <= labels.max() < model.classes:
        raise DatasetError(
            f"{folder} has labels {labels.min()} to {labels.max()}, the task's are below {model.classes}"
        )


def usable_device(name: str) -> str:
    kind = name.partition(":")[0]
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(kind, False):
        present = ", ".join(sorted(key for key, there in available.items() if there))
        raise UsageError(f"there is no device {name!r} on this machine", hint=f"Available: {present}.")
    try:
        torch.empty(0, device=name)
    except RuntimeError as error:
        raise UsageError(f"there is no device {name!r} on this machine") from error
    return name


def check_version(scoring: ScoringSpec) -> None:
    if scoring.version != SCORING_VERSION:
        raise UsageError(
            f"the task scores by version {scoring.version}, this installation has version {SCORING_VERSION}",
            hint="Install a release with that scoring version.",
        )


def scoring_device(name: str, scoring: ScoringSpec) -> str:
    """The device to score on, after the checks without which a score means nothing."""
    check_version(scoring)
    device = usable_device(name)
    if different := differences(scoring.profile, device):
        raise PdfedError(f"this machine fails the self-test, so it must not score: {'; '.join(different)}")
    return device


@lru_cache(maxsize=4)
def differences(profile: ArithmeticProfile, device: str) -> tuple[str, ...]:
    """The self-test, once in a process."""
    if profile is ArithmeticProfile.F64 and device.startswith("mps"):
        return (f"device {device!r} has no float64",)
    return golden_self_test(profile, device)
