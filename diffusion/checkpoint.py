"""Checkpoint folders: written whole or not at all, and read only after strict checks.

A folder is what diffusers calls a pipeline: ``model_index.json``, ``unet/config.json``,
``unet/diffusion_pytorch_model.safetensors``, ``scheduler/scheduler_config.json``, and nothing else. The three JSON
texts are the task's, byte for byte, so equal weights give equal folders and one content identifier.

Weights of strangers are data, never code: `load_weights` runs the checks of `UnscorableReason` in that order
(well-formed, architecture, finite, digest) before a tensor reaches a network. Nothing here reads pickle.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from diffusion.config import MODEL_INDEX_TEXT
from diffusion.errors import CheckpointRefused, TensorFileError
from diffusion.tensorfile import DTYPE_NAMES, read_tensors, write_tensors
from pdfedchain.crypto import tagged_hash
from pdfedchain.errors import UsageError
from pdfedchain.ids import Hash
from pdfedchain.limits import CONFIG_LENGTH_MAX
from pdfedchain.types.score import UnscorableReason
from pdfedchain.types.task import ModelSpec, TensorSpec

__all__ = [
    "WEIGHTS_FILE",
    "load_weights",
    "tensor_specs",
    "weights_digest",
    "write_checkpoint",
    "write_folder",
]

WEIGHTS_FILE: Final = "unet/diffusion_pytorch_model.safetensors"
_UNET_CONFIG_FILE: Final = "unet/config.json"
_SCHEDULER_FILE: Final = "scheduler/scheduler_config.json"
_INDEX_FILE: Final = "model_index.json"
_FILES: Final = (_INDEX_FILE, _SCHEDULER_FILE, _UNET_CONFIG_FILE, WEIGHTS_FILE)
_FOLDERS: Final = ("scheduler", "unet")

Arrays = Mapping[str, NDArray[Any]]


def weights_digest(arrays: Arrays) -> Hash:
    """Digest of named tensors, whatever file they came from: sorted (name, type, shape, raw bytes)."""
    parts: list[bytes] = []
    for name in sorted(arrays):
        array = arrays[name]
        head = json.dumps([name, DTYPE_NAMES[array.dtype.newbyteorder("<")], list(array.shape)]).encode()
        data = np.ascontiguousarray(array).tobytes()
        parts += [len(head).to_bytes(4, "big"), head, len(data).to_bytes(8, "big"), data]
    return tagged_hash("pdfed/weights/v1", *parts)


def tensor_specs(arrays: Arrays) -> tuple[TensorSpec, ...]:
    """Names, types and shapes, sorted by name."""
    return tuple(
        TensorSpec(name=name, dtype=DTYPE_NAMES[arrays[name].dtype], shape=tuple(arrays[name].shape))
        for name in sorted(arrays)
    )


def write_folder(output: Path, fill: Callable[[Path], None]) -> None:
    """Create ``output`` complete or not at all: ``fill`` writes to a sibling, which is synced and renamed.

    Raises:
        UsageError: ``output`` exists already.
    """
    if output.exists():
        raise UsageError(f"{output} exists already", hint="Choose a new folder, or remove this one first.")
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        fill(temporary)
        for folder, _, names in os.walk(temporary):
            for path in [Path(folder), *(Path(folder, name) for name in names)]:
                _sync(path)
        temporary.chmod(0o755)
        temporary.rename(output)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync(output.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_checkpoint(output: Path, model: ModelSpec, arrays: Arrays) -> Hash:
    """Write a checkpoint folder of the task's architecture; returns the weights' digest.

    Raises:
        UsageError: ``output`` exists already.
    """
    assert tensor_specs(arrays) == model.tensors, "our own weights do not fit the task"

    def fill(folder: Path) -> None:
        for name in _FOLDERS:
            (folder / name).mkdir()
        (folder / _INDEX_FILE).write_text(MODEL_INDEX_TEXT, encoding="utf-8")
        (folder / _UNET_CONFIG_FILE).write_text(model.unet_config, encoding="utf-8")
        (folder / _SCHEDULER_FILE).write_text(model.scheduler_config, encoding="utf-8")
        write_tensors(folder / WEIGHTS_FILE, arrays)

    write_folder(output, fill)
    return weights_digest(arrays)


def load_weights(folder: Path, model: ModelSpec, digest: Hash | None) -> dict[str, NDArray[Any]]:
    """The tensors of a checkpoint folder, checked against the task and, unless it is None, the signed digest.

    Raises:
        CheckpointRefused: with the first reason that applies.
        OSError: the machine cannot read the folder; that is nobody's fault and no reason to refuse.
    """
    _check_layout(folder, model.size_bytes_max)
    texts = (
        (_INDEX_FILE, MODEL_INDEX_TEXT),
        (_UNET_CONFIG_FILE, model.unet_config),
        (_SCHEDULER_FILE, model.scheduler_config),
    )
    found = {name: (folder / name).read_bytes() for name, _ in texts}
    for name, text in found.items():
        _check_json(name, text)
    try:
        arrays = read_tensors(folder / WEIGHTS_FILE, size_bytes_max=model.size_bytes_max)
    except TensorFileError as error:
        raise CheckpointRefused(UnscorableReason.MALFORMED, f"{WEIGHTS_FILE}: {error}") from error
    for name, expected in texts:
        if found[name] != expected.encode():
            raise CheckpointRefused(UnscorableReason.WRONG_ARCHITECTURE, f"{name} is not the task's")
    _check_tensors(arrays, model)
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise CheckpointRefused(UnscorableReason.NON_FINITE, f"tensor {name} has a value that is not finite")
    if digest is not None and weights_digest(arrays) != digest:
        raise CheckpointRefused(UnscorableReason.DIGEST_MISMATCH, "the weights are not those that were signed")
    return arrays


def _check_layout(folder: Path, size_bytes_max: int) -> None:
    """Exactly the four files, regular, within the size bounds."""

    def refuse(message: str) -> CheckpointRefused:
        return CheckpointRefused(UnscorableReason.MALFORMED, message)

    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", hint="Fetch the checkpoint first.")
    size_total = 0
    seen: set[str] = set()
    for parent in ("", *_FOLDERS):
        base = folder / parent
        if parent and (base.is_symlink() or not base.is_dir()):
            raise refuse(f"{parent} is missing or no folder")
        with os.scandir(base) as entries:
            for entry in entries:
                name = f"{parent}/{entry.name}" if parent else entry.name
                if not parent and entry.name in _FOLDERS:
                    continue
                status = entry.stat(follow_symlinks=False)
                if name not in _FILES or not stat.S_ISREG(status.st_mode):
                    raise refuse(f"{name[:200]!r} does not belong into a checkpoint")
                if name != WEIGHTS_FILE and status.st_size > CONFIG_LENGTH_MAX:
                    raise refuse(f"{name} has {status.st_size} bytes, at most {CONFIG_LENGTH_MAX} allowed")
                seen.add(name)
                size_total += status.st_size
    missing = sorted(set(_FILES) - seen)
    if missing:
        raise refuse(f"{missing[0]} is missing")
    if size_total > size_bytes_max:
        raise refuse(f"the folder has {size_total} bytes, at most {size_bytes_max} allowed")


def _check_json(name: str, text: bytes) -> None:
    try:
        value = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointRefused(UnscorableReason.MALFORMED, f"{name} is not JSON") from error
    if not isinstance(value, dict):
        raise CheckpointRefused(UnscorableReason.MALFORMED, f"{name} is not a JSON object")


def _check_tensors(arrays: Arrays, model: ModelSpec) -> None:
    found, expected = tensor_specs(arrays), model.tensors
    if found != expected:
        differing = sorted({spec.name for spec in set(found) ^ set(expected)})
        raise CheckpointRefused(
            UnscorableReason.WRONG_ARCHITECTURE,
            f"{len(differing)} tensors differ from the task's in name, type or shape, the first {differing[0]!r}",
        )
