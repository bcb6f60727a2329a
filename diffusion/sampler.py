"""Deterministic sampling: DDIM with eta = 0, on noise that belongs to image indices.

A sample is a function of the weights, the seed, its index and its label; neither the batch size nor the number of
threads enters. In float64 that holds to about 1e-15 before the rounding to 8 bits, which happens here and nowhere
else. A test holds `ddim` equal to diffusers' ``DDIMScheduler``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion.errors import CheckpointRefused
from diffusion.model import UNet
from diffusion.progress import Report, silent
from diffusion.schedule import Schedule
from diffusion.score.noise import noise_images
from pdfedchain.ids import Hash
from pdfedchain.types.score import UnscorableReason

__all__ = ["ddim", "sample_images", "to_bytes", "to_unit"]

_BATCH_SIZE = 64


def to_unit(images: NDArray[np.uint8], dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 images (N, C, H, W) as a tensor in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).to(dtype) / 127.5 - 1.0


def to_bytes(images: Tensor) -> NDArray[np.uint8]:
    """Images in [-1, 1] (outside is clipped) rounded to uint8, half to even. Not a number is the caller's to find."""
    array: NDArray[np.uint8] = ((images + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    return array


def ddim(
    predict: Callable[[Tensor, Tensor], Tensor], noise: Tensor, schedule: Schedule, steps: int
) -> Iterator[Tensor]:
    """Yields the image after each of ``steps`` steps; the last is the sample (Song et al. 2021, equation 12).

    Args:
        predict: the network, from (images (N, C, H, W), time steps (N,)) to v or noise.
        noise: standard normal, (N, C, H, W).
    """
    x = noise
    for t, t_next in schedule.spaced(steps):
        alpha_bar = float(schedule.alpha_bar[t])
        alpha_bar_next = float(schedule.alpha_bar[t_next]) if t_next >= 0 else 1.0
        signal, spread = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
        output = predict(x, torch.full((len(x),), t, device=x.device))
        if schedule.prediction == "v_prediction":  # Salimans and Ho 2022, appendix D
            clean = signal * x - spread * output
            noise_predicted = signal * output + spread * x
        else:
            clean = (x - spread * output) / signal
            noise_predicted = output
        if schedule.clip is not None:
            # diffusers clips the image but keeps the noise prediction of the unclipped one
            clean = clean.clamp(-schedule.clip, schedule.clip)
        x = alpha_bar_next**0.5 * clean + (1 - alpha_bar_next) ** 0.5 * noise_predicted
        yield x


def sample_images(
    model: UNet,
    schedule: Schedule,
    labels: NDArray[np.int64],
    *,
    shape: tuple[int, int, int],
    steps: int,
    seed: Hash,
    batch_size: int = _BATCH_SIZE,
    report: Report = silent,
) -> NDArray[np.uint8]:
    """One image per label, uint8 (N, C, H, W), in the precision and on the device of the model's weights.

    Raises:
        CheckpointRefused: an image is not finite (`UnscorableReason.DIVERGED`).
    """
    weight = next(model.parameters())
    model.eval()
    batches = []
    total = len(labels) * steps
    for first in range(0, len(labels), batch_size):
        chosen = torch.from_numpy(labels[first : first + batch_size]).to(weight.device)
        noise = torch.from_numpy(noise_images(seed, first, len(chosen), shape)).to(weight.device, weight.dtype)

        def predict(x: Tensor, t: Tensor, chosen: Tensor = chosen) -> Tensor:
            out: Tensor = model(x, t, chosen)
            return out

        with torch.inference_mode():
            for step, images in enumerate(ddim(predict, noise, schedule, steps), start=1):  # noqa: B007
                report("sample", first * steps + step * len(chosen), total, 0.0)
        if not bool(torch.isfinite(images).all()):
            raise CheckpointRefused(UnscorableReason.DIVERGED, "a generated image is not finite")
        batches.append(to_bytes(images))
    return np.concatenate(batches)
