from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffusion.checkpoint import WEIGHTS_FILE, load_weights, weights_digest, write_checkpoint, write_folder
from diffusion.errors import CheckpointRefused
from diffusion.jobs import model_spec
from diffusion.model import build_unet
from diffusion.tensorfile import read_tensors, write_tensors
from diffusion.train import new_weights
from pdfedchain.errors import UsageError
from pdfedchain.ids import Hash
from pdfedchain.types.score import UnscorableReason
from tests.support import planted

MODEL = model_spec(image_size=8, channels=1, classes=10)
CONFIG = json.loads(MODEL.unet_config)
WEIGHTS = new_weights(CONFIG, Hash(b"\x05" * 32))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "checkpoint", MODEL, WEIGHTS)
    return tmp_path / "checkpoint"


def test_weights_survive_the_folder(folder: Path) -> None:
    loaded = load_weights(folder, MODEL, weights_digest(WEIGHTS))
    assert sorted(WEIGHTS) == list(loaded)
    for name, array in loaded.items():
        np.testing.assert_array_equal(WEIGHTS[name], array)


def test_equal_weights_give_equal_folders(folder: Path, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "again", MODEL, dict(reversed(WEIGHTS.items())))
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert names == [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        WEIGHTS_FILE,
    ]
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_diffusers_loads_the_folder_and_computes_the_same(folder: Path) -> None:
    from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel

    theirs = UNet2DModel.from_pretrained(folder, subfolder="unet", local_files_only=True).eval()
    scheduler = DDIMScheduler.from_pretrained(folder, subfolder="scheduler", local_files_only=True)
    pipeline = DDIMPipeline.from_pretrained(folder, local_files_only=True)
    ours = build_unet(CONFIG).eval()
    ours.load_state_dict({name: torch.tensor(array) for name, array in WEIGHTS.items()})
    x, steps, labels = torch.randn(4, 1, 8, 8), torch.tensor([0, 10, 500, 999]), torch.tensor([0, 3, 9, 9])
    with torch.no_grad():
        torch.testing.assert_close(theirs(x, steps, labels).sample, ours(x, steps, labels), atol=1e-5, rtol=1e-5)
    assert scheduler.config.prediction_type == "v_prediction"
    assert scheduler.config.timestep_spacing == "trailing"
    assert type(pipeline.unet) is UNet2DModel


def test_an_existing_folder_is_not_overwritten(folder: Path) -> None:
    with pytest.raises(UsageError, match="exists already"):
        write_checkpoint(folder, MODEL, WEIGHTS)


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "part").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_folder(tmp_path / "out", fill)
    assert list(tmp_path.iterdir()) == []


def test_the_digest_sees_names_shapes_and_values_but_not_order() -> None:
    base = {"a": np.zeros((2, 3), np.float32), "b": np.ones(1, np.float32)}
    digest = weights_digest(base)
    assert digest == weights_digest(dict(reversed(base.items())))
    others: list[dict[str, Any]] = [
        base | {"a": np.zeros((3, 2), np.float32)},
        base | {"a": np.zeros((2, 3), np.int32)},
        base | {"b": np.full(1, -1, np.float32)},
        {"a": base["a"], "c": base["b"]},
        {"a": base["a"]},
    ]
    assert len({digest, *map(weights_digest, others)}) == 6


def edit_tensors(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def corrupt(folder: Path) -> None:
        arrays = {
            name: array.copy() for name, array in read_tensors(folder / WEIGHTS_FILE, size_bytes_max=10**7).items()
        }
        change(arrays)
        write_tensors(folder / WEIGHTS_FILE, arrays)

    return corrupt


def edit_json(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


def swap(arrays: dict[str, Any]) -> None:
    name = "conv_in.weight"
    arrays[name] = arrays[name].astype(np.float64)


def link(folder: Path) -> None:
    (folder / "unet" / "config.json").rename(folder.parent / "elsewhere.json")
    (folder / "unet" / "config.json").symlink_to(folder.parent / "elsewhere.json")


@pytest.mark.parametrize(
    ("corrupt", "reason"),
    [
        (planted.corrupt_truncate, UnscorableReason.MALFORMED),
        (planted.corrupt_pickle, UnscorableReason.MALFORMED),
        (planted.corrupt_extra_file, UnscorableReason.MALFORMED),
        (planted.corrupt_missing_file, UnscorableReason.MALFORMED),
        (planted.corrupt_json, UnscorableReason.MALFORMED),
        (link, UnscorableReason.MALFORMED),
        (edit_json("unet/config.json", "[]"), UnscorableReason.MALFORMED),
        (edit_json("unet/config.json", "[" * 5_000), UnscorableReason.MALFORMED),
        (edit_json("model_index.json", " " * 20_000), UnscorableReason.MALFORMED),
        (lambda folder: (folder / "unet" / "more").mkdir(), UnscorableReason.MALFORMED),
        (planted.corrupt_size, UnscorableReason.MALFORMED),
        (planted.corrupt_architecture, UnscorableReason.WRONG_ARCHITECTURE),
        (edit_json("model_index.json", "{}"), UnscorableReason.WRONG_ARCHITECTURE),
        (edit_json("scheduler/scheduler_config.json", "{}"), UnscorableReason.WRONG_ARCHITECTURE),
        (edit_json("unet/config.json", MODEL.unet_config + " "), UnscorableReason.WRONG_ARCHITECTURE),
        (edit_tensors(lambda arrays: arrays.pop("conv_in.bias")), UnscorableReason.WRONG_ARCHITECTURE),
        (edit_tensors(lambda arrays: arrays.update(more=np.zeros(1))), UnscorableReason.WRONG_ARCHITECTURE),
        (edit_tensors(swap), UnscorableReason.WRONG_ARCHITECTURE),
        (planted.corrupt_nan, UnscorableReason.NON_FINITE),
        (edit_tensors(lambda arrays: arrays["conv_in.bias"].fill(np.inf)), UnscorableReason.NON_FINITE),
        (edit_tensors(lambda arrays: arrays["conv_in.bias"].fill(0)), UnscorableReason.DIGEST_MISMATCH),
    ],
)
def test_every_corruption_is_refused_with_its_reason(
    folder: Path, corrupt: Callable[[Path], None], reason: UnscorableReason
) -> None:
    corrupt(folder)
    with pytest.raises(CheckpointRefused) as refused:
        load_weights(folder, MODEL, weights_digest(WEIGHTS))
    assert reason == refused.value.reason


def test_the_first_reason_in_the_fixed_order_is_given(folder: Path) -> None:
    edit_tensors(lambda arrays: arrays["conv_in.bias"].fill(np.nan))(folder)
    edit_json("unet/config.json", "{}")(folder)
    with pytest.raises(CheckpointRefused) as refused:
        load_weights(folder, MODEL, Hash(bytes(32)))
    assert refused.value.reason == UnscorableReason.WRONG_ARCHITECTURE


def test_a_missing_folder_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a folder"):
        load_weights(tmp_path / "nowhere", MODEL, None)
