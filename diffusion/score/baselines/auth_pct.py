"""AuthPct: the share of generated images that are farther from their source than the source's own neighbour.

Alaa, van Breugel, Saveliev and van der Schaar, "How Faithful is your Synthetic Data? Sample-level Metrics for
Evaluating and Auditing Generative Models", ICML 2022 (arXiv 2102.08921, 2021), section 3.3: authenticity.
"""

from __future__ import annotations

import numpy as np

from diffusion.score.nearest import Floats, nearest

__all__ = ["auth_pct"]


def auth_pct(generated: Floats, train: Floats) -> float:
    """Percentage of generated images g with d(g, t) > d(t, t'), t the training image nearest to g, t' nearest to t.

    Args:
        generated: features (n, D).
        train: features (m, D), m at least 2.

    Returns:
        0 to 100; copies give 0. Exact duplicates in the training set make their copies count as copies, not as
        authentic, since zero is not more than zero.
    """
    distance, source = nearest(generated, train, count=1)
    # only the images that are somebody's nearest need their own neighbour, however many others there are;
    # the nearest of the two is the image itself, or a duplicate of it at the same distance of zero
    sources, which = np.unique(source[:, 0], return_inverse=True)
    own = nearest(train[sources], train, count=2)[0][:, 1]
    return 100.0 * float((distance[:, 0] > own[which]).mean())
