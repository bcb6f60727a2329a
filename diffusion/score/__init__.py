"""The quality-novelty score: of a checkpoint, as a chain's authorities compute it, and of any folder of images.

Most programs need `score_folders` only. It is loaded when it is asked for: the noise of a sampler lives in this package
too, and must not load everything else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from diffusion.score.folders import FolderScore, Pair, score_folders

__all__ = ["FolderScore", "Pair", "score_folders"]

_FROM: Final = "diffusion.score.folders"


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module(_FROM), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
