from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

from diffusion.score.frechet import frechet_distance


def features(seed: int, count: int, size: int = 6) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, size)) @ rng.normal(size=(size, size)) + rng.normal(size=size)


def test_it_is_the_textbook_formula() -> None:
    a, b = features(1, 50), features(2, 40)
    root = scipy.linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    shift = a.mean(axis=0) - b.mean(axis=0)
    expected = shift @ shift + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_a_shift_alone_gives_its_square() -> None:
    a = features(3, 30)
    assert frechet_distance(a, a + np.array([3.0, 0, 0, 4.0, 0, 0])) == pytest.approx(25.0, rel=1e-9)


@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(2, 12))
def test_it_is_a_symmetric_distance_even_with_fewer_images_than_features(seed: int, n: int, m: int) -> None:
    a, b = features(seed, n), features(seed + 1, m)
    assert frechet_distance(a, b) >= 0
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9, abs=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(a[::-1], b[::-1]), rel=1e-9, abs=1e-9)
