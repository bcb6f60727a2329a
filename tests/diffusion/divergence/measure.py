"""One setting, one process: ``python -m tests.diffusion.divergence.measure FOLDER SETTING CHECKPOINTS COPIES``.

Besides checkpoints, sets of reference images with noise are scored, of which many pairs lie near a threshold. Appends a
line of JSON per checkpoint or set to ``FOLDER/reports/SETTING.jsonl`` and goes on where it was stopped. Of the first
checkpoints the images before rounding are kept as well.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import diffusion.sampler
import diffusion.score.report
from diffusion.arithmetic import exact_arithmetic
from diffusion.data.images import read_reference
from diffusion.score.report import describe_reference, generate, score_images
from diffusion.score.scorer import read_scorer
from pdfedchain.crypto import tagged_hash
from tests.diffusion.divergence.material import Material, prepare
from tests.diffusion.divergence.settings import SETTINGS, Setting

__all__ = ["IMAGES", "TRICKS", "main", "no_onednn"]

#: Generated images and sampling steps of a score: a tenth of the work that a task of digits asks for.
IMAGES: Final = 100
STEPS: Final = 4
PIXELS_KEPT: Final = 3
_COPIES: Final = "copies-"
_SEED: Final = tagged_hash("test/divergence-seed", b"")


@contextlib.contextmanager
def no_onednn() -> Iterator[None]:
    """torch's own convolutions. (`torch.backends.mkldnn.flags` would set TF32 as well, and warn of it.)"""
    enabled = torch._C._get_mkldnn_enabled()
    torch.backends.mkldnn.set_flags(_enabled=False)
    try:
        yield
    finally:
        torch.backends.mkldnn.set_flags(_enabled=enabled)


@contextlib.contextmanager
def _channels_last() -> Iterator[None]:
    def converted(*arguments: Any, **options: Any) -> Any:
        return load(*arguments, **options).to(memory_format=torch.channels_last)

    load = diffusion.score.report.load_model
    diffusion.score.report.load_model = converted
    yield


@contextlib.contextmanager
def _tf32() -> Iterator[None]:
    """Factors of convolutions and matrix products rounded to 10 bits of fraction, as TF32 does; sums in float32."""

    def rounded(x: Tensor) -> Tensor:
        bits = x.contiguous().view(torch.int32)
        return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)

    def patched(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(x: Tensor, weight: Tensor, *arguments: Any, **options: Any) -> Tensor:
            return function(rounded(x), rounded(weight), *arguments, **options)

        return call

    for name in ("conv2d", "linear"):
        setattr(nn.functional, name, patched(getattr(nn.functional, name)))
    yield


def _autocast(dtype: torch.dtype) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    return lambda: torch.autocast("cpu", dtype=dtype)


TRICKS: Final[dict[str, Callable[[], contextlib.AbstractContextManager[Any]]]] = {
    "": exact_arithmetic,
    "no-onednn": no_onednn,
    "channels-last": _channels_last,
    "tf32": _tf32,
    "bfloat16": _autocast(torch.bfloat16),
    "float16": _autocast(torch.float16),
}


def main() -> int:
    """Score what this setting has not scored yet."""
    folder, name, checkpoints, copies = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    setting = next(setting for setting in SETTINGS if setting.name == name)
    torch.set_num_threads(setting.threads)
    material = prepare(folder)
    record = folder / "reports" / f"{name}.jsonl"
    known = {json.loads(line)["checkpoint"] for line in record.read_text().splitlines()} if record.exists() else set()
    with TRICKS[setting.trick](), record.open("a") as file:
        score = _scoring(material, setting)
        sets = [f"{_COPIES}{number:03}" for number in range(copies)]
        for checkpoint in (*material.names[:checkpoints], *sets):
            if checkpoint not in known:
                file.write(json.dumps({"checkpoint": checkpoint, "report": score(checkpoint)}) + "\n")
                file.flush()
    return 0


def _scoring(material: Material, setting: Setting) -> Callable[[str], dict[str, Any]]:
    prepared = material.prepared
    scoring = replace(prepared.scoring, profile=setting.profile, n=IMAGES, sampling_steps=STEPS)
    scorer = read_scorer(material.folder / "task/scorer", profile=setting.profile, device=setting.device)
    reference = read_reference(material.folder / "task/reference")
    described = describe_reference(scorer, scoring, reference, classes=prepared.model.classes)
    kept: list[Tensor] = []
    to_bytes = diffusion.sampler.to_bytes

    def keeping(images: Tensor) -> np.ndarray:
        kept.append(images.detach().double().cpu())
        return to_bytes(images)

    diffusion.sampler.to_bytes = keeping

    def score(checkpoint: str) -> dict[str, Any]:
        kept.clear()
        options: dict[str, Any] = {"batch_size": setting.batch_size}
        if checkpoint.startswith(_COPIES):
            images = _noisy(described.images, int(checkpoint.removeprefix(_COPIES)))
        else:
            weights = material.weights(checkpoint)
            images = generate(prepared.model, scoring, weights, seed=_SEED, device=setting.device, **options).images
        if checkpoint[:4].isdigit() and int(checkpoint[:4]) < PIXELS_KEPT:
            path = material.folder / "reports" / f"{setting.name} {checkpoint}.npy"
            np.save(path, torch.cat(kept).numpy())
        plain = asdict(score_images(scorer, scoring, described, images, **options).report)
        return {**plain, "images_hash": plain["images_hash"].hex()}

    return score


def _noisy(reference: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """Some reference images with more noise from set to set, until few of them are confirmed."""
    rng = np.random.default_rng(number)
    chosen = reference[rng.permutation(len(reference))[:IMAGES]]
    noise = rng.normal(0, 8 + number % 30, chosen.shape)
    images: NDArray[np.uint8] = np.clip(np.rint(chosen + noise), 0, 255).astype(np.uint8)
    return images


if __name__ == "__main__":
    sys.exit(main())
