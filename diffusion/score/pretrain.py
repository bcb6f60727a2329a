"""Training a fingerprinter for every size and many kinds of images: where the shipped weights come from.

``pdfed train-scorer --images A B C --fingerprinter-steps N --verifier-steps 0`` runs this. The folder that comes out
has the weights and a card with figures on pictures that were held out of each source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from diffusion.config import IMAGE_SIZES, canonical_json
from diffusion.progress import Report, silent
from diffusion.sampler import to_bytes, to_unit
from diffusion.score.augment import augment
from diffusion.score.fingerprint import Fingerprinter, describe
from diffusion.score.keeper import Keeper
from diffusion.score.learn_fingerprinter import FingerprinterPlan, source_of, train_fingerprinter
from diffusion.score.nearest import nearest
from diffusion.score.sources import Pictures, read_pictures
from diffusion.tensorfile import write_tensors
from diffusion.train import generator_of
from pdfedchain.ids import Hash

__all__ = ["WEIGHTS_FILE", "assess_fingerprinter", "card_of", "read_sources", "train_on", "write_trained"]

WEIGHTS_FILE: Final = "fingerprinter.safetensors"
#: Image size -> share of the training's steps; 32 pixels is what most tasks with photographs will have.
_SHARES: Final = ((8, 0.25), (16, 0.25), (32, 0.4), (64, 0.1))
_BATCH: Final = 96
#: Training images of which each measurement looks for nearest neighbours.
_GALLERY_MAX: Final = 2_000
_STRENGTHS: Final = (0.5, 1.0)
_DEVIATIONS: Final = 0.5


def _plan(steps: int) -> FingerprinterPlan:
    """The plan of a training for all sizes."""
    return FingerprinterPlan(steps=steps, batch=_BATCH, sizes=_SHARES, half=True)


def read_sources(names: Sequence[str], report: Report = silent) -> list[Pictures]:
    """Read all sources, each at every size that it has.

    Raises:
        DatasetError: a source is unknown or too small.
    """
    return [read_pictures(name, IMAGE_SIZES, report) for name in names]


def train_on(
    sources: Sequence[Pictures], *, seed: Hash, steps: int, device: str, report: Report, keeper: Keeper
) -> Fingerprinter:
    """Train on what is not held out."""
    return train_fingerprinter(
        [source_of(source.train) for source in sources],
        seed=seed,
        plan=_plan(steps),
        device=device,
        report=report,
        keeper=keeper,
    )


def write_trained(folder: Path, model: Fingerprinter, card: dict[str, Any]) -> None:
    """Weights and card into an existing folder."""
    write_tensors(folder / WEIGHTS_FILE, {name: tensor.numpy() for name, tensor in model.state_dict().items()})
    digest = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    (folder / "card.json").write_text(canonical_json(card | {"sha256": digest}), encoding="utf-8")


def card_of(sources: Sequence[Pictures], model: Fingerprinter, *, seed: int, steps: int) -> dict[str, Any]:
    """What is to be known of a trained fingerprinter."""
    return {
        "plan": asdict(_plan(steps)),
        "seed": seed,
        "sources": [
            {
                "name": source.name,
                "trained_on": len(source.train[min(source.train)]),
                "held_out": len(source.held_out[min(source.held_out)]),
                "unusable": source.unusable,
            }
            for source in sources
        ],
        "figures": [
            {"source": source.name, "image_size": size, **assess_fingerprinter(model, images, source.train[size])}
            for source in sources
            for size, images in source.held_out.items()
        ],
    }


def assess_fingerprinter(
    model: Fingerprinter, held_out: NDArray[np.uint8], train: NDArray[np.uint8]
) -> dict[str, float]:
    """Figures on pictures not trained on, shares from 0 to 1.

    ``found_S``: augmented copies of strength S whose source is the nearest of all held-out pictures and 2,000 others.
    ``close_S``: those closer to it than the retrieval threshold T_c of all those pictures taken as one class.
    """
    rng = generator_of(Hash(bytes(32)))
    gallery = describe(model, np.concatenate([held_out, train[:_GALLERY_MAX]])).fingerprints
    away = nearest(gallery, gallery, count=1, same=True)[0][:, 0]
    threshold = float(away.mean() - _DEVIATIONS * away.std())
    figures = {}
    for strength in _STRENGTHS:
        with torch.no_grad():
            copies = to_bytes(augment(to_unit(held_out), rng, strength=strength))
        described = describe(model, copies).fingerprints
        found = nearest(described, gallery, count=1)[1][:, 0]
        to_source = np.linalg.norm(described - gallery[: len(held_out)], axis=1)
        figures[f"found_{strength:g}"] = float((found == np.arange(len(held_out))).mean())
        figures[f"close_{strength:g}"] = float((to_source <= threshold).mean())
    return figures
