"""Training a denoising network on labelled images, from scratch or from parents.

Plain denoising training (Ho et al. 2020, algorithm 1) on the schedule's own target, with AdamW, a cosine that ends
at zero and a power-law average of the weights, which is the result. A training that starts from parents uses a lower
peak and a shorter warm-up, so that short trainings on different shards add up (measured, ADR 0031).
Training need not be repeatable across machines, only scoring; a seed repeats it on one machine.

What this is not: distributed, mixed-precision, or resumable within one training. A training is short and cheap
compared with the rounds between nodes, so an interrupted one starts again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion.data.images import LabelledImages
from diffusion.ema import PowerAverage
from diffusion.errors import TrainingDiverged
from diffusion.model import UNet, build_unet
from diffusion.progress import Report, silent
from diffusion.sampler import to_unit
from diffusion.schedule import Schedule
from pdfedchain.ids import Hash

__all__ = [
    "FlatAdamW",
    "TrainingResult",
    "flatten_parameters",
    "generator_of",
    "load_model",
    "new_weights",
    "train",
    "warm_cosine",
    "weights_of",
]

#: Peak learning rate of a training that starts from parents, as a share of the requested one.
CONTINUED_RATE: Final = 0.6
_WARM_UP_STEPS: Final = 100
_GRADIENT_NORM_MAX: Final = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class TrainingResult:
    """Averaged weights, and the mean loss over the last tenth of the steps."""

    weights: dict[str, NDArray[Any]]
    loss: float
    images_seen: int


class FlatAdamW:
    """AdamW (Loshchilov and Hutter 2019) on one flat vector, with the gradient's norm bounded.

    All parameters are views of one vector, so a step is ten operations however many tensors there are; torch's own
    optimiser would also import its compiler, two seconds of a worker's start.
    """

    def __init__(self, weights: Tensor, *, decay: float = 0.01, betas: tuple[float, float] = (0.9, 0.99)) -> None:
        self.weights = weights
        self.decay, self.betas = decay, betas
        self._mean, self._square, self._steps = torch.zeros_like(weights), torch.zeros_like(weights), 0

    def state(self) -> dict[str, NDArray[Any]]:
        """Weights and moments, to go on later with `restore`."""
        tensors = {"weights": self.weights, "mean": self._mean, "square": self._square}
        arrays = {name: tensor.detach().cpu().numpy().copy() for name, tensor in tensors.items()}
        return arrays | {"steps": np.array(self._steps, dtype=np.int64)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `state` of an optimiser of as many weights."""
        with torch.no_grad():
            for tensor, name in ((self.weights, "weights"), (self._mean, "mean"), (self._square, "square")):
                tensor.copy_(torch.tensor(state[name]))
        self._steps = int(state["steps"])

    def step(self, gradient: Tensor, rate: float) -> None:
        """One update; ``gradient`` is overwritten."""
        beta_1, beta_2 = self.betas
        self._steps += 1
        with torch.no_grad():
            norm = float(torch.linalg.vector_norm(gradient))
            if norm > _GRADIENT_NORM_MAX:
                gradient.mul_(_GRADIENT_NORM_MAX / norm)
            self._mean.lerp_(gradient, 1 - beta_1)
            self._square.lerp_(gradient.square_(), 1 - beta_2)
            scale = (self._square / (1 - beta_2**self._steps)).sqrt_().add_(1e-8)
            self.weights.mul_(1 - rate * self.decay)
            self.weights.addcdiv_(self._mean, scale, value=-rate / (1 - beta_1**self._steps))


def flatten_parameters(module: torch.nn.Module) -> tuple[Tensor, Tensor]:
    """Make all parameters and gradients views of two flat vectors, which are returned."""
    parameters = list(module.parameters())
    weights = torch.cat([parameter.detach().flatten() for parameter in parameters])
    gradients = torch.zeros_like(weights)
    position = 0
    for parameter in parameters:
        end = position + parameter.numel()
        parameter.data = weights[position:end].view_as(parameter)
        parameter.grad = gradients[position:end].view_as(parameter)
        position = end
    return weights, gradients


def generator_of(seed: Hash, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator from the first 63 bits of a seed."""
    return torch.Generator(device).manual_seed(int.from_bytes(seed[:8], "big") >> 1)


def new_weights(config: Mapping[str, Any], seed: Hash) -> dict[str, NDArray[Any]]:
    """Randomly initialised weights; the output layer is zero, so the first prediction is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(seed[:8], "big") >> 1)
        model = build_unet(config)
    torch.nn.init.zeros_(model.conv_out.weight)
    return weights_of(model)


def weights_of(model: UNet) -> dict[str, NDArray[Any]]:
    """Copies of a network's tensors as numpy arrays."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in model.state_dict().items()}


def load_model(
    config: Mapping[str, Any], weights: Mapping[str, NDArray[Any]], *, dtype: torch.dtype, device: str
) -> UNet:
    """A network with the given weights in the given precision."""
    with torch.device("meta"):
        model = build_unet(config)
    state = {name: torch.tensor(array, dtype=dtype, device=device) for name, array in weights.items()}
    model.load_state_dict(state, assign=True)
    return model


def warm_cosine(step: int, steps: int, peak: float, warm_up: int) -> float:
    """Learning rate of a step: linear warm-up, then a cosine that reaches zero after the last step."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(steps - warm_up, 1)))


def _loss(model: UNet, schedule: Schedule, clean: Tensor, labels: Tensor, alpha_bars: Tensor, rng: Any) -> Tensor:
    """Mean squared error of the prediction at one random time step per image, stratified over the batch."""
    count = len(clean)
    uniform = (torch.arange(count, device=clean.device) + torch.rand(count, generator=rng, device=clean.device)) / count
    steps = (uniform * schedule.steps_total).long().clamp_(max=schedule.steps_total - 1)
    alpha_bar = alpha_bars[steps][:, None, None, None]
    noise = torch.randn(clean.shape, generator=rng, device=clean.device)
    noisy = alpha_bar.sqrt() * clean + (1 - alpha_bar).sqrt() * noise
    if schedule.prediction == "v_prediction":
        target = alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * clean
    else:
        target = noise
    return torch.nn.functional.mse_loss(model(noisy, steps, labels), target)


def train(
    config: Mapping[str, Any],
    schedule: Schedule,
    start: Mapping[str, NDArray[Any]],
    data: LabelledImages,
    *,
    continued: bool,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: Hash,
    device: str = "cpu",
    report: Report = silent,
) -> TrainingResult:
    """Train ``steps`` optimiser steps from the weights ``start``.

    Args:
        continued: ``start`` comes from trained parents, so the rate is lower and the warm-up shorter.

    Raises:
        TrainingDiverged: the loss is not finite.
    """
    model = load_model(config, start, dtype=torch.float32, device=device)
    model.train()
    weights, gradients = flatten_parameters(model)
    optimiser, average = FlatAdamW(weights), PowerAverage(weights)
    images, labels = to_unit(data.images).to(device), torch.from_numpy(data.labels.copy()).to(device)
    alpha_bars = torch.from_numpy(schedule.alpha_bar.astype(np.float32)).to(device)
    rng = generator_of(seed, device)
    peak = learning_rate * (CONTINUED_RATE if continued else 1.0)
    warm_up = min(_WARM_UP_STEPS, steps // 5) // (4 if continued else 1)
    order = torch.empty(0, dtype=torch.int64, device=device)
    loss_sum, loss_steps = 0.0, 0
    for step in range(steps):
        while len(order) < batch_size:  # epochs run on into each other; a small shard is repeated in a batch
            order = torch.cat([order, torch.randperm(len(images), generator=rng, device=device)])
        chosen, order = order[:batch_size], order[batch_size:]
        loss = _loss(model, schedule, images[chosen], labels[chosen], alpha_bars, rng)
        gradients.zero_()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step(gradients, warm_cosine(step, steps, peak, warm_up))
        average.update(weights)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingDiverged(
                f"the loss is not finite after {step + 1} steps", hint="Train at a lower learning rate."
            )
        if step >= steps - max(steps // 10, 1):
            loss_sum, loss_steps = loss_sum + value, loss_steps + 1
        report("train", step + 1, steps, value)
    weights.copy_(average.average)
    return TrainingResult(weights_of(model), loss_sum / loss_steps, steps * batch_size)
