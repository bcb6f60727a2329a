from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffusion.score import golden, golden_values
from diffusion.score.golden import golden_self_test, main
from diffusion.score.noise import quantile_table
from diffusion.score.spec import SCORING_VERSION
from pdfedchain.types.score import ArithmeticProfile

F64, F32 = ArithmeticProfile.F64, ArithmeticProfile.F32


def test_this_machine_passes_and_the_values_are_of_this_version() -> None:
    assert golden_self_test(F64) == ()
    assert golden_self_test(F32) == ()
    assert golden_values.VERSION == SCORING_VERSION
    assert golden_values.REPORT["checked"] > golden_values.REPORT["confirmed"] > 20


def test_another_noise_table_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    shifted = quantile_table() + 1
    for module in ("golden", "noise"):
        monkeypatch.setattr(f"diffusion.score.{module}.quantile_table", lambda: shifted)
    assert "the noise table is another one" in golden_self_test(F64)


def test_one_grey_level_in_one_sampled_image_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def nearly(*arguments: object, **options: object) -> np.ndarray:
        images = original(*arguments, **options)  # type: ignore[arg-type]
        images[3, 0, 4, 4] ^= 1
        return images

    original = golden.sample_images
    monkeypatch.setattr(golden, "sample_images", nearly)
    assert golden_self_test(F64) == ("sampled images are other ones",)


@pytest.mark.parametrize("profile", [F64, F32])
def test_a_machine_that_multiplies_in_bfloat16_is_found(
    profile: ArithmeticProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rough(x: torch.Tensor, weight: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        rounded = (factor.to(torch.bfloat16).to(factor.dtype) for factor in (x, weight))
        return convolve(*rounded, *arguments, **options)

    convolve = torch.nn.functional.conv2d
    monkeypatch.setattr(torch.nn.functional, "conv2d", rough)
    found = golden_self_test(profile)
    assert any(phrase.startswith("fid_micro is") for phrase in found)
    assert any(phrase.startswith("v_a_micro is") for phrase in found)


def test_the_values_of_a_version_are_not_changed_by_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, written = tmp_path / "golden_values.py", Path(golden_values.__file__).read_text()
    copy.write_text(written)
    monkeypatch.setattr(golden_values, "__file__", str(copy))
    assert main([]) == 0
    assert capsys.readouterr().out == written
    copy.write_text("# other values\n")
    assert main([]) == main(["--write"]) == 1
    assert "raise SCORING_VERSION first" in capsys.readouterr().err
    assert copy.read_text() == "# other values\n"
    assert main(["--write", "--unreleased"]) == 0
    assert copy.read_text() == written
