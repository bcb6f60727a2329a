from __future__ import annotations

import numpy as np
import pytest
import torch

from diffusion.aggregate import average_weights
from diffusion.config import scheduler_config, unet_config
from diffusion.data import Split
from diffusion.ema import PowerAverage
from diffusion.errors import TrainingDiverged
from diffusion.schedule import schedule_from_config
from diffusion.train import FlatAdamW, TrainingResult, flatten_parameters, new_weights, train, warm_cosine
from pdfedchain.ids import Hash

CONFIG = unet_config(image_size=8, channels=1, classes=10)
SCHEDULE = schedule_from_config(scheduler_config())
SEED = Hash(b"\x04" * 32)


def run(digits: Split, **changes: object) -> TrainingResult:
    fields: dict[str, object] = {
        "continued": False,
        "steps": 12,
        "batch_size": 32,
        "learning_rate": 3e-3,
        "seed": SEED,
    }
    return train(CONFIG, SCHEDULE, new_weights(CONFIG, SEED), digits.shards[0], **(fields | changes))  # type: ignore[arg-type]


def test_training_lowers_the_loss_and_repeats_by_seed(digits: Split) -> None:
    losses: list[float] = []
    first = run(digits, report=lambda stage, done, total, loss: losses.append(loss))
    second = run(digits)
    assert len(losses) == 12
    assert np.mean(losses[-3:]) < 0.8 * losses[0]
    assert first.loss == second.loss
    for name, array in first.weights.items():
        np.testing.assert_array_equal(array, second.weights[name])
    other = run(digits, seed=Hash(b"\x05" * 32))
    assert other.loss != first.loss


def test_the_images_seen_are_counted_and_a_small_shard_fills_a_batch(digits: Split) -> None:
    few = digits.shards[0].take(np.arange(3))
    result = train(
        CONFIG,
        SCHEDULE,
        new_weights(CONFIG, SEED),
        few,
        continued=True,
        steps=2,
        batch_size=8,
        learning_rate=1e-3,
        seed=SEED,
    )
    assert result.images_seen == 16


def test_an_absurd_learning_rate_is_reported(digits: Split) -> None:
    with pytest.raises(TrainingDiverged, match="not finite"):
        run(digits, learning_rate=1e30, steps=10)


def test_new_weights_follow_the_seed_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, again, other = (new_weights(CONFIG, Hash(bytes([k]) * 32)) for k in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    np.testing.assert_array_equal(first["conv_in.weight"], again["conv_in.weight"])
    assert not np.array_equal(first["conv_in.weight"], other["conv_in.weight"])


def test_the_optimiser_is_adamw() -> None:
    torch.manual_seed(2)
    start, target = torch.randn(20), torch.randn(20)
    flat = start.clone()
    ours = FlatAdamW(flat, decay=0.1, betas=(0.9, 0.99))
    parameter = torch.nn.Parameter(start.clone())
    theirs = torch.optim.AdamW([parameter], lr=0.01, weight_decay=0.1, betas=(0.9, 0.99), eps=1e-8)
    for _ in range(10):
        ours.step(0.1 * (flat - target), 0.01)
        theirs.zero_grad()
        parameter.grad = 0.1 * (parameter.detach() - target)
        torch.nn.utils.clip_grad_norm_([parameter], 1.0)
        theirs.step()
    torch.testing.assert_close(parameter.detach(), flat, atol=1e-6, rtol=1e-5)


def test_flat_parameters_are_views() -> None:
    module = torch.nn.Linear(3, 2)
    weights, gradients = flatten_parameters(module)
    weights.fill_(0.5)
    module(torch.ones(1, 3)).sum().backward()
    assert module.weight.tolist() == [[0.5] * 3] * 2
    assert gradients.tolist() == [1.0] * 8


def test_the_rate_warms_up_and_ends_near_zero() -> None:
    rates = [warm_cosine(step, 100, 1.0, 10) for step in range(100)]
    assert rates[9] == 1.0
    assert max(rates) == 1.0
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001


def test_the_power_average_forgets_the_start_and_lags_the_end() -> None:
    average = PowerAverage(torch.tensor([1e6]))
    for step in range(1, 101):
        average.update(torch.tensor([float(step)]))
    # the mean of t weighted by t^6.94 is about 100 * 7.94 / 8.94
    assert float(average.average) == pytest.approx(100 * 7.94 / 8.94, rel=0.02)


def test_parents_are_averaged_in_their_own_type() -> None:
    parents = [{"w": np.array([value], np.float32)} for value in (1.0, 2.0, 6.0)]
    result = average_weights(parents)
    assert result["w"].tolist() == [3.0]
    assert result["w"].dtype == np.float32
