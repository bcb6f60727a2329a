"""Folders of weights while several use them, and after the disk has lost something."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from node.authority import is_fatal
from node.library import Library
from node.memory_host import MemoryNetwork
from node.weights.errors import BlockDamaged, WeightsUnavailable
from node.weights.serve import WeightsServer
from node.weights.store import WeightsStore
from pdfedchain.errors import StateError
from pdfedchain.ids import Cid

FILES = 300


def add(store: WeightsStore, directory: Path) -> Cid:
    directory.mkdir()
    for index in range(FILES):
        (directory / f"{index}.bin").write_bytes(b"%d" % index)
    return store.add_folder(directory)


@asynccontextmanager
async def library_with_peer(tmp_path: Path) -> AsyncIterator[tuple[Library, Cid]]:
    """A library that holds nothing, connected to a peer that holds one folder."""
    network = MemoryNetwork()
    async with network.open_host(b"1" * 32) as mine, network.open_host(b"2" * 32) as other:
        theirs = WeightsStore(tmp_path / "theirs")
        cid = add(theirs, tmp_path / "folder")
        WeightsServer(theirs).attach(other)
        await mine.connect(other.addresses[0])
        faults: list[tuple[str, str]] = []
        library = Library(
            WeightsStore(tmp_path / "mine"),
            mine,
            tmp_path / "laid-out",
            lambda: [other.peer_id],
            lambda peer_id, reason: faults.append((peer_id, reason)),
        )
        yield library, cid
        assert faults == []


async def test_a_folder_is_whole_for_everybody_who_uses_it(tmp_path: Path) -> None:
    async with library_with_peer(tmp_path) as (library, cid):
        await library.obtain(cid, size_bytes_max=10**6)
        counts: list[int] = []

        async def use(pause_s: float) -> None:
            for _ in range(5):
                async with library.folder(cid) as folder:
                    await trio.sleep(pause_s)
                    counts.append(len(list(folder.iterdir())))

        async with trio.open_nursery() as nursery:
            for pause_s in (0.0, 0.001, 0.003, 0.01):
                nursery.start_soon(use, pause_s)
        assert counts == [FILES] * 20
        assert list((tmp_path / "laid-out").iterdir()) == []


async def test_what_no_peer_has_is_fetched_from_a_provider(tmp_path: Path) -> None:
    network = MemoryNetwork()
    async with (
        network.open_host(b"1" * 32) as mine,
        network.open_host(b"2" * 32) as far,
        network.open_host(b"3" * 32) as empty,
    ):
        theirs = WeightsStore(tmp_path / "theirs")
        cid = add(theirs, tmp_path / "folder")
        WeightsServer(theirs).attach(far)
        WeightsServer(WeightsStore(tmp_path / "empty")).attach(empty)
        await mine.connect(empty.addresses[0])
        faults: list[tuple[str, str]] = []
        library = Library(
            WeightsStore(tmp_path / "mine"),
            mine,
            tmp_path / "laid-out",
            lambda: [empty.peer_id],
            lambda peer_id, reason: faults.append((peer_id, reason)),
        )
        with pytest.raises(WeightsUnavailable):
            await library.obtain(cid, size_bytes_max=10**6)
        far.provide(cid)
        empty.provide(cid)
        await library.obtain(cid, size_bytes_max=10**6)
        assert await library.holds(cid)
        assert set(await far.find_providers(cid)) == {mine.addresses[0], empty.addresses[0]}
        assert faults == []


async def test_what_the_disk_lost_is_fetched_again(tmp_path: Path) -> None:
    async with library_with_peer(tmp_path) as (library, cid):
        await library.obtain(cid, size_bytes_max=10**6)
        block = next(path for path in (tmp_path / "mine" / "blocks").rglob("*") if path.is_file())
        block.write_bytes(bytes(len(block.read_bytes())))
        with pytest.raises(BlockDamaged):
            async with library.folder(cid):
                raise AssertionError("a damaged folder is not given out")
        assert not await library.holds(cid)
        await library.obtain(cid, size_bytes_max=10**6)
        async with library.folder(cid) as folder:
            assert len(list(folder.iterdir())) == FILES


async def test_folders_of_an_earlier_run_are_gone(tmp_path: Path) -> None:
    (tmp_path / "laid-out" / "torn").mkdir(parents=True)
    async with library_with_peer(tmp_path):
        assert list((tmp_path / "laid-out").iterdir()) == []


def test_only_the_own_durable_state_is_fatal() -> None:
    assert is_fatal(StateError("the signer record is damaged"))
    assert not is_fatal(BlockDamaged(Cid(b"\x01\x55\x12\x20" + bytes(32))))
    assert not is_fatal(OSError(28, "No space left on device"))
