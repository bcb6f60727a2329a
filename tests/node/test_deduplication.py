"""Images found memorised too often leave further training (PDFed, section 3.3)."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.deduplication import MemorisationCounts, excluded_images
from pdfedchain.errors import StateError


def test_only_images_at_or_above_the_95th_percentile_of_the_memorised_leave() -> None:
    counts = dict.fromkeys(range(95), 1) | {95: 2, 96: 3, 97: 4, 98: 5, 99: 6}
    assert excluded_images(counts) == (95, 96, 97, 98, 99)


def test_images_never_found_do_not_count_as_memorised() -> None:
    assert excluded_images({0: 0, 1: 0, 2: 1, 3: 9}) == (3,)


def test_nobody_leaves_where_nobody_stands_out() -> None:
    assert excluded_images({}) == ()
    assert excluded_images({4: 2, 7: 2}) == ()


@given(st.dictionaries(st.integers(0, 500), st.integers(0, 50), max_size=200))
def test_who_leaves_was_found_at_least_as_often_as_who_stays(counts: dict[int, int]) -> None:
    excluded = excluded_images(counts)
    stays = [count for index, count in counts.items() if index not in excluded]
    assert all(counts[index] > max(stays, default=-1) for index in excluded)


def test_counts_survive_reopening(tmp_path: Path) -> None:
    counts = MemorisationCounts(tmp_path / "counts.json")
    counts.add([1, 2])
    counts.add([2])
    assert MemorisationCounts(tmp_path / "counts.json").excluded == (2,)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "counts.json").write_text("[1, 2")
    with pytest.raises(StateError, match=r"counts\.json"):
        MemorisationCounts(tmp_path / "counts.json")
