"""The fingerprinter in the package, and the training that made it."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusion.data import Split, load_dataset
from diffusion.data.fashion import load_fashion
from diffusion.errors import DatasetError
from diffusion.score import shipped
from diffusion.score.fingerprint import Fingerprinter, contrastive_loss, describe
from diffusion.score.learn_fingerprinter import FingerprinterPlan, source_of, train_fingerprinter
from diffusion.score.pretrain import WEIGHTS_FILE, assess_fingerprinter
from diffusion.score.shipped import shipped_fingerprinter
from diffusion.score.shipping import train_scorer_to_folder
from diffusion.score.sources import read_pictures
from diffusion.tensorfile import read_tensors
from pdfedchain.errors import UsageError
from pdfedchain.ids import Hash
from pdfedchain.types.jobs import TrainScorer

SEED = Hash(b"\x09" * 32)


@pytest.fixture(scope="module")
def model() -> Fingerprinter:
    return shipped_fingerprinter()


def test_the_package_has_weights_of_at_most_12_mb() -> None:
    folder = files("diffusion.score").joinpath("weights")
    sizes = [len(entry.read_bytes()) for entry in folder.iterdir() if entry.name.endswith(".safetensors")]
    assert 0 < sum(sizes) <= 12_000_000


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(DatasetError, match=r"has SHA-256 .*, not 0000") as caught:
        shipped_fingerprinter()
    assert caught.value.hint == "Install pdfedchain again."


def test_it_finds_copies_of_digits_which_it_has_never_seen(model: Fingerprinter, digits: Split) -> None:
    figures = assess_fingerprinter(model, digits.reference.train.images, digits.reference.test.images)
    assert figures["found_0.5"] > 0.95
    assert figures["close_0.5"] > 0.8


def test_the_loss_leaves_out_what_is_almost_equal() -> None:
    import torch

    a = torch.nn.functional.normalize(torch.randn(6, 7, generator=torch.Generator().manual_seed(0)), dim=1)
    a[5] = a[4]
    same = torch.zeros(6, 6, dtype=torch.bool)
    same[4, 5] = same[5, 4] = True
    with_both, without = contrastive_loss(a, a), contrastive_loss(a, a, same=same)
    assert without < with_both


def test_companions_are_the_nearest_images() -> None:
    images = np.arange(0, 200, 4, dtype=np.uint8)[:, None, None, None].repeat(8, axis=2).repeat(8, axis=3)
    near = source_of({8: images}).near
    assert set(near[0].tolist()) == set(range(1, 9))
    assert all(abs(other - index) <= 8 for index, row in enumerate(near.tolist()) for other in row)


def test_a_training_learns(digits: Split) -> None:
    losses: list[float] = []
    train_fingerprinter(
        [source_of({8: digits.reference.train.images})],
        seed=SEED,
        plan=FingerprinterPlan(steps=20, batch=32, half=True),
        report=lambda *args: losses.append(args[3]),
    )
    assert sum(losses[-5:]) < sum(losses[:5])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "pictures" / "deep" / "er").mkdir(parents=True)
    for index in range(70):
        pixels = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
        folder = tmp_path / "pictures" / ("deep/er" if index % 2 else "deep")
        Image.fromarray(pixels).resize((64, 64)).save(folder / f"{index}.png")
    (tmp_path / "pictures" / "broken.png").write_bytes(b"no picture")
    Image.new("RGB", (16, 16)).save(tmp_path / "pictures" / "small.png")
    return tmp_path / "pictures"


def test_a_source_is_read_at_every_size_and_a_sixth_held_out(pictures: Path) -> None:
    source = read_pictures(str(pictures))
    assert (source.name, source.unusable, sorted(source.train)) == ("pictures", 2, [8, 16, 32, 64])
    assert (source.train[64].shape, source.held_out[8].shape) == ((59, 3, 64, 64), (11, 3, 8, 8))
    with pytest.raises(DatasetError, match="nowhere is not a folder"):
        read_pictures("nowhere")
    for index in range(20):
        next(path for path in pictures.rglob("*.png") if path.stem == str(index)).unlink()
    with pytest.raises(DatasetError, match="has 50 usable images, at least 64 are needed"):
        read_pictures(str(pictures))


def test_a_fingerprinter_is_trained_alone_for_all_sizes(pictures: Path, tmp_path: Path) -> None:
    def request(output: str, **changes: object) -> TrainScorer:
        fields: dict[str, object] = {
            "images": (str(pictures), "digits"),
            "output": str(tmp_path / output),
            "resume": False,
            "fingerprinter_steps": 2,
            "verifier_steps": 0,
            "seed": 3,
            "device": "cpu",
        }
        return TrainScorer(**(fields | changes))  # type: ignore[arg-type]

    for name in ("one", "two"):
        train_scorer_to_folder(request(name))
    first, second = (read_tensors(tmp_path / name / WEIGHTS_FILE, size_bytes_max=2**24) for name in ("one", "two"))
    assert all(np.array_equal(array, second[name]) for name, array in first.items())
    card = json.loads((tmp_path / "one" / "card.json").read_text())
    assert [(source["name"], source["held_out"]) for source in card["sources"]] == [("pictures", 11), ("digits", 299)]
    assert [row["image_size"] for row in card["figures"]] == [8, 16, 32, 64, 8]
    assert card["seed"] == 3
    with pytest.raises(UsageError, match="a verifier is for images of one kind"):
        train_scorer_to_folder(request("three", verifier_steps=1))
    with pytest.raises(UsageError, match="there is nothing to train"):
        train_scorer_to_folder(request("three", fingerprinter_steps=0))


def test_missing_fashion_images_are_named_with_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PDFED_FASHION_MNIST", str(tmp_path))
    for load in (load_fashion, lambda: load_dataset("fashion-mnist", shards=1)):
        with pytest.raises(DatasetError, match=r"train-images-idx3-ubyte\.gz cannot be read") as caught:
            load()
        assert "PDFED_FASHION_MNIST" in caught.value.hint


def test_sizes_share_what_they_describe(model: Fingerprinter, digits: Split) -> None:
    images = digits.reference.test.images[:20]
    doubled = images.repeat(2, axis=2).repeat(2, axis=3)
    small, large = (describe(model, some).fingerprints for some in (images, doubled))
    nearest = np.linalg.norm(small[:, None] - large[None], axis=2).argmin(axis=1)
    assert (nearest == np.arange(20)).mean() > 0.5
