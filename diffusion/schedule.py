"""The noise schedule: how much of an image is left at each time step.

From ``scheduler/scheduler_config.json``, in float64: alpha_bar_t is the product of 1 - beta_s for s <= t (Ho et al.
2020, equation 4). diffusers computes the same in float32; the difference is below 1e-6 of alpha_bar.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from diffusion.errors import UnsupportedModel

__all__ = ["Schedule", "schedule_from_config"]

#: What this version implements; a configuration with another value is refused, never approximated.
_SUPPORTED: Final[dict[str, tuple[Any, ...]]] = {
    "_class_name": ("DDIMScheduler",),
    "beta_schedule": ("squaredcos_cap_v2", "linear"),
    "clip_sample": (True, False),
    "prediction_type": ("v_prediction", "epsilon"),
    "rescale_betas_zero_snr": (False,),
    "set_alpha_to_one": (True,),
    "steps_offset": (0,),
    "thresholding": (False,),
    "timestep_spacing": ("trailing",),
    "trained_betas": (None,),
}


@dataclass(frozen=True, slots=True)
class Schedule:
    """``alpha_bar``: float64, shape (time steps,), falling. ``clip``: bound of the predicted image, or None."""

    alpha_bar: NDArray[np.float64]
    prediction: str
    clip: float | None

    @property
    def steps_total(self) -> int:
        return len(self.alpha_bar)

    def spaced(self, steps: int) -> list[tuple[int, int]]:
        """``steps`` pairs (t, t next), trailing spacing (Lin et al. 2024, table 2); the last t next is below 0.

        Raises:
            UnsupportedModel: more sampling steps than the schedule has.
        """
        if not 1 <= steps <= self.steps_total:
            raise UnsupportedModel(f"{steps} sampling steps; the schedule has {self.steps_total}")
        times = np.round(np.arange(self.steps_total, 0, -self.steps_total / steps)).astype(int)[:steps] - 1
        return [(int(t), int(t) - self.steps_total // steps) for t in times]


def schedule_from_config(config: Mapping[str, Any]) -> Schedule:
    """The schedule of a parsed scheduler configuration.

    Raises:
        UnsupportedModel: it asks for what this version does not implement.
    """
    for key, allowed in _SUPPORTED.items():
        if config.get(key) not in allowed:
            raise UnsupportedModel(f"the scheduler has {key}={config.get(key)!r}; supported: {list(allowed)}")
    total = config.get("num_train_timesteps")
    if type(total) is not int or not 1 <= total <= 100_000:
        raise UnsupportedModel(f"the scheduler has num_train_timesteps={total!r}")
    if config["beta_schedule"] == "linear":
        betas = np.linspace(float(config["beta_start"]), float(config["beta_end"]), total)
    else:
        # Nichol and Dhariwal 2021, equation 17, capped as they do.
        def alpha_bar(t: float) -> float:
            return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

        betas = np.array([min(1 - alpha_bar((i + 1) / total) / alpha_bar(i / total), 0.999) for i in range(total)])
    clip = float(config["clip_sample_range"]) if config["clip_sample"] else None
    return Schedule(np.cumprod(1.0 - betas, dtype=np.float64), str(config["prediction_type"]), clip)
