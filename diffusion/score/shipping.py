"""Training a scorer to keep: on a folder of images or a known data set, resumable, measured, with a model card.

A sixth of the images is held out of the training (at most 1,000), and the card's figures are of those: whether the
fingerprinter finds an augmented copy's source among all images, and what the verifier says of copies, of the nearest
other image and of any other image.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from diffusion.checkpoint import write_folder
from diffusion.config import canonical_json
from diffusion.data import DATASETS, load_dataset
from diffusion.data.images import LabelledImages
from diffusion.data.listing import list_images
from diffusion.data.partition import permutation
from diffusion.errors import DatasetError
from diffusion.progress import Report, silent
from diffusion.sampler import to_bytes, to_unit
from diffusion.score.augment import augment
from diffusion.score.fingerprint import describe
from diffusion.score.keeper import FileKeeper
from diffusion.score.learn import LearningPlan, train_scorer
from diffusion.score.nearest import nearest
from diffusion.score.pretrain import card_of, read_sources, train_on, write_trained
from diffusion.score.scorer import LITE, Scorer, write_scorer
from diffusion.score.shipped import WEIGHTS_SHA256, shipped_fingerprinter
from diffusion.score.small_scorer import IMAGES_MIN, read_sample
from diffusion.score.verifier import similarities
from diffusion.train import generator_of
from pdfedchain.errors import UsageError
from pdfedchain.ids import Hash
from pdfedchain.types.jobs import ScorerTrained, TrainScorer

__all__ = ["CARD_FILE", "assess_scorer", "train_scorer_to_folder"]

CARD_FILE: Final = "card.json"
_README_FILE: Final = "README.md"
_PLAN_FILE: Final = "plan.json"
_IMAGES_MAX: Final = 20_000
_HELD_OUT_MAX: Final = 1_000
_HELD_OUT_SHARE: Final = 6
_SEED: Final = Hash(hashlib.sha256(b"pdfed/train-scorer/v1").digest())
_MATCH: Final = 0.8
#: Strengths of the augmentations by which copies are made.
_STRENGTHS: Final = (0.5, 1.0)


def train_scorer_to_folder(request: TrainScorer, report: Report = silent) -> ScorerTrained:
    """Train, measure and write ``request.output``; what is unfinished lies beside it, in ``.<name>.unfinished``.

    Raises:
        DatasetError: the images are missing, unusable or too few.
        UsageError: the output exists, an unfinished training is there and not to be resumed, or is of something else.
    """
    output = Path(request.output)
    if output.exists():
        raise UsageError(f"{output} exists already", hint="Choose a new folder, or remove this one first.")
    if not request.verifier_steps:
        return _fingerprinter_to_folder(request, report)
    if len(request.images) > 1:
        raise UsageError(
            "a verifier is for images of one kind, and several sets were named",
            hint="Name one; or train a fingerprinter alone: --verifier-steps 0.",
        )
    (images,) = request.images
    data = _load(images, report)
    plan = LearningPlan(fingerprinter_steps=request.fingerprinter_steps, verifier_steps=request.verifier_steps)
    train, held_out = _hold_out(data)
    unfinished = output.parent / f".{output.name}.unfinished"
    start = {"construction": LITE, "fingerprinter": WEIGHTS_SHA256}
    about = {"plan": asdict(plan), "images": _digest([train.images]), "seed": request.seed, **start}
    _open_unfinished(unfinished, about, resume=request.resume)
    scorer = train_scorer(
        train,
        seed=_seed(request),
        plan=plan,
        start=shipped_fingerprinter(),
        device=request.device,
        report=report,
        keeper=FileKeeper(unfinished),
    )
    report("measure", 0, 1, 0.0)
    card = {
        "extractor": scorer.extractor_name,
        "image_size": scorer.image_size,
        "channels": scorer.channels,
        "images": images if images in DATASETS else Path(images).name,
        "fingerprinter": "tuned" if request.fingerprinter_steps else "shipped",
        "seed": request.seed,
        "trained_on": len(train),
        "held_out": len(held_out),
        "classes": len(np.unique(data.labels)),
        "plan": asdict(plan),
        "figures": assess_scorer(scorer, held_out, train),
    }

    def fill(folder: Path) -> None:
        write_scorer(folder, scorer)
        (folder / CARD_FILE).write_text(canonical_json(card), encoding="utf-8")
        (folder / _README_FILE).write_text(_readme(card), encoding="utf-8")

    write_folder(output, fill)
    shutil.rmtree(unfinished)
    report("measure", 1, 1, 0.0)
    return ScorerTrained(request.output)


def _fingerprinter_to_folder(request: TrainScorer, report: Report) -> ScorerTrained:
    """A fingerprinter for every size: its weights and a card."""
    if not request.fingerprinter_steps:
        raise UsageError("there is nothing to train", hint="Give --fingerprinter-steps or --verifier-steps.")
    output, steps, seed = Path(request.output), request.fingerprinter_steps, _seed(request)
    sources = read_sources(request.images, report)
    unfinished = output.parent / f".{output.name}.unfinished"
    digest = _digest([images for source in sources for images in source.train.values()])
    about = {"steps": steps, "images": digest, "seed": request.seed}
    _open_unfinished(unfinished, about, resume=request.resume)
    keeper = FileKeeper(unfinished)
    model = train_on(sources, seed=seed, steps=steps, device=request.device, report=report, keeper=keeper)
    report("measure", 0, 1, 0.0)
    card = card_of(sources, model, seed=request.seed, steps=steps)
    write_folder(output, lambda folder: write_trained(folder, model, card))
    shutil.rmtree(unfinished)
    report("measure", 1, 1, 0.0)
    return ScorerTrained(request.output)


def _seed(request: TrainScorer) -> Hash:
    return Hash(hashlib.sha256(f"pdfed/train-scorer/v2/{request.seed}".encode()).digest())


def _load(images: str, report: Report) -> LabelledImages:
    if images in DATASETS:
        data = load_dataset(images, shards=1, report=report)
        return data.take(np.sort(permutation(len(data), _SEED)[:_IMAGES_MAX]))
    folder = list_images(Path(images))
    if len(folder) < IMAGES_MIN:
        raise DatasetError(f"{images} has {len(folder)} images, at least {IMAGES_MIN} are needed", hint="Add images.")
    return read_sample(folder, _IMAGES_MAX, report)


def _hold_out(data: LabelledImages) -> tuple[LabelledImages, LabelledImages]:
    order = permutation(len(data), _SEED)
    count = min(len(data) // _HELD_OUT_SHARE, _HELD_OUT_MAX)
    return data.take(np.sort(order[count:])), data.take(np.sort(order[:count]))


def _digest(parts: Iterable[NDArray[np.uint8]]) -> str:
    digest = hashlib.sha256()
    for images in parts:
        digest.update(repr(images.shape).encode())
        digest.update(images.tobytes())
    return digest.hexdigest()


def _open_unfinished(folder: Path, about: Mapping[str, Any], *, resume: bool) -> None:
    """Make the folder, or check that what lies there is the same training."""
    # as JSON reads it back: tuples become lists
    wanted = json.loads(canonical_json(about))
    if not folder.exists():
        folder.mkdir(parents=True)
        (folder / _PLAN_FILE).write_text(canonical_json(about), encoding="utf-8")
        return
    if not resume:
        raise UsageError(f"{folder} holds an unfinished training", hint="Add --resume to go on, or remove it.")
    try:
        found = json.loads((folder / _PLAN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder} is no unfinished training: {error}", hint="Remove it.") from error
    if found != wanted:
        raise UsageError(
            f"{folder} is a training on other images, with other steps or another seed, or of another version",
            hint="Resume with what it was started with, or remove it.",
        )


def assess_scorer(scorer: Scorer, held_out: LabelledImages, train: LabelledImages) -> dict[str, float]:
    """Figures of a scorer on images it was not trained on, all shares from 0 to 1.

    ``found_*`` and ``copies_*`` at two strengths of augmentation: copies whose source is the nearest of all images;
    copies confirmed at 0.8. ``same_confirmed``: images confirmed as their own copy. ``nearest_confirmed``,
    ``random_confirmed``: held-out images confirmed as copies of their nearest training image, or of any, which they are
    not.
    """
    rng = generator_of(_SEED)
    own, theirs = (describe(scorer.fingerprinter, some.images) for some in (held_out, train))
    real = held_out.images
    gallery = np.concatenate([own.fingerprints, theirs.fingerprints])
    count = len(held_out)
    same = np.arange(count)
    figures = {"same_confirmed": _confirmed(scorer, real, real, same, same)}
    for strength in _STRENGTHS:
        copies = to_bytes(augment(to_unit(real), rng, strength=strength))
        found = nearest(describe(scorer.fingerprinter, copies).fingerprints, gallery, count=1)[1][:, 0]
        name = f"{strength:g}"
        figures[f"found_{name}"] = float((found == same).mean())
        figures[f"copies_confirmed_{name}"] = _confirmed(scorer, copies, real, same, same)
    closest = nearest(own.fingerprints, theirs.fingerprints, count=1)[1][:, 0]
    figures["nearest_confirmed"] = _confirmed(scorer, real, train.images, same, closest)
    anywhere = torch.randint(len(train), (count,), generator=rng).numpy()
    figures["random_confirmed"] = _confirmed(scorer, real, train.images, same, anywhere)
    return figures


def _confirmed(
    scorer: Scorer,
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
    which: NDArray[np.int64],
    other: NDArray[np.int64],
) -> float:
    pairs = np.stack([which, other], axis=1).astype(np.int64)
    return float((similarities(scorer.fingerprinter, scorer.verifier, first, second, pairs) >= _MATCH).mean())


def _readme(card: Mapping[str, Any]) -> str:
    figures = card["figures"]
    rows = [
        ("augmented copy (strength 0.5) whose source is nearest of all images", figures["found_0.5"]),
        ("the same at strength 1", figures["found_1"]),
        ("augmented copy (0.5) confirmed", figures["copies_confirmed_0.5"]),
        ("the same at strength 1", figures["copies_confirmed_1"]),
        ("image confirmed as its own copy", figures["same_confirmed"]),
        ("image confirmed as a copy of its nearest other (wrong)", figures["nearest_confirmed"]),
        ("image confirmed as a copy of any other (wrong)", figures["random_confirmed"]),
    ]
    own = card["plan"]["fingerprinter_steps"]
    network = f"the shipped fingerprinter, tuned for {own} steps" if own else "the shipped fingerprinter"
    steps = f"{network}, verifier {card['plan']['verifier_steps']} steps"
    lines = "\n".join(f"| {what} | {value:.3f} |" for what, value in rows)
    return f"""# Scorer {card["extractor"]}

Fingerprinter and verifier of the PDFed quality-novelty score (arXiv 2409.18245, section 3.2), trained on
{card["trained_on"]} images of `{card["images"]}` ({card["classes"]} classes): {steps}. Use it for images of this kind,
with `pdfed score --scorer`: the verifier does not carry over to others.

On {card["held_out"]} images held out of the training:

| share of | |
|---|---|
{lines}
"""
