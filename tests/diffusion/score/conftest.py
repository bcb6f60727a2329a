"""Folders of digits with planted copies, for the tests that score files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusion.data import Split
from diffusion.data.images import LabelledImages, concatenate
from diffusion.score import FolderScore, score_folders
from tests.diffusion.conftest import TinyTask

CLASSES = 10


def write_images(folder: Path, data: LabelledImages, *, flat: bool = False, suffix: str = "png") -> Path:
    """One file per image, by class folders or all in one; names follow the order within a class."""
    counts = dict.fromkeys(range(CLASSES), 0)
    for position, (image, label) in enumerate(zip(data.images, data.labels.tolist(), strict=True)):
        name = f"{position:04}.{suffix}" if flat else f"{label}/{counts[label]:04}.{suffix}"
        counts[label] += 1
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(folder / name)
    return folder


@dataclass(frozen=True)
class Sets:
    generated: LabelledImages
    train: LabelledImages
    test: LabelledImages
    folder: Path
    scorer: Path

    def score(self, **changes: object) -> FolderScore:
        fields: dict[str, object] = {
            "generated": self.folder / "generated",
            "train": self.folder / "train",
            "test": self.folder / "test",
            "scorer": self.scorer,
        }
        return score_folders(**(fields | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def sets(digits: Split, task: TinyTask, tmp_path_factory: pytest.TempPathFactory) -> Sets:
    """Sixty generated images: 45 real ones that nobody trained on, and 15 copies from the training set."""
    train, test = (
        some.take(np.argsort(some.labels, kind="stable")) for some in (digits.reference.train, digits.reference.test)
    )
    novel = digits.held_out.take(np.linspace(0, len(digits.held_out) - 1, 45).astype(int))
    generated = concatenate(train.take(np.arange(15) * 19), novel)
    folder = tmp_path_factory.mktemp("sets")
    write_images(folder / "train", train)
    write_images(folder / "test", test)
    write_images(folder / "generated", generated, flat=True)
    os.symlink(task.scorer_folder, folder / "scorer")
    return Sets(generated, train, test, folder, folder / "scorer")
