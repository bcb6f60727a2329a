"""The networks of the paper's own size: ResNet-50 fingerprints of 256 numbers, DINOv2 ViT-L/14 features.

PDFed, section 3.2, describes both; the authors published no weights. The small networks of
`diffusion.score.fingerprint` are what tasks use, since they suit images of 8 to 64 pixels and two cores: these cost 59
ms and 1.1 s an image of 224 pixels on them. Here are the constructors for whoever has weights and a GPU. The backbones
are those of the ``transformers`` library (extra ``paper``), so any checkpoint in its format loads, from a folder or its
hub; only safetensors, never pickle.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from diffusion.errors import DatasetError
from diffusion.score.fingerprint import FingerprintNetwork
from diffusion.score.scorer import PAPER, Scorer
from diffusion.score.verifier import Verifier
from pdfedchain.errors import UsageError

if TYPE_CHECKING:
    from types import ModuleType

__all__ = [
    "DINOV2_HUB_NAME",
    "RESNET_HUB_NAME",
    "Dinov2Extractor",
    "ResNetFingerprinter",
    "dinov2_extractor",
    "paper_scorer",
    "paper_verifier",
    "resnet_fingerprinter",
]

#: Weights of these names are on the library's hub.
DINOV2_HUB_NAME: Final = "facebook/dinov2-large"
RESNET_HUB_NAME: Final = "microsoft/resnet-50"
FINGERPRINT_SIZE: Final = 256
_MAP_CHANNELS: Final = 2_048
#: Sides in pixels: ResNet-50 halves five times, to the 8 x 8 map that the verifier's windows are laid over.
_RESNET_SIDE_PX: Final = 256
_DINOV2_SIDE_PX: Final = 224
_DINOV2_SIZE: Final = 1_024
_POOL_POWER: Final = 3.0
#: Of ImageNet, for channels from 0 to 1, as both backbones were trained.
_MEAN: Final = (0.485, 0.456, 0.406)
_DEVIATION: Final = (0.229, 0.224, 0.225)


class ResNetFingerprinter(FingerprintNetwork):
    """D = M = 2,048, F = 256: the last map is what is pooled and what a verifier compares."""

    feature_size = _MAP_CHANNELS
    fingerprint_size = FINGERPRINT_SIZE
    map_channels = _MAP_CHANNELS

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(_MAP_CHANNELS, FINGERPRINT_SIZE)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        pooled = self.maps(images).clamp(min=1e-6).pow(_POOL_POWER).mean(dim=(2, 3)).pow(1 / _POOL_POWER)
        return pooled, functional.normalize(self.head(pooled), dim=1)

    def maps(self, images: Tensor) -> Tensor:
        """The backbone's last one."""
        last: Tensor = self.backbone(_prepared(images, _RESNET_SIDE_PX)).last_hidden_state
        return last


class Dinov2Extractor(nn.Module):
    """Images (N, C, H, W) in [-1, 1] to the class token's features (N, 1024), for the Frechet distance.

    Attributes:
        feature_size: 1,024.
    """

    feature_size = _DINOV2_SIZE

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        tokens: Tensor = self.backbone(_prepared(images, _DINOV2_SIDE_PX)).last_hidden_state
        return tokens[:, 0]


def resnet_fingerprinter(weights: Path | str | None = None, *, backbone: str | None = None) -> ResNetFingerprinter:
    """ResNet-50 (He et al. 2016) with a projection to 256 numbers: 24.0 million parameters.

    Args:
        weights: a safetensors file of a whole fingerprinter, as ``safetensors.torch.save_model`` writes it.
        backbone: folder or hub name of the backbone alone, to start a training from, for example `RESNET_HUB_NAME`.
            Without either, weights are random.

    Raises:
        UsageError: ``transformers`` is not installed.
        DatasetError: there are no such weights, or they are of another network.
    """
    library = _library()
    network: nn.Module = (
        library.ResNetModel(library.ResNetConfig())
        if backbone is None
        else _pretrained(library.ResNetModel, backbone, "hidden_sizes", [256, 512, 1024, 2048])
    )
    model = ResNetFingerprinter(network)
    if weights is not None:
        _load(model, weights, "a ResNet-50 fingerprinter")
    return model.eval().requires_grad_(False)


def dinov2_extractor(weights: Path | str | None = DINOV2_HUB_NAME) -> Dinov2Extractor:
    """DINOv2 ViT-L/14 (Oquab et al. 2024, arXiv 2304.07193): 304.4 million parameters, features of 1,024 numbers.

    Args:
        weights: folder or hub name; ``None`` for random ones.

    Raises:
        UsageError: ``transformers`` is not installed.
        DatasetError: there are no such weights, or they are of another network.
    """
    library = _library()
    if weights is None:
        config = library.Dinov2Config(
            hidden_size=_DINOV2_SIZE, num_hidden_layers=24, num_attention_heads=16, image_size=518, patch_size=14
        )
        return Dinov2Extractor(library.Dinov2Model(config)).eval().requires_grad_(False)
    network = _pretrained(library.Dinov2Model, str(weights), "hidden_size", _DINOV2_SIZE)
    return Dinov2Extractor(network).eval().requires_grad_(False)


def paper_verifier() -> Verifier:
    """The verifier for ResNet-50's maps, in the paper's plain form: D = 2,048 channels, projected to 512."""
    return Verifier(_MAP_CHANNELS, plain=True).eval().requires_grad_(False)


def paper_scorer(
    *,
    image_size: int,
    channels: int,
    fingerprinter: Path | str | None = None,
    verifier: Path | str | None = None,
    extractor: Path | str | None = DINOV2_HUB_NAME,
    feature_scale: float = 1.0,
) -> Scorer:
    """All three networks as a scorer, which `write_scorer` turns into a folder for a task or for ``pdfed score``.

    Args:
        image_size: side of the images that it is given; the networks enlarge them.
        channels: 1 or 3.
        fingerprinter: safetensors file of its weights; random without one.
        verifier: likewise.
        extractor: folder or hub name; ``None`` for random weights.
        feature_scale: the paper's features are not scaled.

    Raises:
        UsageError: ``transformers`` is not installed.
        DatasetError: there are no such weights, or they are of another network.
    """
    judge = paper_verifier()
    if verifier is not None:
        _load(judge, verifier, "a verifier of ResNet-50's maps")
    return Scorer(
        image_size,
        channels,
        resnet_fingerprinter(fingerprinter),
        judge,
        feature_scale,
        construction=PAPER,
        extractor=dinov2_extractor(extractor),
    )


def _load(model: nn.Module, weights: Path | str, what: str) -> None:
    from safetensors.torch import load_model

    try:
        load_model(model, str(weights))
    except (OSError, RuntimeError, ValueError) as error:
        raise DatasetError(f"{weights} has no weights of {what}: {error}") from error


def _prepared(images: Tensor, side: int) -> Tensor:
    """Resized, in three channels, normalised as on ImageNet."""
    colour = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
    resized = functional.interpolate(colour, size=(side, side), mode="bicubic", align_corners=False, antialias=True)
    mean, deviation = (torch.tensor(values, device=images.device, dtype=images.dtype) for values in (_MEAN, _DEVIATION))
    return (resized / 2 + 0.5 - mean[:, None, None]) / deviation[:, None, None]


def _library() -> ModuleType:
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise UsageError(
            "the networks of the paper need an optional part", hint='pip install "pdfedchain[paper]"'
        ) from error
    library: ModuleType = transformers
    return library


def _pretrained(kind: Any, name: str, attribute: str, expected: object) -> nn.Module:
    """A network from a folder or the hub, refused if its configuration is of another size."""
    folder = Path(name)
    if folder.is_dir() and not (folder / "config.json").is_file():  # the library would take its defaults for it
        raise DatasetError(f"{name} has no config.json", hint="Name a folder with config.json and model.safetensors.")
    try:
        config = kind.config_class.from_pretrained(name)
        if (found := getattr(config, attribute)) != expected:
            raise DatasetError(f"{name} has {attribute} {found}, expected {expected}")
        network: nn.Module = kind.from_pretrained(name, config=config, use_safetensors=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise DatasetError(
            f"{name} has no weights that can be loaded: {error}",
            hint="Name a folder with config.json and model.safetensors, or a model of the hub.",
        ) from error
    return network
