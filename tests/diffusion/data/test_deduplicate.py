from __future__ import annotations

import doctest

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import diffusion.data.deduplicate
from diffusion.data.deduplicate import Deduplicated, MemorisationCounts
from node.deduplication import excluded_images


def test_the_example_in_the_docstring_is_true() -> None:
    assert doctest.testmod(diffusion.data.deduplicate) == (0, 4)


@given(st.lists(st.integers(0, 12), max_size=120))
def test_the_rule_is_the_nodes_rule(counts: list[int]) -> None:
    ours = MemorisationCounts(np.array(counts, dtype=np.int64))
    assert tuple(ours.left_out.tolist()) == excluded_images(dict(enumerate(counts)))
    assert sorted([*ours.left_out.tolist(), *ours.kept.tolist()]) == list(range(len(counts)))


def test_about_a_twentieth_of_the_memorised_images_leaves() -> None:
    counts = MemorisationCounts(1_000)
    for model in range(1, 101):
        counts.add(range(model))  # image 0 is found in all hundred models, image 99 in one
    assert counts.left_out.tolist() == [0, 1, 2, 3, 4]
    assert (counts.normalised[0], counts.normalised[99], counts.normalised[100]) == (1.0, 0.01, 0.0)


def test_one_model_counts_an_image_once() -> None:
    counts = MemorisationCounts(3)
    counts.add([1, 1, 1])
    assert counts.counts.tolist() == [0, 1, 0]
    assert counts.left_out.tolist() == []


@pytest.mark.parametrize("index", [-1, 3])
def test_an_image_that_is_not_there_is_refused(index: int) -> None:
    with pytest.raises(IndexError, match=f"image {index} of 3"):
        MemorisationCounts(3).add([index])


def test_a_torch_loader_sees_the_images_that_are_kept() -> None:
    counts = MemorisationCounts(np.array([1, 9, 1, 1]))
    data = Deduplicated(torch.arange(40).reshape(4, 10), counts)
    batches = list(torch.utils.data.DataLoader(data, batch_size=2))  # type: ignore[arg-type]
    assert torch.cat(batches)[:, 0].tolist() == [0, 20, 30]
    counts.add([3])
    counts.add([3])
    assert len(data) == 3
