"""One tiny task for all tests of this folder: digits, with a scorer trained for seconds."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch loads, as in the worker

import torch

from diffusion import jobs
from diffusion.data import Split, load_dataset, split
from diffusion.data.images import Reference, read_reference
from diffusion.score.learn import LearningPlan
from diffusion.score.scorer import Scorer, read_scorer
from pdfedchain.ids import Hash
from pdfedchain.types.jobs import Prepare, Prepared, Train
from pdfedchain.types.score import ArithmeticProfile

SEED = Hash(b"\x01" * 32)
#: Far shorter than a real task's: enough that copies are found and digits are told apart.
SHORT_PLAN = LearningPlan(fingerprinter_steps=0, verifier_steps=120, views=6, blends=2, negative_weight=1)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@dataclass(frozen=True)
class TinyTask:
    prepared: Prepared
    folder: Path

    @property
    def reference_folder(self) -> str:
        return str(self.folder / "reference")

    @property
    def scorer_folder(self) -> str:
        return str(self.folder / "scorer")

    def shard_folder(self, index: int) -> str:
        return str(self.folder / "private" / str(index))

    def scorer(self, profile: ArithmeticProfile = ArithmeticProfile.F64) -> Scorer:
        return read_scorer(self.folder / "scorer", profile=profile)

    def reference(self) -> Reference:
        return read_reference(self.folder / "reference")

    def train_request(self, output: Path, **changes: object) -> Train:
        fields: dict[str, object] = {
            "model": self.prepared.model,
            "parents": (),
            "data": (self.shard_folder(0), self.reference_folder),
            "exclude": (),
            "output": str(output),
            "steps": 5,
            "batch_size": 16,
            "learning_rate_nano": 3_000_000,
            "seed": SEED,
            "device": "cpu",
        }
        return Train(**(fields | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def digits() -> Split:
    return split(load_dataset("digits", shards=3), shards=3, seed=SEED)


@pytest.fixture(scope="session")
def task(tmp_path_factory: pytest.TempPathFactory) -> TinyTask:
    folder = tmp_path_factory.mktemp("task") / "out"
    prepared = jobs.prepare(Prepare("digits", 3, SEED, str(folder), "cpu"), plan=SHORT_PLAN)
    return TinyTask(prepared, folder)


@pytest.fixture(scope="session")
def trained(task: TinyTask, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Hash]:
    """A checkpoint trained for 120 steps, and its digest."""
    output = tmp_path_factory.mktemp("checkpoint") / "trained"
    result = jobs.train_checkpoint(task.train_request(output, steps=120, batch_size=48))
    return output, result.weights_digest
