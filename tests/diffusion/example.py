"""The example of docs/scoring.md: ``python -m tests.diffusion.example`` (five minutes of one core).

Folders of the digits, real, copied, blurred and noisy, are scored as ``pdfed score`` does it when no scorer is named:
a small one is trained on the training images.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from diffusion.data.digits import load_digits
from diffusion.data.images import LabelledImages
from diffusion.data.partition import permutation
from diffusion.score.folders import FolderScore, score_folders
from pdfedchain.ids import Hash

TRAIN, OTHERS = 700, 400

Images = NDArray[np.uint8]


def sets_of(copies: Images, real: Images) -> dict[str, Images]:
    """Name in the table -> generated images. ``copies`` are training images, ``real`` are held out."""
    rng = np.random.default_rng(1)

    def noisy(images: Images, deviation: float) -> Images:
        return np.clip(np.rint(images + rng.normal(0, deviation, images.shape)), 0, 255).astype(np.uint8)

    def mixed(count: int) -> Images:
        return np.concatenate([copies[:count], real[count:]])

    blur = ImageFilter.GaussianBlur(1.0)
    return {
        "held-out real images": real,
        "a tenth copies, else real": mixed(len(real) // 10),
        "half copies, else real": mixed(len(real) // 2),
        "copies": copies,
        "copies with noise of 16 levels": noisy(copies, 16),
        "real, blurred by a pixel": np.stack([np.asarray(Image.fromarray(one[0]).filter(blur))[None] for one in real]),
        "real with noise of 32 levels": noisy(real, 32),
        "Gaussian noise": noisy(np.full_like(real, 127), 60),
    }


def write(folder: Path, data: LabelledImages) -> Path:
    """PNG files in one sub-folder per class."""
    for position, (image, label) in enumerate(zip(data.images, data.labels, strict=True)):
        path = folder / str(label) / f"{position:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(path)
    return folder


def write_flat(folder: Path, images: Images) -> Path:
    folder.mkdir()
    for position, image in enumerate(images):
        Image.fromarray(image[0]).save(folder / f"{position:04}.png")
    return folder


def row_of(name: str, score: FolderScore) -> str:
    def text(value: float | None, digits: int) -> str:
        return "" if value is None else f"{value:.{digits}f}" if abs(value) < 1e5 else f"{value:.0e}"

    cells = [
        *(text(score.fid, 1), str(score.checked), text(score.r_c, 3), text(score.v_a, 2), f"**{score.qn:.0f}**"),
        *(text(score.auth_pct, 0), text(score.ct, 1), text(score.fld, 1)),
        *(text(score.precision, 2), text(score.recall, 2)),
    ]
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    torch.set_num_threads(1)
    data = load_digits()
    order = permutation(len(data), Hash(b"\x05" * 32))
    train, test = data.take(order[:TRAIN]), data.take(order[TRAIN : TRAIN + OTHERS])
    real = data.images[order[TRAIN + OTHERS : TRAIN + 2 * OTHERS]]
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        folders = write(root / "train", train), write(root / "test", test)
        print("| generated | fid | checked | r_c | v_a | qn | auth_pct | ct | fld | precision | recall |")
        print("|" + "---|" * 11)
        for number, (name, images) in enumerate(sets_of(train.images[:OTHERS], real).items()):
            generated = write_flat(root / f"generated{number}", images)
            score = score_folders(generated, *folders, cache=root / "cache")
            print(row_of(name, score), flush=True)
        print(f"w = {score.novelty_weight}")


if __name__ == "__main__":
    main()
