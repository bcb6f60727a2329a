"""The quality-novelty score of any folders of images, with the published measures beside it.

`score_folders` is what ``pdfed score`` runs. Quality is the Frechet distance to the test images; novelty is measured
against the training images (PDFed, section 3.2). The consensus score counts copies of its public test images as well;
here the test images are what the model has never seen.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from diffusion.arithmetic import exact_arithmetic
from diffusion.data.listing import ImageFolder, check_classes, list_images, shape_of
from diffusion.data.partition import permutation
from diffusion.errors import DatasetError
from diffusion.progress import Report, silent
from diffusion.score.baselines import measure
from diffusion.score.calibrate import novelty_weight_from
from diffusion.score.describe_folder import FolderFeatures, describe_folder, pair_similarities, scorer_digest
from diffusion.score.feature_store import FeatureStore
from diffusion.score.frechet import frechet_distance
from diffusion.score.novelty import Matches, find_matches
from diffusion.score.quantise import to_micro
from diffusion.score.scorer import Scorer, read_scorer
from diffusion.score.spec import default_scoring
from pdfedchain.ids import Hash
from pdfedchain.types.score import MICRO, ArithmeticProfile

__all__ = ["FolderScore", "Pair", "score_folders"]

_FEATURES_FILE: Final = "features.db"
_SCORERS_FOLDER: Final = "scorers"
_SEED: Final = Hash(bytes(32))
_DIGEST_LENGTH: Final = 16
#: Training images looked at to say what a scorer does not see of them.
_LOOKED_AT: Final = 100


@dataclass(frozen=True, slots=True)
class Pair:
    """A generated image and a training image unusually close to it; paths are relative to their folders."""

    generated: str
    train: str
    distance: float
    similarity: float
    confirmed: bool


@dataclass(frozen=True, slots=True)
class FolderScore:
    """What the generated images are worth; lower ``qn`` is better.

    Attributes:
        n: generated images.
        checked: pairs closer than their class's threshold T_c, given to the verifier.
        confirmed: matches at or above 0.8, one to one.
        v_a: mean similarity of checked pairs; 0 where there are none.
        v_c: mean similarity of confirmed pairs; likewise.
        r_c: confirmed / n.
        fid: Frechet distance of features of generated and test images.
        qn: (fid + v_c * v_a * r_c * novelty_weight) / 2.
        novelty_weight: what full copying adds; see ``novelty_weight_from``.
        extractor: what computed the features.
        auth_pct: Alaa 2021, 0 to 100; low is copying.
        ct: Meehan 2020, a z-score; far below zero is copying. ``None`` below about twenty images.
        fld: Jiralerspong 2023; lower is better, real images have 0. ``None`` below four training images.
        kid: Binkowski 2018; lower is better.
        precision: Kynkaanniemi 2019, 0 to 1: generated images that lie among test images.
        recall: likewise, test images that lie among generated ones.
        exact_copies: generated images whose pixels are a training image's, at the scorer's size.
        scorer_digest: the first 16 hexadecimal digits of the scorer's SHA-256; figures of two scorers do not compare.
        novelty_weight_from: ``"given"``, or ``"calibrated"`` from training images scored as if generated.
        remarks: what a reader of the figures should know.
        pairs: all checked pairs, the most similar first.
        seconds: time by part.
    """

    n: int
    checked: int
    confirmed: int
    v_a: float
    v_c: float
    r_c: float
    fid: float
    qn: float
    novelty_weight: int
    extractor: str
    auth_pct: float
    ct: float | None
    fld: float | None
    kid: float
    precision: float
    recall: float
    exact_copies: int
    train_images: int
    test_images: int
    classes: int
    profile: str
    novelty_weight_from: str
    scorer: str
    scorer_digest: str
    remarks: tuple[str, ...]
    pairs: tuple[Pair, ...] = field(repr=False)
    seconds: dict[str, float] = field(repr=False)

    def to_plain(self) -> dict[str, Any]:
        """For JSON; without the pairs."""
        plain = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "pairs"}
        return plain | {"remarks": list(self.remarks)}


@exact_arithmetic()
def score_folders(
    generated: Path | str,
    train: Path | str,
    test: Path | str,
    *,
    scorer: Path | str | None = None,
    novelty_weight: int | None = None,
    cache: Path | str | None = None,
    profile: ArithmeticProfile = ArithmeticProfile.F32,
    device: str = "cpu",
    report: Report = silent,
) -> FolderScore:
    """Score a folder of generated images against folders of training and test images.

    A folder holds images of any sizes and formats, directly or in one sub-folder per class; classes, where training and
    test images have them, sharpen the threshold of what is unusually close.

    >>> from diffusion.score import score_folders
    >>> score = score_folders("generated", "train", "test", scorer="scorer")
    >>> score.n, score.confirmed, round(score.r_c, 2)
    (60, 15, 0.25)
    >>> score.pairs[0].generated, score.pairs[0].train  # the worst copy
    ('0000.png', '0/0000.png')

    Args:
        scorer: folder made by ``pdfed train-scorer``, or a task's; without one, a small one is trained on the training
            images (about a minute), and kept in ``cache``.
        novelty_weight: w; without one, what a task with these images would have (`diffusion.score.calibrate`). Give
            one to compare sets of different sizes.
        cache: folder in which features are remembered by content; none are without it.
        profile: precision; float64 is the consensus score's, and slower.

    Raises:
        DatasetError: a folder cannot be scored; the sentence names the file, class or folder and says why.
    """
    started = time.monotonic()
    generated, train, test = (Path(folder) for folder in (generated, train, test))
    listed = list_images(train), list_images(generated), list_images(test)
    _check(*listed)
    home = None if cache is None else Path(cache)
    if scorer is None:
        from diffusion.score.small_scorer import small_scorer

        network = small_scorer(listed[0], None if home is None else home / _SCORERS_FOLDER, report, device=device).to(
            profile, device
        )
    else:
        network = read_scorer(Path(scorer), profile=profile, device=device)
    ready = time.monotonic()
    with FeatureStore(None if home is None else home / _FEATURES_FILE, scorer_digest(network)) as store:
        # training images first: a generated file with the same content is then described by the very same numbers
        described = [
            describe_folder(network, folder, store, stage=f"describe {role}", report=report)
            for role, folder in zip(("training images", "generated images", "test images"), listed, strict=True)
        ]
    _check_different(*described)
    done = time.monotonic()
    result = _compare(network, *described, novelty_weight=novelty_weight, profile=profile, report=report)
    result["scorer"] = "trained on the training images" if scorer is None else str(scorer)
    result["scorer_digest"] = scorer_digest(network).hex()[:_DIGEST_LENGTH]
    result["remarks"] += _lost(network, listed[0])
    result["seconds"] |= {"scorer": round(ready - started, 3), "features": round(done - ready, 3)}
    return FolderScore(**result)


def _check(train: ImageFolder, generated: ImageFolder, test: ImageFolder) -> None:
    """Refuse what cannot be scored before anything slow happens."""
    for folder in (generated, test, train):
        if len(folder) < 2:
            raise DatasetError(f"{folder.root} has {len(folder)} image, at least 2 are needed", hint="Add images.")
    check_classes(train, test, per_class_min=2)
    check_classes(test, train, per_class_min=2)
    check_classes(generated, train)


def _check_different(train: FolderFeatures, generated: FolderFeatures, test: FolderFeatures) -> None:
    for some in (train, test):
        if len(set(some.pixels)) == 1:
            raise DatasetError(
                f"all {len(some)} images of {some.folder.root} are equal",
                hint="Nothing can be measured against a single image; give different ones.",
            )


def _compare(
    scorer: Scorer,
    train: FolderFeatures,
    generated: FolderFeatures,
    test: FolderFeatures,
    *,
    novelty_weight: int | None,
    profile: ArithmeticProfile,
    report: Report,
) -> dict[str, Any]:
    """Every field of the result that features decide."""
    extractor = scorer.extractor_name
    scoring = default_scoring(extractor)
    began = time.monotonic()
    report("search", 0, 1, 0.0)
    matches = find_matches(
        generated.fingerprints,
        train.fingerprints,
        train.folder.labels,
        lambda pairs: pair_similarities(scorer, generated.folder, train.folder, pairs, report),
        identical=_identical(generated, train),
        neighbours=scoring.neighbours,
        deviations=scoring.retrieval_deviations_micro / MICRO,
        match_threshold=scoring.match_threshold_micro / MICRO,
    )
    searched = time.monotonic()
    fid = _fid(generated, test)
    weight = _calibrated_weight(train, test, len(generated)) if novelty_weight is None else novelty_weight
    r_c = len(matches.confirmed) / len(generated)
    known = set(train.pixels)
    others = measure(generated.features, train.features, test.features, report=report)
    return {
        "n": len(generated),
        "checked": len(matches.pairs),
        "confirmed": len(matches.confirmed),
        "v_a": matches.v_a,
        "v_c": matches.v_c,
        "r_c": r_c,
        "fid": fid,
        "qn": (fid + matches.v_c * matches.v_a * r_c * weight) / 2,
        "novelty_weight": weight,
        "extractor": extractor,
        **{entry.name: getattr(others, entry.name) for entry in fields(others)},
        "exact_copies": sum(digest in known for digest in generated.pixels),
        "train_images": len(train),
        "test_images": len(test),
        "classes": max(len(train.folder.classes), 1),
        "profile": profile.value,
        "novelty_weight_from": "calibrated" if novelty_weight is None else "given",
        "remarks": _remarks(train, generated, test),
        "pairs": _pairs(matches, generated.folder, train.folder),
        "seconds": {
            "search and verification": round(searched - began, 3),
            "baselines": round(time.monotonic() - searched, 3),
        },
    }


def _identical(generated: FolderFeatures, train: FolderFeatures) -> NDArray[np.int64]:
    """Pairs (Q, 2) of equal pixels: each generated image with one of its equals, each of those in turn."""
    where: dict[bytes, list[int]] = {}
    for index, digest in enumerate(train.pixels):
        where.setdefault(digest, []).append(index)
    seen: Counter[bytes] = Counter()
    pairs = []
    for index, digest in enumerate(generated.pixels):
        if digest in where:
            # the k-th of several equal generated images takes the k-th of the equal training images
            equal = where[digest]
            pairs.append((index, equal[seen[digest] % len(equal)]))
            seen[digest] += 1
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _fid(first: FolderFeatures, test: FolderFeatures) -> float:
    return frechet_distance(first.features.astype(np.float64), test.features.astype(np.float64))


def _calibrated_weight(train: FolderFeatures, test: FolderFeatures, n: int) -> int:
    """The rule of a new task, with as many training images as were generated in the place of held-out ones."""
    chosen = permutation(len(train), _SEED)[:n]
    real = frechet_distance(train.features[chosen].astype(np.float64), test.features.astype(np.float64))
    return max(novelty_weight_from(to_micro(real)), 1)


def _pairs(matches: Matches, generated: ImageFolder, train: ImageFolder) -> tuple[Pair, ...]:
    confirmed = set(matches.confirmed.tolist())
    order = np.lexsort((np.arange(len(matches.pairs)), -matches.similarities))
    return tuple(
        Pair(
            generated.names[matches.pairs[position, 0]],
            train.names[matches.pairs[position, 1]],
            float(matches.distances[position]),
            float(matches.similarities[position]),
            position in confirmed,
        )
        for position in order.tolist()
    )


def _lost(scorer: Scorer, train: ImageFolder) -> tuple[str, ...]:
    """What the scorer cannot see of images like these."""
    channels, side = shape_of(train, looked_at_max=_LOOKED_AT)
    remarks = []
    if channels > scorer.channels:
        remarks.append("the scorer sees no colour")
    if side > scorer.image_size:
        remarks.append(f"the scorer sees {scorer.image_size} pixels of images of {side}")
    return tuple(remarks)


def _remarks(train: FolderFeatures, generated: FolderFeatures, test: FolderFeatures) -> tuple[str, ...]:
    remarks = []
    if set(generated.pixels) == set(train.pixels):
        remarks.append("the generated images are the training images")
    if set(test.pixels) == set(train.pixels):
        remarks.append("the test images are the training images: no figure tells a copy from a good image")
    elif shared := len(set(test.pixels) & set(train.pixels)):
        remarks.append(f"{shared} different images are in the training and the test folder")
    if len(set(generated.pixels)) == 1:
        remarks.append(f"all {len(generated)} generated images are equal")
    for some in (train, generated, test):
        if repeated := len(some) - len(set(some.pixels)):
            remarks.append(f"{repeated} of {len(some)} images of {some.folder.root} repeat another one's pixels")
        if some.folder.others:
            remarks.append(f"{some.folder.others} files of {some.folder.root} are no images and were left out")
    return tuple(remarks)
