from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion.score.retrieval import close_pairs, distances, greedy_matching, thresholds_by_class

#: Points on a line, so that distances are read off.
TRAINING = np.array([[0.0], [1.0], [3.0], [10.0], [14.0]])
LABELS = np.array([0, 0, 0, 1, 1])


def test_distances_are_exact_where_inner_products_cancel() -> None:
    base = np.full((1, 8), 1e4)
    assert distances(base, base)[0, 0] == 0.0
    assert distances(base, base + 1e-6)[0, 0] == pytest.approx(1e-6 * np.sqrt(8), abs=1e-9)


def test_thresholds_follow_the_formula() -> None:
    # nearest neighbours of class 0 lie at 1, 1, 2; of class 1 at 4, 4
    nearest = np.array([1.0, 1.0, 2.0])
    expected = [nearest.mean() - 0.5 * nearest.std(), 4.0]
    actual = thresholds_by_class(TRAINING, LABELS, classes=2, deviations=0.5)
    np.testing.assert_allclose(actual, expected, atol=1e-9)


def test_a_threshold_is_never_negative_and_a_lone_image_gets_the_mean() -> None:
    actual = thresholds_by_class(TRAINING, LABELS, classes=3, deviations=10.0)
    assert actual.tolist() == [0.0, 4.0, 2.0]
    assert thresholds_by_class(TRAINING[:1], LABELS[:1], classes=1, deviations=0.5).tolist() == [0.0]


def pairs(generated: list[float], neighbours: int = 5, pairs_max: int = 100) -> list[list[int]]:
    thresholds = np.array([1.0, 4.0])
    points = np.array(generated)[:, None]
    result = close_pairs(points, TRAINING, LABELS, thresholds, neighbours=neighbours, pairs_max=pairs_max)
    return [[int(value) for value in pair] for pair in result]


def test_pairs_lie_within_the_threshold_of_the_training_images_class() -> None:
    # 0.5 is within 1 of 0 and 1; 7 is 4 from 3 (class 0: too far) and 3 from 10 (class 1: close)
    assert pairs([0.5, 7.0]) == [[0, 0], [0, 1], [1, 3]]


def test_a_distance_equal_to_the_threshold_is_close() -> None:
    assert pairs([2.0]) == [[0, 1], [0, 2]]


def test_the_closest_pairs_come_first_and_are_kept() -> None:
    assert pairs([0.4, 3.1]) == [[1, 2], [0, 0], [0, 1]]
    assert pairs([0.4, 3.1], pairs_max=2) == [[1, 2], [0, 0]]


def test_only_the_nearest_neighbours_are_looked_at() -> None:
    assert pairs([0.4], neighbours=1) == [[0, 0]]


def test_an_exact_copy_is_checked_even_where_the_threshold_is_zero() -> None:
    result = close_pairs(TRAINING[:1], TRAINING, LABELS, np.zeros(2), neighbours=2, pairs_max=9)
    assert result.tolist() == [[0, 0]]


def test_nothing_close_gives_no_pairs() -> None:
    assert pairs([100.0]) == []
    empty = np.zeros((0, 2), np.int64)
    assert greedy_matching(empty, np.zeros(0), threshold=0.8).tolist() == []


def test_each_image_is_matched_once_best_first() -> None:
    candidates = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    similarity = np.array([0.9, 0.95, 0.85, 0.99])
    assert greedy_matching(candidates, similarity, threshold=0.8).tolist() == [3, 0]


def test_ties_go_by_index_and_the_threshold_counts_as_reached() -> None:
    candidates = np.array([[1, 0], [0, 1], [0, 0]])
    assert greedy_matching(candidates, np.full(3, 0.8), threshold=0.8).tolist() == [2]
    assert greedy_matching(candidates, np.full(3, 0.799999999), threshold=0.8).tolist() == []


@given(st.data())
def test_matching_does_not_depend_on_the_order_of_pairs(data: st.DataObject) -> None:
    candidates = data.draw(
        st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=30, unique=True)
    )
    similarity = data.draw(
        st.lists(st.sampled_from([0.5, 0.8, 0.9, 1.0]), min_size=len(candidates), max_size=len(candidates))
    )
    order = data.draw(st.permutations(range(len(candidates))))
    array, values = np.array(candidates), np.array(similarity)
    straight = {candidates[k] for k in greedy_matching(array, values, threshold=0.8)}
    shuffled = [candidates[k] for k in order]
    mixed = {shuffled[k] for k in greedy_matching(array[order], values[order], threshold=0.8)}
    assert straight == mixed
    assert len({first for first, _ in straight}) == len(straight)
    assert len({second for _, second in straight}) == len(straight)


def plain_close_pairs(
    generated: np.ndarray, training: np.ndarray, labels: np.ndarray, thresholds: np.ndarray, neighbours: int, most: int
) -> list[tuple[int, int]]:
    """The rule as a sentence: sort everything, look at the nearest, keep what is close, closest first."""
    between = distances(generated, training)
    found = []
    for g, row in enumerate(between):
        nearest = sorted(range(len(row)), key=lambda t, row=row: (row[t], t))[:neighbours]
        found += [(row[t], g, t) for t in nearest if row[t] <= thresholds[labels[t]]]
    return [(g, t) for _, g, t in sorted(found)[:most]]


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 30), st.integers(1, 8), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_the_search_in_chunks_is_the_rule_with_many_ties(n: int, m: int, neighbours: int, most: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    generated, training = (rng.integers(0, 4, (count, 2)).astype(float) for count in (n, m))
    labels, thresholds = rng.integers(0, 3, m), rng.integers(0, 4, 3).astype(float)
    expected = plain_close_pairs(generated, training, labels, thresholds, neighbours, most)
    for chunk in (1, 3 * m, 2**22):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("diffusion.score.retrieval._CHUNK_ELEMENTS", chunk)
            actual = close_pairs(generated, training, labels, thresholds, neighbours=neighbours, pairs_max=most)
            by_class = thresholds_by_class(training, labels, classes=3, deviations=0.5)
        assert list(map(tuple, actual.tolist())) == expected
        assert by_class.tolist() == thresholds_by_class(training, labels, classes=3, deviations=0.5).tolist()


def test_of_several_at_the_distance_of_the_last_neighbour_the_first_is_taken() -> None:
    training = np.array([[1.0], [-1.0], [1.0], [0.0]])
    found = close_pairs(np.zeros((1, 1)), training, np.zeros(4, int), np.ones(1), neighbours=3, pairs_max=9)
    assert found.tolist() == [[0, 3], [0, 0], [0, 1]]


def test_memory_does_not_grow_with_the_product_of_both_sets() -> None:
    """Three thousand by three thousand distances are 72 MB; a chunk of them is held."""
    points = np.random.default_rng(1).random((3_000, 4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffusion.score.retrieval._CHUNK_ELEMENTS", 2**16)
        tracemalloc.start()
        try:
            found = close_pairs(points, points, np.zeros(3_000, int), np.ones(1), neighbours=5, pairs_max=100)
            thresholds_by_class(points, np.zeros(3_000, int), classes=1, deviations=0.5)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert len(found) == 100
    assert peak < 12_000_000
