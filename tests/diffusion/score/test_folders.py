"""Scoring folders of files: the figures, what is remembered, and what is refused with which sentence."""

from __future__ import annotations

import doctest
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import diffusion.score
import diffusion.score.folders
from diffusion.data.images import LabelledImages
from diffusion.errors import DatasetError
from diffusion.score.describe_folder import scorer_digest
from diffusion.score.fingerprint import describe
from diffusion.score.report import DescribedReference, score_images
from diffusion.score.retrieval import thresholds_by_class
from diffusion.score.spec import default_scoring
from pdfedchain.types.score import MICRO, ArithmeticProfile
from tests.diffusion.conftest import TinyTask
from tests.diffusion.score.conftest import CLASSES, Sets, write_images


def test_float64_gives_the_figures_of_the_consensus_score(sets: Sets, task: TinyTask, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(-6, 7, size=sets.generated.images.shape)
    images = np.clip(sets.generated.images + noise, 0, 255).astype(np.uint8)
    folder = write_images(tmp_path, LabelledImages(images, sets.generated.labels), flat=True)
    score = sets.score(generated=folder, profile=ArithmeticProfile.F64)
    scorer = task.scorer()
    scoring = default_scoring(score.extractor)
    novelty = describe(scorer.fingerprinter, sets.train.images)
    reference = DescribedReference(
        novelty,
        sets.train.images,
        sets.train.labels,
        describe(scorer.fingerprinter, sets.test.images).features * scorer.feature_scale,
        thresholds_by_class(novelty.fingerprints, sets.train.labels, classes=CLASSES, deviations=0.5),
    )
    expected = score_images(scorer, scoring, reference, images).report
    assert (score.n, score.checked, score.confirmed) == (60, expected.checked, expected.confirmed)
    assert score.v_a == pytest.approx(expected.v_a_micro / MICRO, abs=1e-6)
    assert score.v_c == pytest.approx(expected.v_c_micro / MICRO, abs=1e-6)
    assert score.fid == pytest.approx(expected.fid_micro / MICRO, abs=1e-6)
    assert score.qn == pytest.approx(expected.qn_micro(score.novelty_weight) / MICRO, rel=1e-5)
    assert score.confirmed >= 10
    assert score.exact_copies == 0


def test_float32_differs_by_rounding_only(sets: Sets) -> None:
    exact, fast = sets.score(profile=ArithmeticProfile.F64), sets.score()
    assert (fast.confirmed, fast.exact_copies) == (exact.confirmed, 15)
    assert fast.qn == pytest.approx(exact.qn, rel=1e-3)
    assert fast.fld == pytest.approx(exact.fld, abs=0.1)


def test_the_example_in_the_docstring_is_true(sets: Sets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sets.folder)
    found = doctest.DocTestFinder().find(diffusion.score.folders.score_folders, "score_folders")
    failures = [doctest.DocTestRunner(verbose=False).run(example).failed for example in found]
    assert failures == [0]


def test_pairs_name_both_files_and_the_worst_comes_first(sets: Sets) -> None:
    pairs = sets.score().pairs
    assert [pair.similarity for pair in pairs] == sorted((pair.similarity for pair in pairs), reverse=True)
    for pair in pairs:
        assert (sets.folder / "generated" / pair.generated).is_file()
        assert (sets.folder / "train" / pair.train).is_file()
    confirmed = [pair for pair in pairs if pair.confirmed]
    assert {pair.generated for pair in confirmed} >= {f"{index:04}.png" for index in range(15)}
    assert len({pair.train for pair in confirmed}) == len(confirmed)


def test_the_training_images_themselves_are_all_copies(sets: Sets, tmp_path: Path) -> None:
    score = sets.score(generated=sets.folder / "train")
    assert (score.r_c, score.confirmed, score.exact_copies, score.auth_pct) == (1.0, 300, 300, 0.0)
    assert "the generated images are the training images" in score.remarks
    doubled = write_images(tmp_path / "doubled", sets.train.take(np.repeat(np.arange(20), 9)), flat=True)
    assert sets.score(generated=doubled, train=doubled).r_c == 1.0
    novel = sets.score(generated=sets.folder / "test")
    assert novel.r_c < 0.2
    assert novel.qn < score.qn


def test_sizes_formats_and_flat_folders_may_be_mixed(sets: Sets, tmp_path: Path) -> None:
    for index, image in enumerate(sets.generated.images[:30]):
        picture = Image.fromarray(image[0])
        if index % 3 == 1:
            picture = picture.convert("RGB").resize((24, 32), Image.Resampling.NEAREST)
        picture.save(
            tmp_path / f"{index}.{('png', 'bmp', 'webp')[index % 3]}", **({"lossless": True} if index % 3 == 2 else {})
        )
    (tmp_path / "prompts.txt").write_text("a zero")
    score = sets.score(generated=tmp_path)
    assert score.n == 30
    assert any(f"1 files of {tmp_path} are no images" in remark for remark in score.remarks)


def test_features_are_remembered_by_content(sets: Sets, tmp_path: Path) -> None:
    stages: list[str] = []

    def report(stage: str, done: int, total: int, loss: float) -> None:
        stages.append(stage)

    first = sets.score(cache=tmp_path / "cache", report=report)
    assert {"describe training images", "describe generated images", "describe test images"} <= set(stages)
    stages.clear()
    (tmp_path / "renamed").mkdir()
    for position, path in enumerate(sorted((sets.folder / "generated").iterdir())):
        os.link(path, tmp_path / "renamed" / f"other-{position:03}.png")
    again = sets.score(generated=tmp_path / "renamed", cache=tmp_path / "cache", report=report)
    assert not any(stage.startswith("describe") for stage in stages)
    assert (again.qn, again.confirmed) == (first.qn, first.confirmed)
    changed = tmp_path / "renamed" / "other-000.png"
    changed.unlink()
    Image.fromarray(np.full((8, 8), 9, dtype=np.uint8)).save(changed)
    sets.score(generated=tmp_path / "renamed", cache=tmp_path / "cache", report=report)
    assert [stage for stage in stages if stage.startswith("describe")] == ["describe generated images"]


def test_a_damaged_cache_is_named(sets: Sets, tmp_path: Path) -> None:
    (tmp_path / "features.db").write_bytes(b"no database" * 100)
    with pytest.raises(DatasetError, match=r"the feature cache .*features.db cannot be used"):
        sets.score(cache=tmp_path)


def test_what_the_scorer_cannot_see_is_said(sets: Sets, tmp_path: Path) -> None:
    for index in range(30):
        path = tmp_path / f"{index}.jpg"
        Image.fromarray(np.random.default_rng(index).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
    remarks = sets.score(train=tmp_path).remarks
    assert {"the scorer sees no colour", "the scorer sees 8 pixels of images of 32"} <= set(remarks)
    assert not any("the scorer sees" in remark for remark in sets.score().remarks)


def test_another_scorer_or_precision_has_other_rows(task: TinyTask) -> None:
    exact, fast = (scorer_digest(task.scorer(profile)) for profile in (ArithmeticProfile.F64, ArithmeticProfile.F32))
    assert exact != fast
    assert fast == scorer_digest(task.scorer(ArithmeticProfile.F32))


def test_the_weight_given_is_used_and_else_calibrated(sets: Sets) -> None:
    given, calibrated = sets.score(novelty_weight=1_000), sets.score()
    assert (given.novelty_weight, given.novelty_weight_from) == (1_000, "given")
    assert calibrated.novelty_weight_from == "calibrated"
    assert calibrated.novelty_weight > 1
    assert given.qn == pytest.approx((given.fid + given.v_c * given.v_a * given.r_c * 1_000) / 2)


def colours(folder: Path, values: list[int], size: int = 8) -> Path:
    folder.mkdir(parents=True)
    for index, value in enumerate(values):
        Image.new("L", (size, size), value).save(folder / f"{index}.png")
    return folder


def refusal(sets: Sets, **changes: object) -> str:
    with pytest.raises(DatasetError) as caught:
        sets.score(**changes)
    return str(caught.value)


def test_an_unreadable_image_is_named(sets: Sets, tmp_path: Path) -> None:
    folder = colours(tmp_path / "bad", [1, 2, 3])
    (folder / "1.png").write_bytes(b"\x89PNG but not really")
    assert refusal(sets, generated=folder) == f"{folder}/1.png is not a readable image"


def test_pixels_that_are_no_numbers_are_named(sets: Sets, tmp_path: Path) -> None:
    folder = colours(tmp_path / "nan", [1, 2, 3])
    pixels = np.zeros((8, 8), dtype=np.float32)
    pixels[3, 3] = np.nan
    Image.fromarray(pixels).save(folder / "x.tiff")
    assert refusal(sets, generated=folder) == f"{folder}/x.tiff has pixels that are not numbers (NaN or infinite)"


@pytest.mark.parametrize("role", ["generated", "train", "test"])
def test_an_empty_folder_is_named(sets: Sets, tmp_path: Path, role: str) -> None:
    assert refusal(sets, **{role: tmp_path}) == f"{tmp_path} holds no images"
    assert refusal(sets, **{role: tmp_path / "none"}) == f"{tmp_path / 'none'} is not a folder"
    only = colours(tmp_path / "one", [3])
    assert refusal(sets, **{role: only}) == f"{only} has 1 image, at least 2 are needed"


def test_a_class_that_is_missing_or_too_small_is_named(sets: Sets, tmp_path: Path) -> None:
    for label in range(CLASSES - 1):
        colours(tmp_path / "test" / str(label), [label, 2 * label + 1])
    assert (
        refusal(sets, test=tmp_path / "test") == f"class '9' of {sets.folder / 'train'} is missing in {tmp_path}/test"
    )
    colours(tmp_path / "test" / "9", [5])
    assert refusal(sets, test=tmp_path / "test") == f"class '9' of {tmp_path}/test has 1 image, at least 2 are needed"
    (tmp_path / "test" / "9" / "0.png").unlink()
    assert refusal(sets, test=tmp_path / "test") == f"class '9' of {tmp_path}/test holds no images"


def test_images_in_and_outside_class_folders_are_refused(sets: Sets, tmp_path: Path) -> None:
    colours(tmp_path / "g" / "cat", [1, 2])
    Image.new("L", (8, 8)).save(tmp_path / "g" / "stray.png")
    assert "has images both outside class folders (stray.png) and inside (cat/0.png)" in refusal(
        sets, generated=tmp_path / "g"
    )


@pytest.mark.parametrize("role", ["train", "test"])
def test_images_that_are_all_equal_are_refused(sets: Sets, tmp_path: Path, role: str) -> None:
    folder = colours(tmp_path / "same", [7] * 30)
    assert refusal(sets, **{role: folder}) == f"all 30 images of {folder} are equal"
    assert refusal(sets, train=folder, scorer=None) == f"all 30 images of {folder} are equal"


def test_generated_images_that_are_all_equal_get_a_poor_score_and_a_remark(sets: Sets, tmp_path: Path) -> None:
    score = sets.score(generated=colours(tmp_path / "same", [7] * 30))
    assert "all 30 generated images are equal" in score.remarks
    assert score.qn > 5 * sets.score(generated=sets.folder / "test").qn


def test_too_few_images_to_train_a_scorer_on_say_what_to_give(sets: Sets, tmp_path: Path) -> None:
    folder = colours(tmp_path / "few", [1, 2, 3])
    with pytest.raises(DatasetError, match="3 images, too few to train a scorer") as caught:
        sets.score(train=folder, scorer=None)
    assert "pdfed train-scorer" in caught.value.hint


def test_the_package_offers_the_function_without_loading_it() -> None:
    assert set(diffusion.score.__all__) == {"FolderScore", "Pair", "score_folders"}
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        diffusion.score.nothing  # noqa: B018
