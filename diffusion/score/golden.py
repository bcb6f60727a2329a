"""Does this machine score as all others do? A known score, computed and compared before any other.

`golden_self_test` computes the noise table, a grid of images sampled by a network of integer weights, and the score of
known images by a scorer of integer weights, and compares them with what is written in `diffusion.score.golden_values`.
A node where something differs must not score: it would be an outlier at best. In float64 all is compared exactly, to
one on-chain unit; in float32 the components, to the tolerances of such tasks.

The values change with the construction of the networks or of the score, that is with the scoring version, and never by
the way::

    python -m diffusion.score.golden            # show what this machine computes, and what differs
    python -m diffusion.score.golden --write    # after raising SCORING_VERSION: write the new values down

``--write`` refuses to change the values of a version; ``--unreleased`` says that no chain uses that version yet.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from diffusion.arithmetic import exact_arithmetic
from diffusion.config import scheduler_config, unet_config
from diffusion.data.images import LabelledImages, Reference
from diffusion.sampler import sample_images
from diffusion.schedule import schedule_from_config
from diffusion.score import golden_values
from diffusion.score.integer_weights import integer_scorer, integer_weights
from diffusion.score.noise import labels_balanced, noise_images, quantile_table
from diffusion.score.report import describe_reference, score_images
from diffusion.score.spec import SCORING_VERSION, default_scoring
from diffusion.train import load_model, new_weights
from pdfedchain.crypto import tagged_hash
from pdfedchain.ids import Hash
from pdfedchain.types.score import ArithmeticProfile, ScoreReport, Tolerance

__all__ = ["Golden", "golden", "golden_self_test", "main"]

_SEED: Final = tagged_hash("pdfed/golden/v1", b"")
_CLASSES: Final = 10
_SHAPE: Final = (1, 8, 8)
_SAMPLED: Final = 20
_STEPS: Final = 4
_TRAIN: Final = 120
_TEST: Final = 60
#: The scorer has learned nothing, so its similarities are low.
_MATCH_MICRO: Final = 300_000
_EXACT: Final = Tolerance(checked=0, confirmed=0, v_a_micro=1, v_c_micro=1, fid_micro=1)
#: Of similarities and distances as large as the golden score's: an error of float32 is a hundredth of it, TF32's is
#: five times as large. Of confirmed pairs one may tip.
_ROUGH: Final = Tolerance(checked=1, confirmed=1, v_a_micro=100, v_c_micro=100, fid_micro=10_000)
_DTYPES: Final = {ArithmeticProfile.F64: torch.float64, ArithmeticProfile.F32: torch.float32}


@dataclass(frozen=True, slots=True)
class Golden:
    """What is compared: SHA-256 of the noise table and of sampled images, and the score of known images."""

    noise_table: str
    sampled_images: str
    report: ScoreReport


def golden(profile: ArithmeticProfile = ArithmeticProfile.F64, device: str = "cpu") -> Golden:
    """What this machine computes: a second's work."""
    with exact_arithmetic():
        sampled = _sampled(profile, device)
        return Golden(
            noise_table=hashlib.sha256(quantile_table().astype("<i4").tobytes()).hexdigest(),
            sampled_images=hashlib.sha256(sampled.tobytes()).hexdigest(),
            report=_report(profile, device),
        )


def expected() -> Golden:
    """What every machine computes in float64."""
    values = golden_values
    report = ScoreReport(**values.REPORT, images_hash=Hash(bytes.fromhex(values.IMAGES_HASH)))
    return Golden(values.NOISE_TABLE, values.SAMPLED_IMAGES, report)


def golden_self_test(profile: ArithmeticProfile = ArithmeticProfile.F64, device: str = "cpu") -> tuple[str, ...]:
    """What differs on this machine, one phrase each; empty where all is as it must be."""
    found, wanted = golden(profile, device), expected()
    exact = profile is ArithmeticProfile.F64
    different = []
    if found.noise_table != wanted.noise_table:
        different.append("the noise table is another one")
    if exact and found.sampled_images != wanted.sampled_images:
        different.append("sampled images are other ones")
    if not found.report.agrees_with(wanted.report, _EXACT if exact else _ROUGH):
        mine, pinned = asdict(found.report), asdict(wanted.report)
        different += [
            f"{name} is {mine[name]} instead of {pinned[name]}"
            for name in golden_values.REPORT
            if mine[name] != pinned[name]
        ]
    return tuple(different)


def _sampled(profile: ArithmeticProfile, device: str) -> NDArray[np.uint8]:
    config = unet_config(image_size=_SHAPE[1], channels=_SHAPE[0], classes=_CLASSES)
    shapes = {name: array.shape for name, array in new_weights(config, _SEED).items()}
    return sample_images(
        load_model(config, integer_weights(shapes), dtype=_DTYPES[profile], device=device),
        schedule_from_config(scheduler_config()),
        labels_balanced(_SAMPLED, _CLASSES),
        shape=_SHAPE,
        steps=_STEPS,
        seed=_SEED,
    )


def _report(profile: ArithmeticProfile, device: str) -> ScoreReport:
    """The score of every second reference image with noise: close enough for every part of a score to have work."""
    pictures = _grey(_noise(0, _TRAIN + _TEST) * 48 + 127)
    labels = labels_balanced(len(pictures), _CLASSES)
    parts = (slice(0, _TRAIN), slice(_TRAIN, None))
    reference = Reference(*(LabelledImages(pictures[part], labels[part]) for part in parts))
    scoring = replace(
        default_scoring("golden"),
        profile=profile,
        retrieval_deviations_micro=0,
        match_threshold_micro=_MATCH_MICRO,
    )
    scorer = integer_scorer().to(profile, device)
    described = describe_reference(scorer, scoring, reference, classes=_CLASSES)
    generated = _grey(pictures[::2] + np.rint(_noise(len(pictures), len(pictures[::2])) * 24))
    return score_images(scorer, scoring, described, generated).report


def _noise(first: int, count: int) -> NDArray[np.float64]:
    return noise_images(_SEED, first, count, _SHAPE)


def _grey(values: NDArray[Any]) -> NDArray[np.uint8]:
    grey: NDArray[np.uint8] = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return grey


def _module_text(computed: Golden) -> str:
    report = asdict(computed.report)
    images_hash = report.pop("images_hash")
    lines = [
        '"""What every machine computes in the self-test; written by ``python -m diffusion.score.golden --write``."""',
        "",
        "from __future__ import annotations",
        "",
        "from typing import Final",
        "",
        '__all__ = ["IMAGES_HASH", "NOISE_TABLE", "REPORT", "SAMPLED_IMAGES", "VERSION"]',
        "",
        "#: The scoring version whose values these are.",
        f"VERSION: Final = {SCORING_VERSION}",
        f'NOISE_TABLE: Final = "{computed.noise_table}"',
        f'SAMPLED_IMAGES: Final = "{computed.sampled_images}"',
        f'IMAGES_HASH: Final = "{images_hash.hex()}"',
        "REPORT: Final = {",
        *(f'    "{name}": {value},' for name, value in report.items()),
        "}",
        "",
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Show or write the values; the exit status is 1 where this machine's differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the values of a new scoring version")
    parser.add_argument("--unreleased", action="store_true", help="no chain uses the present version yet")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    text, path = _module_text(golden()), Path(golden_values.__file__)
    sys.stdout.write(text)
    if path.read_text(encoding="utf-8") == text:
        return 0
    if not options.write:
        return 1
    if golden_values.VERSION == SCORING_VERSION and not options.unreleased:
        sys.stderr.write(f"version {SCORING_VERSION} has other values: raise SCORING_VERSION first\n")
        return 1
    path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
