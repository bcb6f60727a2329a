"""The handwritten digits of scikit-learn: 1,797 grey images of 8 pixels, in its wheel (UCI, CC BY 4.0)."""

from __future__ import annotations

import numpy as np

from diffusion.data.images import LabelledImages

__all__ = ["load_digits"]


def load_digits() -> LabelledImages:
    """All digits; the source's values 0 to 16 become round(v * 255 / 16)."""
    from sklearn.datasets import load_digits as load

    source = load()
    images = np.rint(source.images * 255 / 16).astype(np.uint8)
    return LabelledImages(images[:, None], source.target.astype(np.int64))
