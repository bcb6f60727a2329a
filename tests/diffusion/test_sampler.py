from __future__ import annotations

import numpy as np
import pytest
import torch

from diffusion.config import scheduler_config, unet_config
from diffusion.errors import CheckpointRefused, UnsupportedModel
from diffusion.model import UNet, build_unet
from diffusion.sampler import ddim, sample_images, to_bytes, to_unit
from diffusion.schedule import schedule_from_config
from diffusion.score.noise import labels_balanced, noise_images
from pdfedchain.ids import Hash
from pdfedchain.types.score import UnscorableReason

SEED = Hash(b"\x03" * 32)


def model() -> UNet:
    torch.manual_seed(11)
    return build_unet(unet_config(image_size=8, channels=1, classes=10)).double()


@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon"])
@pytest.mark.parametrize("beta_schedule", ["squaredcos_cap_v2", "linear"])
@pytest.mark.parametrize("clip", [True, False])
def test_ddim_is_that_of_diffusers(prediction: str, beta_schedule: str, clip: bool) -> None:
    from diffusers import DDIMScheduler

    config = scheduler_config() | {
        "prediction_type": prediction,
        "beta_schedule": beta_schedule,
        "clip_sample": clip,
    }
    theirs = DDIMScheduler.from_config(config)
    theirs.alphas_cumprod = torch.from_numpy(schedule_from_config(config).alpha_bar)  # theirs is float32
    theirs.set_timesteps(7)

    def predict(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x * 0.7 + t[0] / 1000)

    x = noise = torch.from_numpy(noise_images(SEED, 0, 2, (1, 8, 8)))
    expected = []
    for t in theirs.timesteps:
        x = theirs.step(predict(x, t.expand(2)), t, x, eta=0.0).prev_sample
        expected.append(x)
    actual = list(ddim(predict, noise, schedule_from_config(config), 7))
    torch.testing.assert_close(torch.stack(expected), torch.stack(actual), atol=1e-9, rtol=1e-9)


def test_the_schedule_is_that_of_diffusers() -> None:
    from diffusers import DDIMScheduler

    theirs = DDIMScheduler.from_config(scheduler_config()).alphas_cumprod.numpy()
    np.testing.assert_allclose(theirs, schedule_from_config(scheduler_config()).alpha_bar, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"prediction_type": "sample"},
        {"beta_schedule": "sigmoid"},
        {"timestep_spacing": "leading"},
        {"thresholding": True},
        {"trained_betas": [0.1]},
        {"_class_name": "DDPMScheduler"},
        {"num_train_timesteps": 0},
        {"num_train_timesteps": "1000"},
    ],
)
def test_an_unsupported_schedule_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(UnsupportedModel, match=next(iter(change))):
        schedule_from_config(scheduler_config() | change)


@pytest.mark.parametrize("steps", [0, 1001])
def test_more_steps_than_there_are_is_refused(steps: int) -> None:
    with pytest.raises(UnsupportedModel, match="sampling steps"):
        schedule_from_config(scheduler_config()).spaced(steps)


@pytest.mark.parametrize("steps", [1, 3, 10, 1000])
def test_trailing_spacing_starts_at_the_last_step(steps: int) -> None:
    spaced = schedule_from_config(scheduler_config()).spaced(steps)
    assert steps == len(spaced)
    assert spaced[0][0] == 999
    assert spaced[-1][1] < 0


def test_images_do_not_depend_on_the_batch_size() -> None:
    schedule, labels = schedule_from_config(scheduler_config()), labels_balanced(20, 10)

    def images(batch_size: int) -> np.ndarray:
        return sample_images(model(), schedule, labels, shape=(1, 8, 8), steps=4, seed=SEED, batch_size=batch_size)

    np.testing.assert_array_equal(images(7), images(64))


def test_seed_and_label_change_the_image() -> None:
    schedule, network = schedule_from_config(scheduler_config()), model()
    torch.nn.init.normal_(network.class_embedding.weight, std=5.0)  # type: ignore[union-attr]

    def image(seed: bytes, label: int) -> bytes:
        images = sample_images(network, schedule, np.array([label]), shape=(1, 8, 8), steps=2, seed=Hash(seed))
        return images.tobytes()

    assert len({image(b"\x01" * 32, 0), image(b"\x02" * 32, 0), image(b"\x01" * 32, 1)}) == 3


def test_an_image_that_is_not_finite_is_a_finding() -> None:
    network = model()
    torch.nn.init.constant_(network.conv_out.weight, 1e308)
    with pytest.raises(CheckpointRefused) as refused:
        sample_images(
            network,
            schedule_from_config(scheduler_config() | {"clip_sample": False}),
            labels_balanced(2, 10),
            shape=(1, 8, 8),
            steps=2,
            seed=SEED,
        )
    assert refused.value.reason == UnscorableReason.DIVERGED


def test_bytes_and_back() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    np.testing.assert_array_equal(every, to_bytes(to_unit(every)))
    np.testing.assert_array_equal(every, to_bytes(to_unit(every, torch.float64)))
    assert to_bytes(torch.tensor([-7.0, 7.0])).tolist() == [0, 255]
