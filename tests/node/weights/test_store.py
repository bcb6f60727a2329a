"""The block store: round trips, damage, bounds, pins."""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.weights.cid import Block, Codec
from node.weights.dag import DirectoryNode, FileNode, Link, encode_node
from node.weights.errors import BlockDamaged, BlockMissing, MalformedWeights, WeightsTooLarge
from node.weights.store import BadBlock, Problem, WeightsStore
from node.weights.tree import Layout
from pdfedchain.errors import StateError, UsageError
from pdfedchain.ids import Cid, cid_text, parse_cid

MIB = 1_048_576
SMALL = Layout(chunk_size_bytes=4, links_max=3)
MODEL = {"model_index.json": b"{}", "unet/config.json": b"config", "unet/weights": b"0123456789abcdefg", "empty": b""}
NOWHERE = parse_cid("bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e")


def squeeze(name: str, size_bytes: int) -> bytes:
    return hashlib.shake_128(name.encode()).digest(size_bytes)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def read(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def block_files(root: Path) -> list[Path]:
    return sorted(path for path in (root / "blocks").rglob("*") if path.is_file())


def path_of(root: Path, cid: Cid) -> Path:
    (found,) = (root / "blocks").rglob(cid_text(cid))
    return found


def put(store: WeightsStore, node: DirectoryNode | FileNode) -> Cid:
    block = Block.of(Codec.DAG_PB, encode_node(node))
    store.put_block(block)
    return block.cid


@pytest.fixture
def store(tmp_path: Path) -> WeightsStore:
    return WeightsStore(tmp_path / "store", layout=SMALL)


@pytest.fixture
def model(store: WeightsStore, tmp_path: Path) -> Cid:
    return store.add_folder(write(tmp_path / "model", MODEL))


def test_a_folder_has_the_identifier_ipfs_gives_it(tmp_path: Path) -> None:
    sizes = {
        "model_index.json": 300,
        "unet/config.json": 900,
        "unet/diffusion_pytorch_model.safetensors": 3 * MIB,
        "scheduler/scheduler_config.json": 0,
        "Ünï/Z": 1,
        "Ünï/a": 2,
        "Ünï/a.b": 3,
        "Ünï/\uffff": 4,
        "Ünï/\U00010000": 5,
    }
    files = {name: squeeze(name, size) for name, size in sizes.items()}
    store = WeightsStore(tmp_path / "store")
    cid = store.add_folder(write(tmp_path / "model", files))
    assert cid_text(cid) == "bafybeifrnta5wcrx7xivftxxh6z5ldmebqhancbglwxwdmimev5iuukg64"
    assert store.total_size(cid) == 3_147_768
    assert store.verify(cid) == ()
    store.export(cid, tmp_path / "out")
    assert files == read(tmp_path / "out")


@pytest.mark.parametrize("size_bytes", [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB])
def test_files_at_the_chunk_boundaries_survive_a_round_trip(tmp_path: Path, size_bytes: int) -> None:
    store = WeightsStore(tmp_path / "store")
    folder = write(tmp_path / "model", {"weights": squeeze("weights", size_bytes)})
    cid = store.add_folder(folder)
    store.export(cid, tmp_path / "out")
    assert read(folder) == read(tmp_path / "out")
    assert cid == store.add_folder(tmp_path / "out")


safe_names = st.text("abcXYZ.-é", min_size=1, max_size=5).filter(lambda name: name.strip("."))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        st.binary(max_size=60), lambda inner: st.dictionaries(safe_names, inner, max_size=4), max_leaves=8
    ).filter(lambda tree: isinstance(tree, dict))
)
def test_any_folder_survives_a_round_trip(tmp_path_factory: pytest.TempPathFactory, tree: dict[str, object]) -> None:
    base = tmp_path_factory.mktemp("trip")

    def build(path: Path, node: object) -> None:
        if isinstance(node, bytes):
            path.write_bytes(node)
            return
        assert isinstance(node, dict)
        path.mkdir()
        for name, below in node.items():
            build(path / name, below)

    def contents(path: Path) -> object:
        return path.read_bytes() if path.is_file() else {child.name: contents(child) for child in path.iterdir()}

    build(base / "in", tree)
    store = WeightsStore(base / "store", layout=SMALL)
    cid = store.add_folder(base / "in")
    assert store.complete(cid)
    store.export(cid, base / "out")
    assert tree == contents(base / "out")


def test_adding_twice_writes_once(store: WeightsStore, model: Cid, tmp_path: Path) -> None:
    before = {path: path.stat().st_ino for path in block_files(tmp_path / "store")}
    assert model == store.add_folder(tmp_path / "model")
    assert before == {path: path.stat().st_ino for path in block_files(tmp_path / "store")}


def test_blocks_lie_in_sharded_folders_under_their_identifiers(model: Cid, tmp_path: Path) -> None:
    text = cid_text(model)
    assert (tmp_path / "store" / "blocks" / text[-3:-1] / text).is_file()


def test_a_file_stored_on_its_own_reads_back(store: WeightsStore, tmp_path: Path) -> None:
    path = tmp_path / "manifest.c2pa"
    path.write_bytes(b"a manifest of some length")
    cid = store.add_file(path)
    assert store.read_file(cid, size_bytes_max=10_000) == b"a manifest of some length"
    with pytest.raises(MalformedWeights, match="a file, not a folder"):
        store.export(cid, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    with pytest.raises(WeightsTooLarge, match="more than 10 bytes"):
        store.read_file(cid, size_bytes_max=10)


def test_a_folder_is_not_read_as_a_file(store: WeightsStore, model: Cid) -> None:
    with pytest.raises(MalformedWeights, match="is a folder"):
        store.read_file(model, size_bytes_max=10_000)


# Damage


def test_a_block_that_is_not_here_is_missing(store: WeightsStore) -> None:
    assert not store.has_block(NOWHERE)
    with pytest.raises(BlockMissing) as caught:
        store.get_block(NOWHERE)
    assert caught.value.cid == NOWHERE
    assert store.missing(NOWHERE) == (NOWHERE,)
    assert not store.complete(NOWHERE)


@pytest.mark.parametrize("damage", [b"", b"012", b"0120", b"01234"])
def test_damage_is_named_by_verify_and_left_alone(
    store: WeightsStore, model: Cid, tmp_path: Path, damage: bytes
) -> None:
    chunk = Block.of(Codec.RAW, b"0123").cid
    path = path_of(tmp_path / "store", chunk)
    path.write_bytes(damage)
    (bad,) = store.verify(model)
    assert (chunk, "unet/weights", Problem.DAMAGED) == (bad.cid, bad.path, bad.problem)
    assert damage == path.read_bytes()


@pytest.mark.parametrize("damage", [b"012", b"0120", b"01234"])
def test_a_damaged_block_becomes_a_missing_one_when_it_is_met(
    store: WeightsStore, model: Cid, tmp_path: Path, damage: bytes
) -> None:
    chunk = Block.of(Codec.RAW, b"0123")
    path_of(tmp_path / "store", chunk.cid).write_bytes(damage)
    with pytest.raises(BlockDamaged):
        store.get_block(chunk.cid)
    assert not store.has_block(chunk.cid)
    assert (chunk.cid,) == store.missing(model)
    assert not store.complete(model)
    assert store.put_block(chunk)
    assert store.complete(model)


def test_missing_finds_damage_by_itself(store: WeightsStore, model: Cid, tmp_path: Path) -> None:
    chunk = Block.of(Codec.RAW, b"0123")
    path_of(tmp_path / "store", chunk.cid).write_bytes(b"0120")
    assert (chunk.cid,) == store.missing(model)
    assert not store.has_block(chunk.cid)


def test_adding_a_folder_again_mends_a_damaged_block(store: WeightsStore, model: Cid, tmp_path: Path) -> None:
    path_of(tmp_path / "store", Block.of(Codec.RAW, b"0123").cid).write_bytes(b"0120")
    assert model == store.add_folder(tmp_path / "model")
    assert store.verify(model) == ()


def test_below_a_missing_node_nothing_is_known(store: WeightsStore, model: Cid, tmp_path: Path) -> None:
    path_of(tmp_path / "store", model).unlink()
    assert (model,) == store.missing(model)
    assert [BadBlock(model, "", Problem.MISSING, store.verify(model)[0].detail)] == list(store.verify(model))


def test_export_of_incomplete_weights_leaves_nothing(store: WeightsStore, model: Cid, tmp_path: Path) -> None:
    path_of(tmp_path / "store", Block.of(Codec.RAW, b"89ab").cid).unlink()
    out = tmp_path / "outside"
    out.mkdir()
    with pytest.raises(BlockMissing):
        store.export(model, out / "model")
    assert list(out.iterdir()) == []


def test_malformed_weights_are_found_by_all_who_look(store: WeightsStore, tmp_path: Path) -> None:
    leaf = Block.of(Codec.RAW, b"abc")
    store.put_block(leaf)
    cid = put(store, DirectoryNode((Link(leaf.cid, "a", 4),)))
    assert [bad.problem for bad in store.verify(cid)] == [Problem.MALFORMED]
    assert not store.complete(cid)
    with pytest.raises(MalformedWeights):
        store.missing(cid)
    with pytest.raises(MalformedWeights):
        store.export(cid, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Crashes


def test_what_a_killed_writer_left_behind_is_cleared(store: WeightsStore, model: Cid, tmp_path: Path) -> None:
    left_over = tmp_path / "store" / "tmp" / "0123456789abcdef"
    left_over.write_bytes(b"half a blo")
    again = WeightsStore(tmp_path / "store", layout=SMALL)
    assert not left_over.exists()
    assert again.complete(model)


def test_what_another_process_is_writing_is_not_cleared(store: WeightsStore, tmp_path: Path) -> None:
    busy = tmp_path / "store" / "tmp" / "0123456789abcdef"
    with open(busy, "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        WeightsStore(tmp_path / "store", layout=SMALL)
        assert busy.exists()


def test_a_crash_before_the_rename_leaves_the_block_missing(
    store: WeightsStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = Block.of(Codec.RAW, b"abcd")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", die)
        with pytest.raises(KeyboardInterrupt):
            store.put_block(block)
    assert not store.has_block(block.cid)
    assert list((tmp_path / "store" / "tmp").iterdir()) == []
    assert store.put_block(block)
    assert block == store.get_block(block.cid)


def test_a_full_disk_changes_nothing(store: WeightsStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            store.put_block(Block.of(Codec.RAW, b"abcd"))
    assert block_files(tmp_path / "store") == []
    assert list((tmp_path / "store" / "tmp").iterdir()) == []


def test_data_and_names_are_synced_before_a_block_counts(store: WeightsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("write", "fsync", "rename"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, _n=name, _r=real: (calls.append(_n), _r(*a))[1])
    store.put_block(Block.of(Codec.RAW, b"abcd"))
    assert calls == ["fsync", "write", "fsync", "rename", "fsync"]


# Bounds and hostile folders


def test_size_is_bounded(store: WeightsStore, model: Cid, tmp_path: Path) -> None:
    size_bytes = store.total_size(model)
    assert model == store.add_folder(tmp_path / "model", size_bytes_max=size_bytes)
    store.export(model, tmp_path / "out", size_bytes_max=size_bytes)
    with pytest.raises(WeightsTooLarge):
        store.add_folder(tmp_path / "model", size_bytes_max=size_bytes - 1)
    with pytest.raises(WeightsTooLarge):
        store.export(model, tmp_path / "out2", size_bytes_max=size_bytes - 1)


def test_depth_is_bounded(store: WeightsStore, tmp_path: Path) -> None:
    deepest = tmp_path.joinpath("model", *["d"] * 15)
    deepest.mkdir(parents=True)
    assert store.complete(store.add_folder(tmp_path / "model"))
    (deepest / "d").mkdir()
    with pytest.raises(WeightsTooLarge, match="16 folders"):
        store.add_folder(tmp_path / "model")


def test_paths_are_bounded_on_the_way_in_and_out(store: WeightsStore, tmp_path: Path) -> None:
    longest = tmp_path.joinpath("model", "d" * 255, "e" * 255, "f" * 255, "g" * 255)
    longest.mkdir(parents=True)
    (longest / "h").touch()
    with pytest.raises(WeightsTooLarge, match="1024 bytes"):
        store.add_folder(tmp_path / "model")
    (longest / "h").unlink()
    cid = store.add_folder(tmp_path / "model")
    store.export(cid, tmp_path / "out")
    cid = put(store, DirectoryNode((Link(cid, "x", store.total_size(cid)),)))
    with pytest.raises(WeightsTooLarge, match="1024 bytes"):
        store.export(cid, tmp_path / "out2")
    assert not (tmp_path / "out2").exists()


def test_entries_are_bounded(store: WeightsStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.weights.adding.ENTRIES_MAX", 5)
    folder = write(tmp_path / "many", {str(i): b"x" for i in range(5)})
    assert store.complete(store.add_folder(folder))
    write(folder, {"one more": b"x"})
    with pytest.raises(WeightsTooLarge, match="more than 5"):
        store.add_folder(folder)


def test_folders_that_share_themselves_are_not_written_out_without_end(
    store: WeightsStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.weights.store.ENTRIES_MAX", 200)
    block = Block.of(Codec.DAG_PB, encode_node(DirectoryNode(())))
    store.put_block(block)
    link = Link(block.cid, "", len(block.data))
    for _ in range(8):  # 5 ** 8 folders from nine blocks
        node = DirectoryNode(tuple(Link(link.cid, name, link.tsize_bytes) for name in "abcde"))
        cid = put(store, node)
        link = Link(cid, "", len(encode_node(node)) + 5 * link.tsize_bytes)
    assert store.complete(link.cid)
    assert store.missing(link.cid) == ()
    with pytest.raises(WeightsTooLarge, match="200 entries"):
        store.export(link.cid, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_blocks_are_bounded(store: WeightsStore, model: Cid, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.weights.store.BLOCKS_MAX", 5)
    with pytest.raises(WeightsTooLarge, match="more than 5 blocks"):
        store.missing(model)
    assert not store.complete(model)


@pytest.mark.parametrize("target", ["/etc/hostname", "model_index.json", "nowhere", "."])
def test_links_are_refused(store: WeightsStore, tmp_path: Path, target: str) -> None:
    folder = write(tmp_path / "model", MODEL)
    (folder / "link").symlink_to(target)
    with pytest.raises(UsageError, match="link or a special file"):
        store.add_folder(folder)


def test_special_files_are_refused(store: WeightsStore, tmp_path: Path) -> None:
    folder = write(tmp_path / "model", MODEL)
    os.mkfifo(folder / "pipe")
    with pytest.raises(UsageError, match="link or a special file"):
        store.add_folder(folder)


@pytest.mark.parametrize("name", [b"a\\b", b"a\nb", b"\xff"])
def test_unsafe_names_are_refused(store: WeightsStore, tmp_path: Path, name: bytes) -> None:
    folder = write(tmp_path / "model", MODEL)
    with open(os.fsencode(folder) + b"/" + name, "wb"):
        pass
    with pytest.raises(MalformedWeights, match="rename the file"):
        store.add_folder(folder)


def test_what_is_no_folder_or_file_is_refused(store: WeightsStore, model: Cid, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        store.add_folder(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="is not a folder"):
        store.add_folder(tmp_path / "model" / "empty")
    with pytest.raises(UsageError, match="is not a regular file"):
        store.add_file(tmp_path / "model")


def test_export_takes_an_empty_folder_and_no_other(store: WeightsStore, model: Cid, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    store.export(model, tmp_path / "empty")
    assert read(tmp_path / "empty") == MODEL
    (tmp_path / "link").symlink_to(tmp_path / "new")
    for taken in ("empty", "link", "model/empty"):
        with pytest.raises(UsageError, match="exists already"):
            store.export(model, tmp_path / taken)
    with pytest.raises(UsageError, match="make it first"):
        store.export(model, tmp_path / "a" / "b")


def test_two_names_that_are_one_on_this_disk_are_refused(
    store: WeightsStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cid = store.add_folder(write(tmp_path / "model", {"README": b"a", "readme": b"b"}))
    monkeypatch.setattr("node.weights.store.check_name", str.lower)  # as a disk that ignores case does
    with pytest.raises(StateError, match="one on this disk"):
        store.export(cid, tmp_path / "out")
    assert not (tmp_path / "out").exists()
