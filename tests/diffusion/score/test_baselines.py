"""Each baseline against an implementation that shares nothing with ours: another library, or the paper's formula
computed pair by pair. Where two are possible the slower and plainer one was taken."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import mannwhitneyu
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors

from diffusion.score.baselines import auth_pct, ct, fld, kid, measure, precision_recall
from diffusion.score.baselines.ct import z_score
from diffusion.score.nearest import nearest

Features = np.ndarray


def features(seed: int, count: int, size: int = 12, shift: float = 0.0) -> Features:
    """Clustered, correlated, of features' usual scale."""
    mixing = np.random.default_rng(99).normal(size=(size, size))
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, size)) + 2 * rng.integers(0, 3, size=(count, 1)) + shift) @ mixing


@pytest.fixture(scope="module")
def sets() -> tuple[Features, Features, Features]:
    """Generated images, a fifth of them near copies; training images; test images."""
    generated, train, test = features(1, 150, shift=0.2), features(2, 240), features(3, 130)
    generated[:30] = train[:30] + 0.01 * features(4, 30)
    return generated, train, test


def test_auth_pct_is_the_plain_loop_over_images(sets: tuple[Features, Features, Features]) -> None:
    generated, train, _ = sets
    authentic = 0
    for image in generated:
        away = [math.dist(image, other) for other in train]
        source = int(np.argmin(away))
        own = min(math.dist(train[source], train[j]) for j in range(len(train)) if j != source)
        authentic += away[source] > own
    assert auth_pct(generated, train) == pytest.approx(100 * authentic / len(generated), rel=1e-12)
    assert 0 < authentic < len(generated)


@pytest.mark.parametrize("size", [12, 80])
def test_ct_agrees_with_scipy_and_scikit_learn(size: int) -> None:
    generated, train, test = (features(seed, count, size) for seed, count in ((5, 200), (6, 300), (7, 180)))
    reduced = [generated, train, test]
    if size > 64:
        projection = PCA(n_components=64, random_state=0).fit(train)
        reduced = [projection.transform(some) for some in reduced]
    cells = KMeans(n_clusters=3, n_init=10, random_state=0).fit(reduced[1])
    labels = [cells.predict(some) for some in reduced]
    total = weight = 0.0
    for cell in range(3):
        g, t, s = (some[label == cell] for some, label in zip(reduced, labels, strict=True))
        if len(g) <= 20:
            continue
        trained = NearestNeighbors(n_neighbors=1).fit(t)
        u = mannwhitneyu(trained.kneighbors(g)[0], trained.kneighbors(s)[0], alternative="less")[0].item()
        n, m = len(g), len(s)
        z = (u - n * m / 2 + 0.5) / math.sqrt(n * m * (n + m + 1) / 12)
        total, weight = total + m * z, weight + m
    ours = ct(generated, train, test)
    assert ours == pytest.approx(total / weight, rel=1e-6)


def test_ct_is_far_below_zero_for_copies_and_undefined_for_a_handful(
    sets: tuple[Features, Features, Features],
) -> None:
    _, train, test = sets
    copied = ct(train + 1e-3, train, test)
    assert copied is not None
    assert copied < -5
    assert ct(train[:15], train, test) is None


def test_ties_count_half() -> None:
    assert z_score(np.array([1.0, 1.0]), np.array([1.0, 1.0])) == pytest.approx(0.5 / math.sqrt(4 * 5 / 12))


def test_kid_is_the_unbiased_estimate_with_scikit_learns_kernel(sets: tuple[Features, Features, Features]) -> None:
    generated, _, test = sets

    def kernel(a: Features, b: Features) -> Features:
        matrix: Features = polynomial_kernel(a, b, degree=3, gamma=1 / a.shape[1], coef0=1)
        return matrix

    def within(some: Features) -> float:
        return float(kernel(some, some)[~np.eye(len(some), dtype=bool)].mean())

    expected = within(generated) + within(test) - 2 * kernel(generated, test).mean()
    assert kid(generated, test) == pytest.approx(expected, rel=1e-9)


def test_precision_and_recall_are_balls_of_the_third_neighbour(sets: tuple[Features, Features, Features]) -> None:
    generated, _, test = sets

    def share_inside(queries: Features, manifold: Features) -> float:
        radii = np.sort(cdist(manifold, manifold), axis=1)[:, 3]  # the image itself comes first
        return float((cdist(queries, manifold) <= radii[None]).any(axis=1).mean())

    precision, recall = precision_recall(generated, test)
    assert precision == pytest.approx(share_inside(generated, test), rel=1e-12)
    assert recall == pytest.approx(share_inside(test, generated), rel=1e-12)
    assert 0 < precision < 1
    assert precision_recall(test, test) == (1.0, 1.0)


def reference_fld(generated: Features, train: Features, test: Features, order: np.ndarray) -> float:
    """The paper's density, with torch's own differentiation and optimiser."""
    mean, deviation = test.mean(axis=0), test.std(axis=0, ddof=1)
    g, t, s = (torch.tensor((some - mean) / deviation) for some in (generated, train, test))

    def log_density(x: torch.Tensor, centres: torch.Tensor, log_widths: torch.Tensor) -> torch.Tensor:
        each = torch.distributions.Normal(centres[None], log_widths.exp().sqrt()[None, :, None])
        return each.log_prob(x[:, None]).sum(dim=2)

    def nll(centres: torch.Tensor, fitted: torch.Tensor) -> float:
        size = centres.shape[1]
        start = ((torch.cdist(fitted, centres) ** 2).min(dim=0).values + 1e-3) / size
        widths = start.log().requires_grad_()
        everywhere = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        middle = fitted.mean(dim=0, keepdim=True)
        pulled = middle + 0.9 * (fitted - middle)
        optimiser = torch.optim.Adam([widths, everywhere], lr=0.5)
        for _ in range(50):
            optimiser.zero_grad()
            own = log_density(fitted, centres, widths) - math.log(len(centres))
            both = torch.cat([own, log_density(pulled, middle, everywhere)], dim=1)
            (-both.logsumexp(dim=1).mean() / size).backward()
            optimiser.step()
            widths.data.clamp_(-40, 20)
        logs = log_density(s, centres, widths.detach()) - math.log(len(centres))
        return float(-logs.logsumexp(dim=1).mean() / size)

    shuffled = t[torch.from_numpy(order)]
    half = min(len(g), len(t) // 2)
    return 100 * (nll(g, t) - nll(shuffled[:half], shuffled[half:]))


def test_fld_agrees_with_automatic_differentiation(sets: tuple[Features, Features, Features]) -> None:
    generated, train, test = sets
    order = np.random.default_rng(0).permutation(len(train))
    assert fld(generated, train, test) == pytest.approx(reference_fld(generated, train, test, order), rel=1e-4)


def test_fld_punishes_poor_images_and_copies(sets: tuple[Features, Features, Features]) -> None:
    generated, train, test = sets
    results = [fld(some, train, test) for some in (features(8, 150), features(8, 150, shift=2), train[:150])]
    real, shifted, copied = results
    assert real is not None
    assert shifted is not None
    assert copied is not None
    assert real < shifted
    assert real < copied
    assert fld(generated, train[:3], test) is None
    assert fld(generated, train, np.repeat(test[:1], 9, axis=0)) is None


def test_dimensions_that_say_nothing_are_left_out_of_fld(sets: tuple[Features, Features, Features]) -> None:
    padded = [np.pad(some, ((0, 0), (0, 2)), constant_values=7.0) for some in sets]
    assert fld(*padded) == pytest.approx(fld(*sets), rel=1e-9)


def test_neighbours_are_exact_ordered_and_never_the_image_itself() -> None:
    base = features(9, 400).astype(np.float32)
    base[17] = base[3]
    queries = base[:50] + np.float32(1e-4)
    distances = cdist(queries.astype(float), base.astype(float))
    found, indices = nearest(queries, base, count=5)
    np.testing.assert_allclose(found, np.sort(distances, axis=1)[:, :5], rtol=1e-9)
    np.testing.assert_array_equal(indices, np.argsort(distances, axis=1, kind="stable")[:, :5])
    among, who = nearest(base, base, count=1, same=True)
    assert among[3, 0] == 0.0
    assert who[3, 0] == 17
    assert not (who[:, 0] == np.arange(400)).any()
    assert nearest(base[:2], base[:2], count=5, same=True)[1].shape == (2, 1)


def test_no_measure_needs_many_images_or_different_ones(sets: tuple[Features, Features, Features]) -> None:
    _, train, test = sets
    few = measure(train[:2], train[:2], test[:2])
    assert (few.auth_pct, few.ct, few.fld) == (0.0, None, None)
    collapsed = measure(np.repeat(test[:1], 40, axis=0), train, test)
    assert collapsed.recall < 0.05
    assert collapsed.auth_pct in (0.0, 100.0)


def test_memory_bounds_do_not_change_a_figure(
    sets: tuple[Features, Features, Features], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = measure(*sets)
    monkeypatch.setattr("diffusion.score.nearest._CHUNK_ELEMENTS", 700)
    assert dataclasses.astuple(measure(*sets)) == pytest.approx(dataclasses.astuple(whole), rel=1e-9)
