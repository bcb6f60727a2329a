from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion.errors import CheckpointRefused
from diffusion.sampler import to_unit
from diffusion.score.augment import augment
from diffusion.score.fingerprint import Fingerprinter, contrastive_loss, describe
from diffusion.score.integer_weights import integer_scorer
from diffusion.score.verifier import REGIONS, Verifier, similarities, window_matrix
from pdfedchain.types.score import UnscorableReason

SCORER = integer_scorer()
PIXELS = np.random.default_rng(5).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)


def compare(pairs: np.ndarray, *, batch_size: int = 64) -> np.ndarray:
    return similarities(SCORER.fingerprinter, SCORER.verifier, PIXELS, PIXELS, pairs, batch_size=batch_size)


@pytest.mark.parametrize(("image_size", "channels"), [(8, 1), (16, 3), (32, 1), (64, 3)])
def test_every_image_size_ends_in_the_same_shapes(image_size: int, channels: int) -> None:
    images = np.zeros((2, channels, image_size, image_size), np.uint8)
    model = Fingerprinter()
    described = describe(model, images)
    assert model.maps(to_unit(images)).shape == (2, 96, 8, 8)
    assert described.features.shape == (2, 128)
    assert described.fingerprints.shape == (2, 128)
    np.testing.assert_allclose(np.linalg.norm(described.fingerprints, axis=1), 1, atol=1e-6)


def test_maps_are_the_first_two_blocks_and_know_nothing_of_the_third() -> None:
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    model = Fingerprinter()
    maps, features = model.maps(images), model(images)[0]
    first = model.blocks[0](images, stride=2)
    torch.testing.assert_close(maps[:, :32], first.reshape(2, 32, 8, 2, 8, 2).mean(dim=(3, 5)))
    torch.testing.assert_close(maps[:, 32:], model.blocks[1](first, stride=2))
    for weight in model.blocks[2].parameters():
        torch.nn.init.zeros_(weight)
    torch.testing.assert_close(model.maps(images), maps)
    assert not torch.allclose(model(images)[0], features)


def test_grey_is_colour_with_equal_channels() -> None:
    model = SCORER.fingerprinter
    grey, colour = (describe(model, images).features for images in (PIXELS, np.repeat(PIXELS, 3, axis=1)))
    np.testing.assert_allclose(grey, colour, rtol=1e-12)


class Pixels(torch.nn.Flatten):
    feature_size = 64


def test_a_separate_extractor_gives_the_features() -> None:
    described = describe(SCORER.fingerprinter, PIXELS, extractor=Pixels())
    np.testing.assert_allclose(described.features, PIXELS.reshape(40, 64) / 127.5 - 1, atol=1e-12)


def test_features_that_are_not_finite_are_a_finding() -> None:
    model = Fingerprinter()
    torch.nn.init.constant_(model.blocks[0].conv1.weight, float("nan"))  # type: ignore[union-attr, arg-type]
    with pytest.raises(CheckpointRefused) as refused:
        describe(model, PIXELS)
    assert refused.value.reason == UnscorableReason.DIVERGED


def test_the_contrastive_loss_is_the_papers() -> None:
    torch.manual_seed(1)
    a, b = (torch.nn.functional.normalize(torch.randn(5, 7), dim=1) for _ in range(2))
    d = torch.exp(a @ a.T / 0.1)
    expected = []
    for i in range(5):
        positive = torch.exp(a[i] @ b[i] / 0.1)
        others = sum(d[i, j] for j in range(5) if j != i)
        expected.append(-torch.log(positive / (positive + others)))
    torch.testing.assert_close(torch.stack(expected).mean(), contrastive_loss(a, b))


def test_there_are_55_windows_that_cover_the_map_and_average() -> None:
    windows = window_matrix()
    assert windows.shape == (REGIONS, 64)
    assert REGIONS == 55
    torch.testing.assert_close(windows.sum(dim=1), torch.ones(55))
    torch.testing.assert_close(windows[0], torch.full((64,), 1 / 64))
    for start, end in ((1, 5), (5, 14), (14, 30), (30, 55)):
        assert bool((windows[start:end].sum(dim=0).reshape(8, 8)[[0, 0, -1, -1], [0, -1, 0, -1]] > 0).all())
    assert len({tuple(row.tolist()) for row in windows}) == 55


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), min_size=1, max_size=20))
def test_the_verifier_is_symmetric_and_in_range(chosen: list[tuple[int, int]]) -> None:
    regions = SCORER.verifier.regions(SCORER.fingerprinter.maps(to_unit(PIXELS, torch.float64)))
    first, second = (regions[[pair[side] for pair in chosen]] for side in (0, 1))
    forward, backward = SCORER.verifier(first, second), SCORER.verifier(second, first)
    torch.testing.assert_close(forward, backward, atol=1e-12, rtol=0)
    similarity = compare(np.array(chosen, dtype=np.int64))
    assert ((similarity >= 0) & (similarity <= 1)).all()


def test_a_plain_verifier_compares_pictures_where_they_are() -> None:
    plain = Verifier(96, plain=True).double()
    regions = plain.regions(SCORER.fingerprinter.maps(to_unit(PIXELS, torch.float64)))
    pairs = np.array([[0, 1], [5, 1], [0, 7]])
    expected = torch.sigmoid(plain(regions[pairs[:, 0]], regions[pairs[:, 1]])).detach().numpy()
    found = similarities(SCORER.fingerprinter, plain, PIXELS, PIXELS, pairs, batch_size=2)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("plain", [False, True])
def test_an_image_is_itself_whatever_the_verifier_has_learned(plain: bool) -> None:
    images, others = PIXELS[:8].copy(), PIXELS[:8].copy()
    others[4:, 0, 3, 3] ^= 1
    verifier = Verifier(96, plain=plain).double()
    found = similarities(SCORER.fingerprinter, verifier, images, others, np.stack([np.arange(8)] * 2, axis=1))
    assert (found[:4] == 1).all()
    assert (found[4:] < 0.9).all()


def test_similarities_do_not_depend_on_batches_or_company() -> None:
    pairs = np.stack([np.arange(40), np.arange(40)[::-1]], axis=1)
    together = compare(pairs)
    np.testing.assert_allclose(together, compare(pairs, batch_size=7), atol=1e-12)
    alone = [compare(pairs[k : k + 1])[0] for k in range(40)]
    np.testing.assert_allclose(together, alone, atol=1e-12)
    assert compare(pairs[:0]).shape == (0,)


@pytest.mark.parametrize("plain", [False, True])
def test_flat_maps_have_finite_similarities_and_gradients(plain: bool) -> None:
    verifier = Verifier(64, plain=plain)
    regions = verifier.regions(torch.zeros(2, 64, 8, 8))
    verifier(regions, regions).sum().backward()
    assert all(bool(torch.isfinite(weight.grad).all()) for weight in verifier.parameters() if weight.grad is not None)


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 16), (3, 32), (1, 64)])
def test_augmented_copies_keep_shape_and_range_and_stay_close(channels: int, size: int) -> None:
    rng = torch.Generator().manual_seed(1)
    coarse = torch.rand((30, channels, 4, 4), generator=rng) * 2 - 1
    images = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")
    copies = augment(images, rng)
    assert copies.shape == images.shape
    assert float(copies.abs().max()) <= 1
    moved = (copies - images).pow(2).mean(dim=(1, 2, 3)).sqrt()
    to_others = (images - images.roll(1, dims=0)).pow(2).mean(dim=(1, 2, 3)).sqrt()
    assert float(moved.min()) > 0.01
    assert float(moved.mean()) < 0.5 * float(to_others.mean())


def test_no_strength_is_almost_no_change() -> None:
    rng = torch.Generator().manual_seed(1)
    images = torch.rand((4, 3, 8, 8), generator=rng) * 2 - 1
    torch.testing.assert_close(images, augment(images, rng, strength=1e-6), atol=1e-3, rtol=0)
