"""What is done to copies when it is measured whether they are still found, with every strength in one place.

These are not the augmentations that the networks are trained with (`diffusion.score.augment`): they are done by Pillow
and numpy, and recompression is a real JPEG. Strengths are meant to be what passes without notice at a glance.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

__all__ = ["ALTERATIONS", "alter"]

Rng = np.random.Generator

#: Standard deviation of the Gaussian blur in pixels, at 8 pixels and for each pixel of the side beyond.
BLUR_PX: Final = (0.5, 0.0125)
#: Standard deviation of the noise, of 255 levels.
NOISE_LEVELS: Final = 8.0
#: Share of the side that a crop leaves; its place is random, and it is enlarged again.
CROP_SHARE: Final = 0.94
JPEG_QUALITY: Final = 75
#: Each channel is shifted by this many levels, up or down.
COLOUR_LEVELS: Final = 12


def _blur(image: Image.Image, rng: Rng) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(BLUR_PX[0] + BLUR_PX[1] * (image.width - 8)))


def _noise(image: Image.Image, rng: Rng) -> Image.Image:
    pixels = np.asarray(image, dtype=np.float64)
    return _image(pixels + rng.normal(0, NOISE_LEVELS, pixels.shape))


def _crop(image: Image.Image, rng: Rng) -> Image.Image:
    side = image.width * CROP_SHARE
    left, top = rng.uniform(0, image.width - side, 2)
    return image.resize(image.size, Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))


def _recompress(image: Image.Image, rng: Rng) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=JPEG_QUALITY)
    return Image.open(file)


def _shift_colour(image: Image.Image, rng: Rng) -> Image.Image:
    pixels = np.asarray(image, dtype=np.float64)
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    shift = COLOUR_LEVELS * rng.choice([-1, 1], channels)
    return _image(pixels + (shift[0] if channels == 1 else shift))


def _image(pixels: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


#: Name -> what it does to an image of mode L or RGB.
ALTERATIONS: Final[dict[str, Callable[[Image.Image, Rng], Image.Image]]] = {
    "blur": _blur,
    "noise": _noise,
    "crop": _crop,
    "recompression": _recompress,
    "colour shift": _shift_colour,
}


def alter(images: NDArray[np.uint8], name: str, rng: Rng) -> NDArray[np.uint8]:
    """Altered copies of uint8 images (N, C, S, S)."""
    altered = []
    for image in images:
        picture = Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
        pixels = np.asarray(ALTERATIONS[name](picture, rng), dtype=np.uint8)
        altered.append(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))
    return np.stack(altered)
