"""The denoising network: the part of diffusers' ``UNet2DModel`` that tasks use, as plain modules of our own.

Why not diffusers itself: the network is part of a validity rule, so its arithmetic must not change with a library's
release; the time embedding must follow the model's precision (diffusers computes it in float32 even in a float64
model, which alone moves pixels by 1.2e-6); and importing diffusers costs a worker process about five seconds.
Parameter names, shapes and configuration keys are diffusers', so a checkpoint loads there unchanged; a test holds
the two networks equal. What is not here: other block types, scale-shift normalisation, learned or Fourier time
embeddings. A configuration that asks for them is refused, never approximated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from diffusion.errors import UnsupportedModel

__all__ = ["UNet", "build_unet"]

#: Keys of ``unet/config.json`` that may only have this value.
_FIXED: Final[dict[str, Any]] = {
    "act_fn": "silu",
    "add_attention": True,
    "attn_norm_num_groups": None,
    "center_input_sample": False,
    "class_embed_type": None,
    "downsample_type": "conv",
    "dropout": 0.0,
    "mid_block_scale_factor": 1,
    "mid_block_type": "UNetMidBlock2D",
    "num_train_timesteps": None,
    "resnet_time_scale_shift": "default",
    "time_embedding_dim": None,
    "time_embedding_type": "positional",
    "upsample_type": "conv",
}
_FREE: Final = frozenset(
    {
        "attention_head_dim", "block_out_channels", "down_block_types", "downsample_padding", "flip_sin_to_cos",
        "freq_shift", "in_channels", "layers_per_block", "norm_eps", "norm_num_groups", "num_class_embeds",
        "out_channels", "sample_size", "up_block_types",
    }
)  # fmt: skip


class _Resnet(nn.Module):
    """Pre-activation residual block with an additive time embedding (Ho et al. 2020, appendix B)."""

    def __init__(self, channels_in: int, channels_out: int, channels_time: int, groups: int, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels_in, eps=eps)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.time_emb_proj = nn.Linear(channels_time, channels_out)
        self.norm2 = nn.GroupNorm(groups, channels_out, eps=eps)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(channels_in, channels_out, 1) if channels_in != channels_out else None

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        hidden = self.conv1(functional.silu(self.norm1(x)))
        hidden = hidden + self.time_emb_proj(functional.silu(time))[:, :, None, None]
        hidden = self.conv2(functional.silu(self.norm2(hidden)))
        shortcut: Tensor = x if self.conv_shortcut is None else self.conv_shortcut(x)
        out: Tensor = hidden + shortcut
        return out


class _Attention(nn.Module):
    """Self-attention over the pixels of a map, residual."""

    def __init__(self, channels: int, head_size: int | None, groups: int, eps: float) -> None:
        super().__init__()
        self.heads = 1 if head_size is None else channels // head_size
        self.group_norm = nn.GroupNorm(groups, channels, eps=eps)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        tokens = self.group_norm(x).flatten(2).transpose(1, 2)  # (N, HW, C)

        def heads(projected: Tensor) -> Tensor:
            split = projected.reshape(batch, height * width, self.heads, channels // self.heads)
            return split.transpose(1, 2)  # (N, heads, HW, C / heads)

        mixed = functional.scaled_dot_product_attention(
            heads(self.to_q(tokens)), heads(self.to_k(tokens)), heads(self.to_v(tokens))
        )
        out: Tensor = self.to_out[0](mixed.transpose(1, 2).flatten(2)).transpose(1, 2)
        return out.reshape(batch, channels, height, width) + x


class _Resample(nn.Module):
    """Convolution that halves, or nearest-neighbour doubling followed by a convolution."""

    def __init__(self, channels: int, *, up: bool, padding: int = 1) -> None:
        super().__init__()
        self.up, self.padding = up, padding
        self.conv = nn.Conv2d(channels, channels, 3, stride=1 if up else 2, padding=1 if up else padding)

    def forward(self, x: Tensor) -> Tensor:
        if self.up:
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
        elif self.padding == 0:
            x = functional.pad(x, (0, 1, 0, 1))
        out: Tensor = self.conv(x)
        return out


class _Down(nn.Module):
    def __init__(
        self, resnets: list[_Resnet], attentions: list[_Attention] | None, downsampler: _Resample | None
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(resnets)
        self.attentions = None if attentions is None else nn.ModuleList(attentions)
        self.downsamplers = None if downsampler is None else nn.ModuleList([downsampler])

    def forward(self, x: Tensor, time: Tensor) -> tuple[Tensor, list[Tensor]]:
        skips = []
        for index, resnet in enumerate(self.resnets):
            x = resnet(x, time)
            if self.attentions is not None:
                x = self.attentions[index](x)
            skips.append(x)
        if self.downsamplers is not None:
            x = self.downsamplers[0](x)
            skips.append(x)
        return x, skips


class _Middle(nn.Module):
    def __init__(self, resnets: list[_Resnet], attention: _Attention) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([attention])
        self.resnets = nn.ModuleList(resnets)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        x = self.attentions[0](self.resnets[0](x, time))
        out: Tensor = self.resnets[1](x, time)
        return out


class _Up(nn.Module):
    def __init__(
        self, resnets: list[_Resnet], attentions: list[_Attention] | None, upsampler: _Resample | None
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(resnets)
        self.attentions = None if attentions is None else nn.ModuleList(attentions)
        self.upsamplers = None if upsampler is None else nn.ModuleList([upsampler])

    def forward(self, x: Tensor, skips: list[Tensor], time: Tensor) -> Tensor:
        for index, resnet in enumerate(self.resnets):
            x = resnet(torch.cat([x, skips.pop()], dim=1), time)
            if self.attentions is not None:
                x = self.attentions[index](x)
        if self.upsamplers is not None:
            x = self.upsamplers[0](x)
        return x


class _TimeEmbedding(nn.Module):
    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(channels_in, channels_out)
        self.linear_2 = nn.Linear(channels_out, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear_2(functional.silu(self.linear_1(x)))
        return out


class UNet(nn.Module):
    """Predicts v (or noise) from a noisy image, its time step and its class label.

    Shapes: images (N, C, H, W), time steps (N,) or (), labels (N,) int64; returns (N, C, H, W).
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        widths: list[int] = list(config["block_out_channels"])
        groups, eps = config["norm_num_groups"], config["norm_eps"]
        head_size, layers = config["attention_head_dim"], config["layers_per_block"]
        self.time_width = widths[0]
        self.flip_sin_to_cos, self.freq_shift = config["flip_sin_to_cos"], config["freq_shift"]
        channels_time = 4 * widths[0]
        self.conv_in = nn.Conv2d(config["in_channels"], widths[0], 3, padding=1)
        self.time_embedding = _TimeEmbedding(widths[0], channels_time)
        classes = config["num_class_embeds"]
        self.class_embedding = None if classes is None else nn.Embedding(classes, channels_time)

        def resnet(channels_in: int, channels_out: int) -> _Resnet:
            return _Resnet(channels_in, channels_out, channels_time, groups, eps)

        def attention(channels: int) -> _Attention:
            return _Attention(channels, head_size, groups, eps)

        down, up = [], []
        previous = widths[0]
        for level, (kind, width) in enumerate(zip(config["down_block_types"], widths, strict=True)):
            sizes_in = [previous] + [width] * (layers - 1)
            last = level == len(widths) - 1
            down.append(
                _Down(
                    [resnet(size, width) for size in sizes_in],
                    [attention(width) for _ in sizes_in] if kind.startswith("Attn") else None,
                    None if last else _Resample(width, up=False, padding=config["downsample_padding"]),
                )
            )
            previous = width
        self.down_blocks = nn.ModuleList(down)
        self.mid_block = _Middle([resnet(previous, previous) for _ in range(2)], attention(previous))
        reverse = widths[::-1]
        for level, (kind, width) in enumerate(zip(config["up_block_types"], reverse, strict=True)):
            below = reverse[min(level + 1, len(widths) - 1)]
            last = level == len(widths) - 1
            sizes_in = [
                (previous if layer == 0 else width) + (below if layer == layers else width)
                for layer in range(layers + 1)
            ]
            up.append(
                _Up(
                    [resnet(size, width) for size in sizes_in],
                    [attention(width) for _ in sizes_in] if kind.startswith("Attn") else None,
                    None if last else _Resample(width, up=True),
                )
            )
            previous = width
        self.up_blocks = nn.ModuleList(up)
        self.conv_norm_out = nn.GroupNorm(groups, widths[0], eps=eps)
        self.conv_out = nn.Conv2d(widths[0], config["out_channels"], 3, padding=1)

    def _time(self, steps: Tensor, dtype: torch.dtype) -> Tensor:
        """Sinusoidal embedding (Vaswani et al. 2017, section 3.5), always computed in float64."""
        half = self.time_width // 2
        exponents = torch.arange(half, dtype=torch.float64, device=steps.device) / (half - self.freq_shift)
        angles = steps.to(torch.float64)[:, None] * torch.exp(-math.log(10_000) * exponents)[None]
        parts = (angles.cos(), angles.sin()) if self.flip_sin_to_cos else (angles.sin(), angles.cos())
        return torch.cat(parts, dim=1).to(dtype)

    def forward(self, x: Tensor, steps: Tensor, labels: Tensor | None = None) -> Tensor:
        time = self.time_embedding(self._time(steps.expand(len(x)), x.dtype))
        if self.class_embedding is not None:
            assert labels is not None, "a class-conditional network needs labels"
            time = time + self.class_embedding(labels)
        x = self.conv_in(x)
        skips = [x]
        for block in self.down_blocks:
            x, more = block(x, time)
            skips.extend(more)
        x = self.mid_block(x, time)
        for block in self.up_blocks:
            x = block(x, skips, time)
        out: Tensor = self.conv_out(functional.silu(self.conv_norm_out(x)))
        return out


def build_unet(config: Mapping[str, Any]) -> UNet:
    """A network with torch's default initialisation from a parsed ``unet/config.json``.

    Raises:
        UnsupportedModel: the configuration asks for something this module does not implement.
    """
    _check(config)
    try:
        return UNet(config)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise UnsupportedModel(f"the network configuration is inconsistent: {error}") from error


def _check(config: Mapping[str, Any]) -> None:
    keys = {key for key in config if not key.startswith("_")}
    missing, unknown = sorted(_FREE - keys), sorted(keys - _FREE - set(_FIXED))
    if missing or unknown:
        raise UnsupportedModel(f"the network configuration lacks {missing} and has unknown keys {unknown}")
    for key, value in _FIXED.items():
        if key in config and config[key] != value:
            raise UnsupportedModel(f"the network configuration has {key}={config[key]!r}; only {value!r} is supported")
    for prefix, key in (("Down", "down_block_types"), ("Up", "up_block_types")):
        allowed = {f"{prefix}Block2D", f"Attn{prefix}Block2D"}
        if not set(config[key]) <= allowed:
            raise UnsupportedModel(f"the network configuration has {key}={config[key]!r}; only {sorted(allowed)}")
    if len({len(config[key]) for key in ("down_block_types", "up_block_types", "block_out_channels")}) != 1:
        raise UnsupportedModel("block_out_channels, down_block_types and up_block_types differ in length")
