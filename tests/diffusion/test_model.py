from __future__ import annotations

from typing import Any

import pytest
import torch

from diffusion.config import IMAGE_SIZES, unet_config
from diffusion.errors import UnsupportedModel
from diffusion.model import build_unet

SMALL = unet_config(image_size=8, channels=1, classes=10)
#: The shape of google/ddpm-cifar10-32, with fewer channels.
DDPM = SMALL | {
    "block_out_channels": [16, 32, 32],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 2,
    "attention_head_dim": None,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
    "in_channels": 3,
    "out_channels": 3,
    "sample_size": 16,
    "num_class_embeds": None,
}


@pytest.mark.parametrize("config", [SMALL, unet_config(image_size=32, channels=3, classes=4), DDPM])
def test_it_computes_what_diffusers_computes(config: dict[str, Any]) -> None:
    from diffusers import UNet2DModel

    torch.manual_seed(3)
    theirs, ours = UNet2DModel.from_config(config).eval(), build_unet(config).eval()
    ours.load_state_dict(theirs.state_dict())
    size, channels, classes = config["sample_size"], config["in_channels"], config["num_class_embeds"]
    x, steps = torch.randn(3, channels, size, size), torch.tensor([0, 371, 999])
    labels = None if classes is None else torch.tensor([0, 1, classes - 1])
    with torch.no_grad():
        torch.testing.assert_close(theirs(x, steps, labels).sample, ours(x, steps, labels), atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("image_size", IMAGE_SIZES)
def test_every_image_size_keeps_its_shape(image_size: int) -> None:
    model = build_unet(unet_config(image_size=image_size, channels=3, classes=2))
    x = torch.zeros(1, 3, image_size, image_size)
    assert x.shape == model(x, torch.tensor(5), torch.tensor([1])).shape


def test_float64_does_not_depend_on_the_batch() -> None:
    model = build_unet(SMALL).double().eval()
    x, labels = torch.randn(5, 1, 8, 8, dtype=torch.float64), torch.arange(5)
    with torch.no_grad():
        together = model(x, torch.tensor(400), labels)
        alone = torch.cat([model(x[i : i + 1], torch.tensor(400), labels[i : i + 1]) for i in range(5)])
    assert float((together - alone).abs().max()) < 1e-13


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"act_fn": "gelu"}, "act_fn"),
        ({"time_embedding_type": "fourier"}, "time_embedding_type"),
        ({"resnet_time_scale_shift": "scale_shift"}, "resnet_time_scale_shift"),
        ({"down_block_types": ["DownBlock2D", "SkipDownBlock2D"]}, "down_block_types"),
        ({"up_block_types": ["UpBlock2D"]}, "differ in length"),
        ({"block_out_channels": [16, 32, 64]}, "differ in length"),
        ({"norm_num_groups": 7}, "inconsistent"),
        ({"norm_num_groups": 0}, "inconsistent"),
        ({"surprise": 1}, "unknown keys \\['surprise'\\]"),
    ],
)
def test_what_is_not_implemented_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedModel, match=message):
        build_unet(SMALL | change)


def test_a_missing_key_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="lacks \\['norm_eps'\\]"):
        build_unet({key: value for key, value in SMALL.items() if key != "norm_eps"})
