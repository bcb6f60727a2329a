from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusion.data import load_dataset
from diffusion.data.folder import load_folder
from diffusion.errors import DatasetError


def save(path: Path, size: tuple[int, int] = (20, 20), mode: str = "RGB", value: int = 9) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = {"RGB": (value, 2, 3), "L": value, "RGBA": (value, 0, 0, 0), "I;16": value, "P": value}[mode]
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("cat", "dog"):
        for index in range(3):
            save(tmp_path / name / f"{index}.png")
    return tmp_path


def load(folder: Path) -> tuple[tuple[int, ...], list[int]]:
    data = load_folder(folder, images_per_class_min=3)
    return data.images.shape, data.labels.tolist()


def test_classes_are_labelled_by_sorted_name(folder: Path) -> None:
    assert load(folder) == ((6, 3, 16, 16), [0, 0, 0, 1, 1, 1])


def test_hidden_files_and_other_files_outside_are_ignored(folder: Path) -> None:
    (folder / "cat" / ".DS_Store").write_bytes(b"x")
    (folder / ".git").mkdir()
    (folder / "README.md").write_text("about")
    assert load(folder) == ((6, 3, 16, 16), [0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize(("side", "expected"), [(8, 8), (15, 8), (16, 16), (33, 32), (63, 32), (64, 64), (900, 64)])
def test_the_common_size_is_the_largest_that_the_median_fills(tmp_path: Path, side: int, expected: int) -> None:
    for name in ("a", "b"):
        for index in range(3):
            save(tmp_path / name / f"{index}.png", size=(side, side + index))
    assert load(tmp_path)[0] == (6, 3, expected, expected)


def test_grey_images_have_one_channel_even_if_stored_as_colour(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / name / "0.png", mode="L")
        save(tmp_path / name / "1.jpg", mode="L")
        Image.new("RGB", (20, 20), (7, 7, 7)).save(tmp_path / name / "2.png")
    assert load(tmp_path)[0] == (6, 1, 16, 16)


def test_one_colour_image_makes_all_colour(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for index in range(3):
            save(tmp_path / name / f"{index}.png", mode="L")
    save(tmp_path / "a" / "0.png", mode="RGB")
    assert load(tmp_path)[0] == (6, 3, 16, 16)


def test_transparency_becomes_white(folder: Path) -> None:
    save(folder / "cat" / "0.png", mode="RGBA")
    assert load_folder(folder, images_per_class_min=3).images[0].min() == 255


def test_the_central_square_is_kept(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for index in range(3):
            save(tmp_path / name / f"{index}.png", size=(16, 16))
    pixels = np.zeros((16, 48), np.uint8)
    pixels[:, 16:32] = 200
    Image.fromarray(pixels).save(tmp_path / "a" / "0.png")
    image = load_folder(tmp_path, images_per_class_min=3).images[0]
    assert set(image.flatten().tolist()) == {200}


def check(folder: Path, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        load_folder(folder, images_per_class_min=3)


def test_an_unreadable_image_is_named(folder: Path) -> None:
    (folder / "dog" / "1.png").write_bytes(b"not a picture")
    check(folder, r"dog/1\.png is not a readable image")


def test_a_cut_image_is_named(folder: Path) -> None:
    data = (folder / "dog" / "1.png").read_bytes()
    (folder / "dog" / "1.png").write_bytes(data[: len(data) // 2])
    check(folder, r"dog/1\.png is not a readable image")


def test_a_folder_within_a_class_is_named(folder: Path) -> None:
    (folder / "dog" / "more").mkdir()
    check(folder, "dog/more is not a readable image")


def test_a_tiny_image_is_named(folder: Path) -> None:
    save(folder / "dog" / "1.png", size=(30, 7))
    check(folder, r"dog/1\.png is 30 x 7, at least 8 pixels")


def test_deep_colour_is_refused(folder: Path) -> None:
    save(folder / "dog" / "1.png", mode="I;16")
    check(folder, r"dog/1\.png has more than 8 bits")


def test_a_huge_image_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    check(folder, "too large an image")


def test_an_empty_class_is_named(folder: Path) -> None:
    (folder / "emu").mkdir()
    check(folder, "class 'emu' has 0 images, at least 3")


def test_a_small_class_is_named(folder: Path) -> None:
    (folder / "dog" / "1.png").unlink()
    check(folder, "class 'dog' has 2 images, at least 3")


def test_an_image_outside_the_classes_is_named(folder: Path) -> None:
    save(folder / "stray.png")
    check(folder, r"stray\.png lies outside")


def test_one_class_is_too_few(folder: Path) -> None:
    for path in (folder / "dog").iterdir():
        path.unlink()
    (folder / "dog").rmdir()
    check(folder, "1 class folders, at least 2")


def test_an_empty_folder_a_file_and_nothing_are_no_data_sets(tmp_path: Path) -> None:
    check(tmp_path, "0 class folders")
    (tmp_path / "file").write_text("x")
    check(tmp_path / "file", "is not a folder")
    check(tmp_path / "nowhere", "is not a folder")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(DatasetError, match="no data set 'mnits'") as caught:
        load_dataset("mnits", shards=2)
    assert "digits" in caught.value.hint


def test_a_path_is_read_as_a_folder(folder: Path) -> None:
    with pytest.raises(DatasetError, match="class 'cat' has 3 images, at least 16"):
        load_dataset(str(folder), shards=2)
