"""The ways in which one machine can be made to compute like another.

A setting is a process of its own: instruction sets and thread counts are fixed when torch is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pdfedchain.types.score import ArithmeticProfile

__all__ = ["BASE", "SETTINGS", "Setting"]


@dataclass(frozen=True, slots=True)
class Setting:
    """Attributes:
    environment: variables of the process.
    trick: what `tests.diffusion.divergence.measure` does to torch: one of its ``TRICKS``.
    is_allowed: whether a profile of the protocol allows it; the others are there for comparison.
    """

    name: str
    profile: ArithmeticProfile
    environment: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1
    batch_size: int = 64
    device: str = "cpu"
    trick: str = ""
    is_allowed: bool = True


_ISA: Final = {
    "AVX2 kernels of torch": {"ATEN_CPU_CAPABILITY": "avx2"},
    "BLAS for old processors": {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "OPENBLAS_CORETYPE": "Nehalem"},
    "oneDNN for SSE4.1": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "default kernels of torch": {"ATEN_CPU_CAPABILITY": "default"},
}


def _settings(profile: ArithmeticProfile) -> list[Setting]:
    name = profile.value
    return [
        Setting(name, profile),
        Setting(f"{name}, oneDNN off", profile, trick="no-onednn"),
        Setting(f"{name}, batches of 7", profile, batch_size=7),
        *(Setting(f"{name}, {what}", profile, variables) for what, variables in _ISA.items()),
        Setting(f"{name}, channels last", profile, trick="channels-last"),
        Setting(f"{name}, 2 threads", profile, threads=2),
        Setting(f"{name}, CUDA", profile, device="cuda"),
    ]


SETTINGS: Final[tuple[Setting, ...]] = (
    *_settings(ArithmeticProfile.F64),
    *_settings(ArithmeticProfile.F32),
    Setting("f32, TF32 emulated", ArithmeticProfile.F32, trick="tf32", is_allowed=False),
    Setting("f32, autocast to bfloat16", ArithmeticProfile.F32, trick="bfloat16", is_allowed=False),
    Setting("f32, autocast to float16", ArithmeticProfile.F32, trick="float16", is_allowed=False),
)
#: What every other setting is compared with.
BASE: Final = SETTINGS[0].name
