"""The audit finds what was changed, names it, and goes on."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pdfedchain.application import Execution
from pdfedchain.audit import Problem, ProblemKind, verify_chain
from pdfedchain.codec import encode
from pdfedchain.crypto import StateTree, hash_of
from pdfedchain.ids import Hash
from pdfedchain.state.ledger import Ledger
from pdfedchain.store.checks import light_block_of
from pdfedchain.store.memory import MemoryStore
from pdfedchain.store.sqlite import SqliteStore
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.block import Block, BlockBody, FinalBlock, Header
from pdfedchain.types.event import Event
from pdfedchain.types.vote import VoteKind
from tests.pdfedchain.chain_world import Maker, Words, certified, words_genesis
from tests.pdfedchain.ledger_world import key_of

KEYS = [key_of(f"authority{i}") for i in range(4)]


class OpenStore(MemoryStore):
    """A store that takes what it is given, as a damaged or forged file would."""

    def take(self, final: FinalBlock, execution: Execution) -> None:
        height = self._height + 1
        self._light[height], self._bodies[height] = light_block_of(final, execution), final.block.body
        self._heights[final.block.hash] = self._height = height
        self._state, self._authorities = execution.state, execution.next_authorities
        self._values = dict(execution.state.items())


def chain_of(forge: Callable[[FinalBlock, AuthoritySet], FinalBlock] | None = None, at: int = 2) -> OpenStore:
    """Four blocks by four authorities, the one at height ``at`` forged. Later blocks extend the forged one."""
    maker, store = Maker.start(words_genesis(4)), OpenStore()
    store.initialise(maker.genesis, maker.position.state)
    for height in range(1, 5):
        final, execution = maker.advance(b"key%d=value" % height)
        if forge is not None and height == at:
            final = forge(final, maker.position.authorities)
            header = final.block.header
            maker.position = replace(maker.position, parent=final.block.hash, parent_time_ms=header.time_ms)
            store.take(final, execution)
        else:
            store.take(final, execution)
    return store


def kinds(store: MemoryStore) -> list[tuple[ProblemKind, str]]:
    found = [(problem.kind, problem.where) for problem in verify_chain(store, Words())]
    noise = (ProblemKind.TRANSACTION_INDEX, ProblemKind.EVENTS)  # OpenStore writes neither
    return [item for item in found if item[0] not in noise]


def with_header(final: FinalBlock, authorities: AuthoritySet, /, **changes: object) -> FinalBlock:
    header: Header = replace(final.block.header, **changes)  # type: ignore[arg-type]
    return certified(Block(header, final.block.body), authorities, KEYS[:3])


def test_a_chain_without_fault_has_no_problems() -> None:
    maker, store = Maker.start(words_genesis(4)), MemoryStore()
    store.initialise(maker.genesis, maker.position.state)
    for i in range(5):
        store.commit(*maker.advance(b"key%d=value" % i))
    assert list(verify_chain(store, Words())) == []
    assert kinds(chain_of()) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"chain_id": "other"}, [ProblemKind.HEADER, ProblemKind.CERTIFICATE]),
        ({"version": 2}, [ProblemKind.HEADER]),
        ({"proposer": KEYS[3].address}, [ProblemKind.HEADER]),
        ({"round": 1}, [ProblemKind.HEADER]),
        ({"authorities": Hash(bytes(32))}, [ProblemKind.HEADER]),
        ({"parent": Hash(bytes(32))}, [ProblemKind.PARENT]),
        ({"time_ms": 0}, [ProblemKind.TIME]),
        ({"body": Hash(bytes(32))}, [ProblemKind.BODY]),
        ({"state_root": Hash(bytes(32))}, [ProblemKind.STATE_ROOT]),
        ({"next_authorities": Hash(bytes(32))}, [ProblemKind.STATE_ROOT]),
    ],
)
def test_every_field_of_a_header_is_checked(changes: dict[str, object], expected: list[ProblemKind]) -> None:
    found = kinds(chain_of(lambda final, authorities: with_header(final, authorities, **changes)))
    assert found == [(kind, "block 2") for kind in expected]


def test_a_wrong_height_is_a_problem_of_header_and_turn() -> None:
    found = kinds(chain_of(lambda final, authorities: with_header(final, authorities, height=3)))
    assert set(found) == {(ProblemKind.HEADER, "block 2")}


@pytest.mark.parametrize("count", [1, 2])
def test_a_certificate_without_a_quorum_is_found(count: int) -> None:
    store = chain_of(lambda final, authorities: certified(final.block, authorities, KEYS[:count]))
    assert kinds(store) == [(ProblemKind.CERTIFICATE, "block 2")]


def test_forged_foreign_and_misplaced_certificates_are_found() -> None:
    first = chain_of().final_block(1)

    def forged(final: FinalBlock) -> FinalBlock:
        entries = final.certificate.signatures
        broken = (replace(entries[0], signature=bytes(64)), *entries[1:])
        return replace(final, certificate=replace(final.certificate, signatures=broken))

    def prevotes(final: FinalBlock) -> FinalBlock:
        return replace(final, certificate=replace(final.certificate, kind=VoteKind.PREVOTE))

    strangers = [key_of(f"stranger{i}") for i in range(3)]
    for forge in (
        lambda final, _: forged(final),
        lambda final, _: prevotes(final),
        lambda final, authorities: certified(final.block, authorities, strangers),
        lambda final, _: replace(final, certificate=first.certificate),
    ):
        assert kinds(chain_of(forge)) == [(ProblemKind.CERTIFICATE, "block 2")]


def test_a_changed_body_is_found_and_the_state_unknown_from_there_on() -> None:
    def forge(final: FinalBlock, authorities: AuthoritySet) -> FinalBlock:
        return certified(Block(final.block.header, BlockBody((b"key2=forged",), b"")), authorities, KEYS)

    assert kinds(chain_of(forge)) == [(ProblemKind.BODY, "block 2"), (ProblemKind.STATE_ROOT, "block 2")]


def test_a_block_the_application_refuses_is_found() -> None:
    def forge(final: FinalBlock, authorities: AuthoritySet) -> FinalBlock:
        body = BlockBody((b"!",), b"")
        return certified(Block(replace(final.block.header, body=hash_of(body)), body), authorities, KEYS)

    found = list(verify_chain(chain_of(forge), Words()))
    assert Problem(ProblemKind.EXECUTION, "block 2", "a block the application allows", "an exclamation") in found


def test_an_oversized_block_is_found() -> None:
    def forge(final: FinalBlock, authorities: AuthoritySet) -> FinalBlock:
        body = BlockBody((b"big=" + bytes(1_000_000),) * 3, b"")
        return certified(Block(replace(final.block.header, body=hash_of(body)), body), authorities, KEYS)

    assert (ProblemKind.BODY, "block 2") in kinds(chain_of(forge))


def test_problems_of_later_blocks_are_found_after_an_earlier_one() -> None:
    store = chain_of(lambda final, authorities: with_header(final, authorities, state_root=Hash(bytes(32))))
    store._light[4] = replace(store._light[4], certificate=store._light[1].certificate)
    assert kinds(store) == [(ProblemKind.STATE_ROOT, "block 2"), (ProblemKind.CERTIFICATE, "block 4")]


def test_an_empty_store_and_a_foreign_genesis_are_problems() -> None:
    assert kinds(MemoryStore()) == [(ProblemKind.GENESIS, "genesis")]
    store = MemoryStore()
    store.initialise(words_genesis(), StateTree())
    found = list(verify_chain(store, Ledger()))
    assert [problem.kind for problem in found] == [ProblemKind.GENESIS]
    assert "words" in found[0].found


def test_a_state_that_is_not_the_blocks_is_named_key_by_key() -> None:
    store = chain_of()
    store._values[b"key1"] = b"forged"
    del store._values[b"key2"]
    store._values[b"key9"] = b"x" * 50
    found = [problem for problem in verify_chain(store, Words()) if problem.kind is ProblemKind.STATE]
    assert [problem.where for problem in found] == ["key b'key1'", "key b'key2'", "key b'key9'"]
    assert [(problem.expected, problem.found) for problem in found[1:]] == [
        ("5 bytes, 76616c7565", "absent"),
        ("absent", f"50 bytes, {'78' * 32}..."),
    ]
    store._values |= {b"more%d" % i: b"" for i in range(30)}
    found = [problem for problem in verify_chain(store, Words()) if problem.kind is ProblemKind.STATE]
    assert found[-1].found == "13 more keys differ"
    store._authorities = AuthoritySet(1, (KEYS[0].address,))
    assert (ProblemKind.STATE, "authorities of the next block") in kinds(store)


def test_events_and_the_index_of_transactions_are_compared() -> None:
    maker, store = Maker.start(), MemoryStore()
    store.initialise(maker.genesis, maker.position.state)
    for word in (b"a=1", b"b=2"):
        store.commit(*maker.advance(word))
    store._events[0] = replace(store._events[0], event=Event("forged", (), b""))
    store._transactions.clear()
    del store._heights[store.final_block(2).block.hash]
    assert list(verify_chain(store, Words())) == [
        Problem(ProblemKind.TRANSACTION_INDEX, "block 1, transaction 0", "block 1", "nowhere"),
        Problem(ProblemKind.EVENTS, "block 1", "written", "forged"),
        Problem(ProblemKind.BLOCK, "block 2", f"to be found by its hash {store._light[2].hash.hex()}", "it is not"),
        Problem(ProblemKind.TRANSACTION_INDEX, "block 2, transaction 0", "block 2", "nowhere"),
    ]


# On disk


def durable(path: Path) -> Maker:
    maker, store = Maker.start(), SqliteStore(path)
    store.initialise(maker.genesis, maker.position.state)
    for i in range(1, 5):
        store.commit(*maker.advance(b"key%d=value" % i))
    store.close()
    return maker


def audited(path: Path, statement: str, *arguments: object) -> list[tuple[ProblemKind, str]]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(statement, arguments)
    connection.close()
    store = SqliteStore.open_read_only(path, check_state=False)
    found = [(problem.kind, problem.where) for problem in verify_chain(store, Words())]
    store.close()
    return found


def test_a_block_that_cannot_be_read_is_named_and_later_ones_are_still_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "chain.db"
    durable(path)
    found = audited(path, "UPDATE light_blocks SET light = x'90' WHERE height IN (2, 4)")
    assert found == [(ProblemKind.BLOCK, "block 2"), (ProblemKind.BLOCK, "block 4")]


def test_a_missing_block_is_named(tmp_path: Path) -> None:
    path = tmp_path / "chain.db"
    durable(path)
    assert audited(path, "DELETE FROM bodies WHERE height = 2") == [(ProblemKind.BLOCK, "block 2")]


def test_a_flipped_bit_in_a_block_is_named(tmp_path: Path) -> None:
    path = tmp_path / "chain.db"
    maker = durable(path)
    store = SqliteStore.open_read_only(path)
    data = bytearray(encode(store.final_block(3).block.body))
    store.close()
    place = data.index(b"key3=value")
    data[place] ^= 1
    found = audited(path, "UPDATE bodies SET body = ? WHERE height = 3", bytes(data))
    assert found[0] == (ProblemKind.BODY, "block 3")
    assert {where for _, where in found} == {"block 3", "block 3, transaction 0"}
    assert maker.position.height == 5


def test_a_damaged_state_is_named_although_the_store_would_not_open(tmp_path: Path) -> None:
    path = tmp_path / "chain.db"
    durable(path)
    found = audited(path, "UPDATE state SET value = x'00' WHERE key = CAST('key2' AS BLOB)")
    assert found == [(ProblemKind.STATE, "key b'key2'")]


@pytest.mark.parametrize("name", ["genesis", "next_authorities"])
def test_damaged_beginnings_and_ends_are_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "chain.db"
    durable(path)
    found = audited(path, "UPDATE meta SET value = x'90' WHERE name = ?", name)
    assert found == [(ProblemKind.GENESIS, "genesis") if name == "genesis" else (ProblemKind.STATE, "state")]


def test_a_damaged_event_is_named(tmp_path: Path) -> None:
    path = tmp_path / "chain.db"
    durable(path)
    for damage in ("x'91c40190'", "x'9190'", "x'c0'", "x'93'", "zeroblob(9)"):
        found = audited(path, f"UPDATE events SET events = {damage} WHERE height = 2")
        assert found == [(ProblemKind.EVENTS, "block 2")]


def test_pruned_bodies_are_said_to_be_pruned_and_the_rest_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "chain.db"
    durable(path)
    store = SqliteStore(path)
    store.prune(below_height=3)
    store.close()
    pruned = (ProblemKind.PRUNED, "blocks 1 to 2")
    assert audited(path, "SELECT 1") == [pruned]
    assert audited(path, "UPDATE state SET value = x'00' WHERE key = CAST('key2' AS BLOB)") == [
        pruned,
        (ProblemKind.STATE, "state"),
    ]
    assert audited(path, "DELETE FROM light_blocks WHERE height = 2")[0] == (ProblemKind.BLOCK, "block 2")


def test_a_restored_chain_is_followed_through_its_handovers() -> None:
    maker, full, restored = Maker.start(words_genesis(4)), MemoryStore(), MemoryStore()
    full.initialise(maker.genesis, maker.position.state)
    for word in (b"a=1", b"@authority1 authority5", b"b=2", b"c=3"):
        full.commit(*maker.advance(word))
    state, authorities = maker.position.state, maker.position.authorities
    restored.restore(maker.genesis, list(full.handovers()), full.light_block(4), state, authorities)
    for word in (b"d=4", b"@authority0", b"e=5"):
        final, execution = maker.advance(word)
        for store in (full, restored):
            store.commit(final, execution)
    assert list(verify_chain(full, Words())) == []
    assert kinds(restored) == [(ProblemKind.PRUNED, "blocks 1 to 4")]
    restored._values[b"a"] = b"2"
    assert kinds(restored) == [(ProblemKind.PRUNED, "blocks 1 to 4"), (ProblemKind.STATE, "state")]
