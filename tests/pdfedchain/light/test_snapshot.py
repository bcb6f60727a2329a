"""From a stranger's bytes and a genesis hash to a store that goes on with the chain, or to an empty one."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdfedchain.audit import ProblemKind, verify_chain
from pdfedchain.codec import decode, encode
from pdfedchain.errors import DecodeError, InputError, NotFound, StateError
from pdfedchain.light import BadSnapshot, LightClient, StateAssembly
from pdfedchain.limits import LIGHT_BLOCK_SIZE_BYTES_MAX
from pdfedchain.snapshot import Snapshot, restore, take_snapshot
from pdfedchain.store.interface import Store
from pdfedchain.store.memory import MemoryStore
from pdfedchain.store.sqlite import SqliteStore
from pdfedchain.types.light import LightBlock
from tests.pdfedchain.chain_world import Maker, Words, words_genesis

BIG = bytes(120_000)


def made() -> tuple[Maker, MemoryStore]:
    """A chain with two handovers whose state needs several chunks."""
    maker, store = Maker.start(words_genesis(4)), MemoryStore()
    store.initialise(maker.genesis, maker.position.state)
    for i in range(10):
        store.commit(*maker.advance(b"key%d=" % i + BIG))
    for word in (b"@authority1 authority5", b"a=1", b"@authority2", b"b=2"):
        store.commit(*maker.advance(word))
    return maker, store


MAKER, STORE = made()
SNAPSHOT = take_snapshot(STORE)
GENESIS = MAKER.genesis
NOW_MS = MAKER.position.parent_time_ms


def followed(snapshot: Snapshot = SNAPSHOT) -> tuple[LightClient, list[LightBlock]]:
    client = LightClient.from_genesis(encode(GENESIS), GENESIS.hash)
    for block in snapshot.blocks():
        client.follow(block, now_ms=NOW_MS)
    blocks = [decode(LightBlock, block, size_bytes_max=LIGHT_BLOCK_SIZE_BYTES_MAX) for block in snapshot.blocks()]
    return client, blocks


def assembled(client: LightClient, snapshot: Snapshot = SNAPSHOT) -> StateAssembly:
    assembly = StateAssembly(client.head, snapshot.manifest())
    for index in reversed(assembly.missing):
        assembly.add(index, snapshot.chunk(index))
    return assembly


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_restored_store_goes_on_with_the_chain(kind: str, tmp_path: Path) -> None:
    maker, full = made()
    snapshot = take_snapshot(full)
    # The chain goes on; the snapshot stays what it was.
    later = [maker.advance(b"later=1"), maker.advance(b"@authority3"), maker.advance(b"-a")]
    for final, execution in later:
        full.commit(final, execution)
    client, blocks = followed(snapshot)
    store: Store = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "chain.db")
    restore(store, GENESIS, blocks, client, assembled(client, snapshot))
    assert (store.height(), store.state().root) == (14, snapshot.block.header.state_root)
    for final, execution in later:
        store.commit(final, execution)
    assert dict(store.state_items(b"")) == dict(full.state_items(b""))
    assert list(store.handovers()) == list(full.handovers())
    assert take_snapshot(store).blocks() == take_snapshot(full).blocks()
    assert [problem.kind for problem in verify_chain(store, Words())] == [ProblemKind.PRUNED]
    store.close()


def test_a_snapshot_has_several_chunks_and_each_stands_alone() -> None:
    client, _ = followed()
    assembly = StateAssembly(client.head, SNAPSHOT.manifest())
    chunks = assembly.missing
    assert len(chunks) > 2
    for wrong in (chunks[1], chunks[2]):
        with pytest.raises(BadSnapshot, match=f"chunk {chunks[0]}"):
            assembly.add(chunks[0], SNAPSHOT.chunk(wrong))
    assert assembly.missing == chunks
    assembly.add(chunks[0], SNAPSHOT.chunk(chunks[0]))
    assembly.add(chunks[0], SNAPSHOT.chunk(chunks[0]))
    assert assembly.missing == chunks[1:]
    for none in (-1, len(assembly.manifest.parts)):
        with pytest.raises(NotFound, match="no chunk"):
            SNAPSHOT.chunk(none)
    with pytest.raises(NotFound, match="no block"):
        take_snapshot(MemoryStore())


def test_a_manifest_of_another_block_or_state_is_refused() -> None:
    client, _ = followed()
    _, other = made()
    other.prune(below_height=1)
    maker = Maker.start(words_genesis(4, b"another"))
    foreign = MemoryStore()
    foreign.initialise(maker.genesis, maker.position.state)
    for i in range(14):
        foreign.commit(*maker.advance(b"key%d=v" % i))
    with pytest.raises(BadSnapshot, match="is trusted"):
        StateAssembly(client.head, take_snapshot(foreign).manifest())
    with pytest.raises(BadSnapshot, match="is trusted"):
        StateAssembly(LightClient.from_genesis(encode(GENESIS), GENESIS.hash).head, SNAPSHOT.manifest())
    forged = Snapshot(SNAPSHOT.block, (), foreign.state())
    with pytest.raises(BadSnapshot, match="combine to the root"):
        StateAssembly(client.head, forged.manifest())


MANIFEST, CHUNKS = SNAPSHOT.manifest(), {i: SNAPSHOT.chunk(i) for i in range(2)}


@given(place=st.integers(0, 10**6), flip=st.integers(1, 255))
@settings(max_examples=100, deadline=None)
def test_any_changed_byte_of_a_manifest_is_refused(place: int, flip: int) -> None:
    client, _ = followed()
    changed = bytearray(MANIFEST)
    changed[place % len(changed)] ^= flip
    with pytest.raises(InputError) as caught:
        StateAssembly(client.head, bytes(changed))
    assert isinstance(caught.value, BadSnapshot | DecodeError)


@given(index=st.sampled_from(sorted(CHUNKS)), place=st.integers(0, 10**6), flip=st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_any_changed_byte_of_a_chunk_is_refused(index: int, place: int, flip: int) -> None:
    client, _ = followed()
    assembly = StateAssembly(client.head, MANIFEST)
    missing = assembly.missing
    changed = bytearray(CHUNKS[index])
    changed[place % len(changed)] ^= flip
    with pytest.raises(InputError) as caught:
        assembly.add(index, bytes(changed))
    assert isinstance(caught.value, BadSnapshot | DecodeError)
    assert assembly.missing == missing


def test_a_restore_that_fails_leaves_an_empty_store(tmp_path: Path) -> None:
    path = tmp_path / "chain.db"
    store = SqliteStore(path)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(
        "CREATE TRIGGER full BEFORE INSERT ON state WHEN NEW.key = CAST('key7' AS BLOB)"
        " BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    )
    client, blocks = followed()
    assembly = assembled(client)
    with pytest.raises(StateError, match="disk full"):
        restore(store, GENESIS, blocks, client, assembly)
    assert (store.genesis(), store.height(), list(store.handovers())) == (None, 0, [])
    assert list(store.state_items(b"")) == []
    store.close()
    connection.execute("DROP TRIGGER full")
    connection.close()
    again = SqliteStore(path)
    assert again.genesis() is None
    restore(again, GENESIS, blocks, client, assembly)
    assert again.height() == 14
    with pytest.raises(StateError, match="holds chain"):
        restore(again, GENESIS, blocks, client, assembly)
    again.close()
