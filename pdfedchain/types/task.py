"""A task: one model configuration, one reference set, one way of scoring, deployed once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pdfedchain.codec import canonical
from pdfedchain.ids import Cid, Hash, Name, Range, Size, UInt
from pdfedchain.limits import CONFIG_LENGTH_MAX, TENSOR_RANK_MAX, TENSORS_MAX
from pdfedchain.types.economy import UNREWARDED, Rewards
from pdfedchain.types.score import ScoringSpec

__all__ = ["Ceilings", "ModelSpec", "TaskSpec", "TensorSpec"]


@canonical("pdfed/tensor-spec/v1")
@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, safetensors type name (``"F32"``) and shape of one tensor."""

    name: Annotated[str, Size(256, low=1)]
    dtype: Annotated[str, Size(16, low=1)]
    shape: Annotated[tuple[UInt, ...], Size(TENSOR_RANK_MAX)]


@canonical("pdfed/model-spec/v1")
@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The only architecture a checkpoint of the task may have.

    Attributes:
        image_size: height and width in pixels.
        channels: image channels, 1 or 3.
        classes: number of class labels, 0-based.
        unet_config: canonical JSON (sorted keys, no spaces) of ``unet/config.json``.
        scheduler_config: canonical JSON of ``scheduler/scheduler_config.json``.
        tensors: sorted by name.
        size_bytes_max: largest checkpoint folder.
    """

    image_size: Annotated[int, Range(4, 4_096)]
    channels: Annotated[int, Range(1, 4)]
    classes: Annotated[int, Range(1, 100_000)]
    unet_config: Annotated[str, Size(CONFIG_LENGTH_MAX)]
    scheduler_config: Annotated[str, Size(CONFIG_LENGTH_MAX)]
    tensors: Annotated[tuple[TensorSpec, ...], Size(TENSORS_MAX)]
    size_bytes_max: UInt


@canonical("pdfed/ceilings/v1")
@dataclass(frozen=True, slots=True)
class Ceilings:
    """What a checkpoint must not exceed to be accepted, whatever its QN.

    Noise is novel and a copy is sharp: QN alone ranks neither last.
    """

    fid_micro_max: UInt
    r_c_micro_max: UInt


@canonical("pdfed/task/v1")
@dataclass(frozen=True, slots=True)
class TaskSpec:
    """What a task pins for good.

    Attributes:
        name: shown to people, unique on the chain.
        dataset: what participants are expected to hold (``"digits"`` or a description).
        reference: folder with the public reference images, ``images.safetensors``.
        scorer: folder with the fingerprinter and the verifier trained for this reference domain.
        split_seed: seed of the split into reference and private shards; zero where people bring their own data.
    """

    name: Name
    dataset: Name
    model: ModelSpec
    scoring: ScoringSpec
    ceilings: Ceilings
    reference: Cid
    scorer: Cid
    split_seed: Hash
    #: Submissions of one account that may be unsettled at once; further ones are refused.
    open_per_account_max: Annotated[int, Range(1, 1_000)]
    #: Submissions of the task that may be in scoring at once; further ones wait in the queue.
    scoring_at_once_max: Annotated[int, Range(1, 1_000)]
    rewards: Rewards = UNREWARDED
