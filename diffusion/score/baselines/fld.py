"""FLD: how likely test images are under a density that the generated images make.

Jiralerspong, Bose, Gemp, Qin, Bachrach and Gidel, "Feature Likelihood Divergence: Evaluating the Generalization of
Generative Models Using Samples", NeurIPS 2023 (arXiv 2302.04440), section 3: a mixture of isotropic Gaussians, one on
each generated image, whose widths are fitted to the *training* images. A copy of a training image gets a very narrow
Gaussian and is lost for the test images, so memorising is punished. The value is 100 times the mean negative
log-likelihood per dimension, minus that of a perfect model: half of the training images as centres, fitted to the other
half.

The fit is the authors' program's: widths start at the nearest training image's distance, then 50 steps of Adam
(rate 0.5) on the likelihood of a mixture that has one more Gaussian at the training images' mean, so that no image is
infinitely unlikely (a later version of that program stops earlier, for speed). The gradient is written out here, as an
expectation over responsibilities.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from torch import Tensor

from diffusion.score.nearest import Floats, chunks

__all__ = ["fld"]

#: Most images of each set; of more, so many are drawn. The authors' program bounds the centres alike, and takes the
#: others in batches of this size.
_IMAGES_MAX: Final = 10_000
_STEPS: Final = 50
_RATE: Final = 0.5
_BETAS: Final = (0.9, 0.999)
_EPSILON: Final = 1e-8
#: Logarithms of variances stay within these: a Gaussian on an exact copy would become infinitely narrow.
_LOG_MIN, _LOG_MAX = -40.0, 20.0
_WIDTH_MIN: Final = 1e-3
#: How far images are pulled to the mean before the extra Gaussian sees them.
_PULL: Final = 0.1


def fld(generated: Floats, train: Floats, test: Floats, *, seed: int = 0) -> float | None:
    """FLD of features (n, D), (m, D), (l, D); lower is better, 0 is as good as real images.

    Dimensions in which all test images are equal say nothing and are left out.

    Args:
        seed: of the training set's division into halves, and of what is drawn from sets of more than 10,000.

    Returns:
        The divergence, or ``None`` where test images are equal in every dimension or there are fewer than 4 training
        images, which have no halves to fit.
    """
    if len(train) < 4:
        return None
    rng = np.random.default_rng(seed)
    centres, fitted, measured = (_drawn(features, rng) for features in (generated, train, test))
    mean, deviation = measured.mean(dim=0), measured.std(dim=0)
    kept = deviation > 0
    if not bool(kept.any()):
        return None
    centres, fitted, measured = ((part - mean)[:, kept] / deviation[kept] for part in (centres, fitted, measured))
    order = torch.from_numpy(rng.permutation(len(fitted)))
    half = min(len(centres), len(fitted) // 2)
    baseline = _nll(fitted[order[:half]], fitted[order[half:]], measured)
    return 100 * (_nll(centres, fitted, measured) - baseline)


def _drawn(features: Floats, rng: np.random.Generator) -> Tensor:
    """At most 10,000 of the images, in their order."""
    if len(features) > _IMAGES_MAX:
        features = features[np.sort(rng.choice(len(features), _IMAGES_MAX, replace=False))]
    return torch.from_numpy(np.ascontiguousarray(features, dtype=np.float64))


def _nll(centres: Tensor, fitted: Tensor, measured: Tensor) -> float:
    """Mean negative log-likelihood per dimension of ``measured`` under the mixture fitted to ``fitted``."""
    size = centres.shape[1]
    log_widths = _fit(_squared(fitted, centres), fitted, size)
    total = 0.0
    for rows in chunks(len(measured), 4 * len(centres)):
        logs = _log_densities(_squared(measured[rows], centres).double(), log_widths, size)
        total -= float(torch.logsumexp(logs - math.log(len(centres)), dim=1).sum())
    return total / len(measured) / size


def _squared(first: Tensor, second: Tensor) -> Tensor:
    """|a - b|^2 (N, M) by differences, kept in float32 as there are up to a hundred million."""
    out = torch.empty(len(first), len(second), dtype=torch.float32)
    for rows in chunks(len(first), 4 * len(second)):
        out[rows] = torch.cdist(first[rows], second, compute_mode="donot_use_mm_for_euclid_dist").square_()
    return out


def _log_densities(squared: Tensor, log_widths: Tensor, size: int) -> Tensor:
    """log N(x | mu, sigma^2 I) for squared distances (N, M) and log sigma^2 (M,)."""
    constant = size / 2 * (log_widths + math.log(2 * math.pi))
    return squared.mul(log_widths.neg().exp().mul_(-0.5)).sub_(constant)


def _fit(squared: Tensor, fitted: Tensor, size: int) -> Tensor:
    """log sigma^2 of each Gaussian, float64 (M,), from squared distances (N, M)."""
    count = squared.shape[1]
    log_widths = ((squared.min(dim=0).values.double() + _WIDTH_MIN) / size).log_()
    everywhere = torch.zeros(1, dtype=torch.float64)  # log sigma^2 of the Gaussian at the mean
    away = (1 - _PULL) ** 2 * (fitted - fitted.mean(dim=0)).square().sum(dim=1)
    parameters = torch.cat([log_widths, everywhere])
    mean, square = torch.zeros_like(parameters), torch.zeros_like(parameters)
    for step in range(1, _STEPS + 1):
        gradient = torch.zeros_like(parameters)
        for rows in chunks(len(squared), 4 * count):
            gradient += _gradient(squared[rows].double(), away[rows], parameters, size)
        gradient /= len(squared) * size
        mean.lerp_(gradient, 1 - _BETAS[0])
        square.lerp_(gradient.square(), 1 - _BETAS[1])
        scale = (square / (1 - _BETAS[1] ** step)).sqrt_().add_(_EPSILON)
        parameters.addcdiv_(mean, scale, value=-_RATE / (1 - _BETAS[0] ** step))
        parameters[:-1].clamp_(_LOG_MIN, _LOG_MAX)
    return parameters[:-1]


def _gradient(squared: Tensor, away: Tensor, parameters: Tensor, size: int) -> Tensor:
    """Of the summed negative log-likelihood: responsibility times (D - |x - mu|^2 / sigma^2) / 2, for each Gaussian."""
    count = squared.shape[1]
    every = torch.cat([squared, away[:, None]], dim=1)
    logs = _log_densities(every, parameters, size)
    logs[:, :-1] -= math.log(count)
    responsibility = torch.softmax(logs, dim=1)
    # summed over images first: one number for each Gaussian
    mass, spread = responsibility.sum(dim=0), (responsibility * every).sum(dim=0)
    return (size * mass - spread * parameters.neg().exp()) / 2
