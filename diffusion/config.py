"""Model and scheduler configurations of new tasks, and the canonical JSON in which they are pinned.

The texts are what diffusers' ``from_pretrained`` reads. They are compared byte by byte, so everything that could
vary (key order, spaces, library version) is fixed here. Widths grow with the image size; the choice for 8 and 16
pixels is measured (a readable digit after seconds of one core), those above are extrapolated.
"""

from __future__ import annotations

import json
from typing import Any, Final

__all__ = [
    "IMAGE_SIZES",
    "MODEL_INDEX_TEXT",
    "canonical_json",
    "scheduler_config",
    "unet_config",
]

#: Written into configurations; the oldest release whose ``UNet2DModel`` has all the keys.
_DIFFUSERS_VERSION: Final = "0.35.0"

#: Image size in pixels -> channels per level; attention at the lowest level only.
_WIDTHS: Final[dict[int, tuple[int, ...]]] = {
    8: (16, 32),
    16: (16, 32, 32),
    32: (32, 64, 64),
    64: (32, 64, 64, 64),
}
IMAGE_SIZES: Final = tuple(_WIDTHS)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces; one value has one text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


MODEL_INDEX_TEXT: Final = canonical_json(
    {
        "_class_name": "DDIMPipeline",
        "_diffusers_version": _DIFFUSERS_VERSION,
        "scheduler": ["diffusers", "DDIMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    }
)


def unet_config(*, image_size: int, channels: int, classes: int) -> dict[str, Any]:
    """``unet/config.json`` of a small class-conditional network for images of 8, 16, 32 or 64 pixels."""
    widths = _WIDTHS[image_size]
    levels = len(widths)
    return {
        "_class_name": "UNet2DModel",
        "_diffusers_version": _DIFFUSERS_VERSION,
        "act_fn": "silu",
        "add_attention": True,
        "attention_head_dim": 8,
        "attn_norm_num_groups": None,
        "block_out_channels": list(widths),
        "center_input_sample": False,
        "class_embed_type": None,
        "down_block_types": ["DownBlock2D"] * (levels - 1) + ["AttnDownBlock2D"],
        "downsample_padding": 1,
        "downsample_type": "conv",
        "dropout": 0.0,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "in_channels": channels,
        "layers_per_block": 1,
        "mid_block_scale_factor": 1,
        "norm_eps": 1e-5,
        "norm_num_groups": 8,
        "num_class_embeds": classes,
        "num_train_timesteps": None,
        "out_channels": channels,
        "resnet_time_scale_shift": "default",
        "sample_size": image_size,
        "time_embedding_type": "positional",
        "up_block_types": ["AttnUpBlock2D"] + ["UpBlock2D"] * (levels - 1),
        "upsample_type": "conv",
    }


def scheduler_config() -> dict[str, Any]:
    """``scheduler/scheduler_config.json``: DDIM, v-prediction, squared cosine, trailing spacing.

    v-prediction (Salimans and Ho 2022) reaches readable digits several times sooner than noise prediction.
    """
    return {
        "_class_name": "DDIMScheduler",
        "_diffusers_version": _DIFFUSERS_VERSION,
        "beta_end": 0.02,
        "beta_schedule": "squaredcos_cap_v2",
        "beta_start": 0.0001,
        "clip_sample": True,
        "clip_sample_range": 1.0,
        "dynamic_thresholding_ratio": 0.995,
        "num_train_timesteps": 1000,
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": False,
        "sample_max_value": 1.0,
        "set_alpha_to_one": True,
        "steps_offset": 0,
        "thresholding": False,
        "timestep_spacing": "trailing",
        "trained_betas": None,
    }
