"""Published measures that the quality-novelty score stands beside, all on the same features.

| measure | of | source |
|---|---|---|
| `frechet_distance` (FID) | quality | Heusel et al. 2017 |
| `kid` | quality | Binkowski et al. 2018 |
| `precision_recall` | quality, coverage | Kynkaanniemi et al. 2019 |
| `auth_pct` | copying | Alaa et al. 2021 |
| `ct` | copying | Meehan et al. 2020 |
| `fld` | all three | Jiralerspong et al. 2023 |

Every module names the section it follows and where it decides something that the paper leaves open. Features are
(N, D), float32 or float64; the features' extractor is the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass

from diffusion.progress import Report, silent
from diffusion.score.baselines.auth_pct import auth_pct
from diffusion.score.baselines.ct import ct
from diffusion.score.baselines.fld import fld
from diffusion.score.baselines.kid import kid
from diffusion.score.baselines.precision_recall import precision_recall
from diffusion.score.frechet import frechet_distance
from diffusion.score.nearest import Floats

__all__ = ["Baselines", "auth_pct", "ct", "fld", "frechet_distance", "kid", "measure", "precision_recall"]


@dataclass(frozen=True, slots=True)
class Baselines:
    """All measures but FID, which is part of the score. ``None`` where a measure is not defined for so few images."""

    auth_pct: float
    ct: float | None
    fld: float | None
    kid: float
    precision: float
    recall: float


def measure(generated: Floats, train: Floats, test: Floats, *, report: Report = silent) -> Baselines:
    """Compute them from features (n, D), (m, D), (l, D), each of at least 2 images."""
    report("baselines", 0, 5, 0.0)
    authentic = auth_pct(generated, train)
    report("baselines", 1, 5, 0.0)
    copying = ct(generated, train, test)
    report("baselines", 2, 5, 0.0)
    likelihood = fld(generated, train, test)
    report("baselines", 3, 5, 0.0)
    discrepancy = kid(generated, test)
    report("baselines", 4, 5, 0.0)
    precision, recall = precision_recall(generated, test)
    report("baselines", 5, 5, 0.0)
    return Baselines(authentic, copying, likelihood, discrepancy, precision, recall)
