"""What is kept, what is collected, and what does not fit."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.weights.cid import Block, Codec
from node.weights.errors import StoreFull
from node.weights.keeping import collect, held, reference_counts
from node.weights.store import WeightsStore
from node.weights.tree import Layout
from pdfedchain.ids import Cid

SMALL = Layout(chunk_size_bytes=4, links_max=3)


def folder(directory: Path, **files: bytes) -> Path:
    directory.mkdir()
    for name, data in files.items():
        (directory / name).write_bytes(data)
    return directory


@pytest.fixture
def store(tmp_path: Path) -> WeightsStore:
    return WeightsStore(tmp_path / "store", layout=SMALL)


@pytest.fixture
def pair(store: WeightsStore, tmp_path: Path) -> tuple[Cid, Cid]:
    """Two folders that share one file of five chunks."""
    return (
        store.add_folder(folder(tmp_path / "one", shared=bytes(range(20)), own=b"one!")),
        store.add_folder(folder(tmp_path / "two", shared=bytes(range(20)), own=b"two!")),
    )


def test_what_one_folder_needs_stays_whole_and_the_rest_goes(store: WeightsStore, pair: tuple[Cid, Cid]) -> None:
    one, two = pair
    done = collect(store, [one], grace_s=0)
    assert store.verify(one) == ()
    assert done.blocks == 2, "the other folder's root and its own file"
    assert (two,) == store.missing(two)
    assert done.kept_blocks == len(list(store.stored()))


def test_a_pin_keeps_a_folder_whatever_the_chain_needs(store: WeightsStore, pair: tuple[Cid, Cid]) -> None:
    one, two = pair
    store.pins.add(two)
    collect(store, [], grace_s=0)
    assert store.verify(two) == ()
    assert (one,) == store.missing(one)
    store.pins.discard(two)
    collect(store, [], grace_s=0)
    assert list(store.stored()) == []


def test_pins_outlive_the_process_and_foreign_files_among_them_are_ignored(
    store: WeightsStore, pair: tuple[Cid, Cid], tmp_path: Path
) -> None:
    store.pins.add(pair[0])
    (tmp_path / "store" / "pins" / ".DS_Store").touch()
    assert frozenset(pair[:1]) == WeightsStore(tmp_path / "store").pins.all()


def test_young_blocks_stay_since_somebody_may_be_adding_them(store: WeightsStore, pair: tuple[Cid, Cid]) -> None:
    done = collect(store, [pair[0]])
    assert (done.blocks, done.young_blocks) == (0, 2)
    for block in list(store.stored()):
        os.utime(store._path(block.cid), (1, 1))
    assert collect(store, [pair[0]], dry_run=True).blocks == 2
    assert store.complete(pair[1]), "a dry run deletes nothing"
    assert collect(store, [pair[0]]).blocks == 2


def test_references_are_counted_by_folder(store: WeightsStore, pair: tuple[Cid, Cid]) -> None:
    counts = reference_counts(store, pair)
    assert sorted(counts.values()) == [1] * 4 + [2] * 8, "two roots, two files; five chunks and three nodes shared"
    assert reference_counts(store, [*pair, *pair]) == counts


def test_sizes_tell_what_a_folder_would_leave(store: WeightsStore, pair: tuple[Cid, Cid]) -> None:
    alone = held(store, pair[:1])[pair[0]]
    assert alone.complete
    assert alone.size_bytes == alone.own_bytes
    shared = held(store, pair)[pair[0]]
    assert shared.size_bytes == alone.size_bytes
    assert shared.own_bytes < alone.own_bytes


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=st.lists(st.lists(st.binary(max_size=12), max_size=4), min_size=1, max_size=4), data=st.data())
def test_whatever_is_kept_stays_whole(
    tmp_path_factory: pytest.TempPathFactory, contents: list[list[bytes]], data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("any")
    store = WeightsStore(root / "store", layout=SMALL)
    cids = [
        store.add_folder(folder(root / str(number), **{f"f{index}": part for index, part in enumerate(parts)}))
        for number, parts in enumerate(contents)
    ]
    kept = data.draw(st.sets(st.sampled_from(cids)))
    collect(store, kept, grace_s=0)
    for cid in kept:
        assert store.verify(cid) == ()
    assert {block.cid for block in store.stored()} == set(reference_counts(store, kept))


def block(number: int) -> Block:
    return Block.of(Codec.RAW, hashlib.shake_128(bytes([number])).digest(100))


def test_the_quota_refuses_what_does_not_fit_and_says_what_to_do(tmp_path: Path) -> None:
    store = WeightsStore(tmp_path, size_bytes_max=250)
    assert store.put_block(block(1))
    assert store.put_block(block(2))
    with pytest.raises(StoreFull, match="is full") as caught:
        store.put_block(block(3))
    assert "pdfed weights gc" in caught.value.hint
    assert not store.has_block(block(3).cid)
    assert not store.put_block(block(1)), "what is here already needs no room"
    assert store.delete_block(block(1).cid)
    assert store.put_block(block(3))


def test_the_quota_sees_what_other_processes_wrote_and_deleted(tmp_path: Path) -> None:
    ours, theirs = WeightsStore(tmp_path, size_bytes_max=250), WeightsStore(tmp_path)
    ours.put_block(block(1))
    theirs.put_block(block(2))
    theirs.put_block(block(3))
    with pytest.raises(StoreFull):
        WeightsStore(tmp_path, size_bytes_max=250).put_block(block(4))
    ours.put_block(block(5))  # counted in memory only: a bound, not a guarantee across processes
    with pytest.raises(StoreFull):
        ours.put_block(block(6))
    for number in (1, 2, 3):
        theirs.delete_block(block(number).cid)
    assert ours.put_block(block(6))


def test_what_is_put_again_is_as_young_as_what_is_written(store: WeightsStore) -> None:
    store.put_block(block(1))
    (path,) = [path for path in store._blocks.rglob("*") if path.is_file()]
    os.utime(path, (0, 0))
    assert not store.put_block(block(1))
    assert collect(store, []).young_blocks == 1
    assert store.has_block(block(1).cid)
