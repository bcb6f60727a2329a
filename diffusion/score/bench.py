"""What a score costs: ``python -m diffusion.score.bench 1000 10000 cpu`` prints one JSON object of figures.

A process of its own, so that its peak memory is its own. So many generated images are scored against so many training
images of 32 pixels, as files, in float32, the training images' features remembered from a first pass. Every generated
image has all of its nearest training images verified: the most that a score can ask for, where a model's usual images
ask for a few. Sampling is measured apart, on an untrained network of that size: it costs what a trained one does.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from diffusion.arithmetic import exact_arithmetic
from diffusion.checks import usable_device
from diffusion.config import scheduler_config, unet_config
from diffusion.data.listing import list_images
from diffusion.sampler import sample_images
from diffusion.schedule import schedule_from_config
from diffusion.score.describe_folder import describe_folder, pair_similarities, scorer_digest
from diffusion.score.feature_store import FeatureStore
from diffusion.score.fingerprint import Fingerprinter
from diffusion.score.nearest import nearest
from diffusion.score.novelty import thresholds
from diffusion.score.retrieval import greedy_matching
from diffusion.score.scorer import Scorer
from diffusion.score.verifier import Verifier
from diffusion.train import load_model, new_weights
from pdfedchain.ids import Hash
from pdfedchain.types.score import ArithmeticProfile

__all__ = ["main", "measure_score"]

_SIDE_PX: Final = 32
_CHANNELS: Final = 3
_CLASSES: Final = 10
_NEIGHBOURS: Final = 5
_SAMPLED: Final = 16
_SAMPLING_STEPS: Final = 10
#: The goal for fingerprint, search and verification on two cores.
_GOAL_MS: Final = 4.0
_GOAL_MIB: Final = 1_024
_SEED: Final = Hash(bytes(32))
_MATCH: Final = 0.8


@exact_arithmetic()
def measure_score(generated: int, train: int, device: str = "cpu") -> list[dict[str, Any]]:
    """Figures as ``pdfed bench`` shows them: name, value, unit, reference, ratio.

    Args:
        generated: images scored.
        train: images they are scored against, at least two for each of ten classes.
        device: of the networks; the search is the processor's.

    Raises:
        UsageError: there is no such device.
    """
    device = usable_device(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        networks = Fingerprinter(), Verifier(Fingerprinter.map_channels)
    for network in networks:
        network.eval().requires_grad_(False)
    scorer = Scorer(_SIDE_PX, _CHANNELS, *networks, feature_scale=1.0).to(ArithmeticProfile.F32, device)
    with tempfile.TemporaryDirectory(prefix="pdfed-bench-") as name:
        root = Path(name)
        _write_images(root / "generated", generated, 1)
        _write_images(root / "train", train, 2)
        ours, theirs = list_images(root / "generated"), list_images(root / "train")
        with FeatureStore(root / "features.db", scorer_digest(scorer)) as store:
            clock = time.perf_counter()
            described = describe_folder(scorer, theirs, store, stage="train")
            first_ms = _ms(clock) / train
            clock = time.perf_counter()
            described = describe_folder(scorer, theirs, store, stage="train")
            cached_ms = _ms(clock) / train
            clock = time.perf_counter()
            by_class = thresholds(described.fingerprints, theirs.labels, deviations=0.5)
            thresholds_ms = _ms(clock)
            assert len(by_class) == _CLASSES
            clock, processor_s = time.perf_counter(), time.process_time()
            own = describe_folder(scorer, ours, store, stage="generated")
            fingerprint_ms = _ms(clock) / generated
        clock = time.perf_counter()
        found = nearest(own.fingerprints, described.fingerprints, count=_NEIGHBOURS)[1]
        search_ms = _ms(clock) / generated
        pairs = np.stack([np.repeat(np.arange(generated), found.shape[1]), found.flatten()], axis=1)
        clock = time.perf_counter()
        similarity = pair_similarities(scorer, ours, theirs, pairs)
        greedy_matching(pairs, similarity, threshold=_MATCH)
        verify_ms = _ms(clock) / generated
        processor_ms = 1_000 * (time.process_time() - processor_s) / generated
    total_ms = fingerprint_ms + search_ms + verify_ms
    peak_mib = _peak_mib()
    of = f"{generated} against {train} images of {_SIDE_PX} px, float32, {device}, {torch.get_num_threads()} threads"
    return [
        _figure("score an image", total_ms, "ms", f"goal {_GOAL_MS:g} ms; {of}", total_ms / _GOAL_MS),
        _figure("processor time", processor_ms, "ms per image", "of that, over all threads"),
        _figure("fingerprint", fingerprint_ms, "ms per image", "reading the file included"),
        _figure("search", search_ms, "ms per image", f"{_NEIGHBOURS} nearest of {train}"),
        _figure("verification", verify_ms, "ms per image", f"{_NEIGHBOURS} pairs an image, reading included"),
        _figure("training features", first_ms, "ms per image", "once"),
        _figure("remembered features", cached_ms, "ms per image", "in place of those", cached_ms / first_ms),
        _figure("class thresholds", thresholds_ms, "ms", f"once for {train} images in {_CLASSES} classes"),
        _figure("memory", peak_mib, "MiB", f"goal {_GOAL_MIB} MiB; the process at its peak", peak_mib / _GOAL_MIB),
        *_device_memory(device),
        _figure("sampling", _sampling_ms(device), "ms per image", f"{_SAMPLING_STEPS} steps, {_SIDE_PX} px, apart"),
    ]


def _figure(name: str, value: float, unit: str, reference: str, ratio: float | None = None) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit, "reference": reference, "ratio": ratio}


def _ms(start_s: float) -> float:
    return 1_000 * (time.perf_counter() - start_s)


def _peak_mib() -> float:
    """Largest resident size so far; macOS counts bytes, Linux kibibytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _write_images(folder: Path, count: int, seed: int) -> None:
    """Smooth random pictures, by class folders."""
    rng = np.random.default_rng(seed)
    for label in range(min(_CLASSES, count)):
        (folder / str(label)).mkdir(parents=True)
    for index in range(count):
        small = rng.integers(0, 256, size=(5, 5, _CHANNELS), dtype=np.uint8)
        picture = Image.fromarray(small).resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BICUBIC)
        picture.save(folder / str(index % _CLASSES) / f"{index}.png", compress_level=1)


def _device_memory(device: str) -> list[dict[str, Any]]:
    """What a GPU's tensors took at most; the processor's are in the process's memory."""
    if not device.startswith("cuda"):
        return []
    return [_figure("GPU memory", torch.cuda.max_memory_allocated(device) / 2**20, "MiB", "tensors at their peak")]


def _sampling_ms(device: str) -> float:
    config = unet_config(image_size=_SIDE_PX, channels=_CHANNELS, classes=_CLASSES)
    network = load_model(config, new_weights(config, _SEED), dtype=torch.float32, device=device)
    labels = np.arange(_SAMPLED, dtype=np.int64) % _CLASSES
    clock = time.perf_counter()
    sample_images(
        network,
        schedule_from_config(scheduler_config()),
        labels,
        shape=(_CHANNELS, _SIDE_PX, _SIDE_PX),
        steps=_SAMPLING_STEPS,
        seed=_SEED,
    )
    return _ms(clock) / _SAMPLED


def main() -> int:
    """Print the figures; ``PDFED_THREADS`` sets the number of threads, all cores by default."""
    text = os.environ.get("PDFED_THREADS", "")
    torch.set_num_threads(int(text) if text.isdecimal() and int(text) else os.cpu_count() or 1)
    generated, train, *device = sys.argv[1:4]
    sys.stdout.write(json.dumps({"figures": measure_score(int(generated), int(train), *device)}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
