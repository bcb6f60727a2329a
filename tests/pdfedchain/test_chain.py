"""A chain inside one process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pdfedchain.audit import verify_chain
from pdfedchain.chain import Chain, single_genesis
from pdfedchain.codec import encode
from pdfedchain.crypto import EMPTY_ROOT
from pdfedchain.errors import InputError, InvalidProof, NotFound, StateError, UsageError
from pdfedchain.ids import Cid
from pdfedchain.state.ledger import Ledger
from pdfedchain.state.view import LedgerView
from pdfedchain.store.memory import MemoryStore
from pdfedchain.store.sqlite import SqliteStore
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.ballot import BallotKind, Outcome, commitment_of
from pdfedchain.types.transaction import (
    CommitBallot,
    Have,
    Payload,
    RevealBallot,
    Transaction,
    Transfer,
    WithoutNonce,
    transaction_hash,
)
from tests.pdfedchain.chain_world import Words, words_genesis
from tests.pdfedchain.ledger_world import CHAIN_ID, GOOD, SALT, START_MS, cid_of, genesis_of, key_of, offer

KEY = key_of("authority0")


def words_chain(**options: object) -> Chain:
    genesis = single_genesis(Words(), KEY, time_ms=START_MS)
    return Chain.create(genesis, KEY, application=Words(), **options)  # type: ignore[arg-type]


def test_transactions_become_blocks_with_certificates() -> None:
    chain = words_chain()
    name = chain.submit(b"a=1")
    assert (chain.height, chain.query(b"a"), chain.waiting) == (0, None, (b"a=1",))
    final = chain.produce()
    assert (chain.height, chain.query(b"a"), chain.waiting) == (1, b"1", ())
    final.certificate.verify("embedded", chain.genesis.authorities)
    assert final.block.hash == final.certificate.block
    assert chain.store.transaction_height(name) == 1
    assert chain.state.root == final.block.header.state_root != EMPTY_ROOT
    assert chain.produce().block.header.parent == final.block.hash
    assert list(verify_chain(chain.store, Words())) == []


def test_a_transaction_waits_once_and_a_hopeless_one_not_at_all() -> None:
    chain = words_chain()
    assert chain.submit(b"a=1") == chain.submit(b"a=1")
    assert chain.waiting == (b"a=1",)
    for bad in (b"!", b"", bytes(2_000_000)):
        with pytest.raises(InputError):
            chain.submit(bad)
    chain.produce()
    assert chain.store.final_block(1).block.body.transactions == (b"a=1",)


def test_values_and_absences_are_proven_to_whoever_knows_the_authority() -> None:
    chain = words_chain()
    with pytest.raises(NotFound, match="first block"):
        chain.prove(b"a")
    chain.submit(b"a=1")
    chain.produce()
    chain.produce()
    authorities = chain.genesis.authorities
    present, absent = chain.prove(b"a"), chain.prove(b"b")
    assert (present.value, absent.value) == (b"1", None)
    for proven in (present, absent):
        proven.verify(authorities, "embedded")
    older = chain.store.final_block(1)
    for forged in (
        replace(present, value=b"2"),
        replace(present, value=None),
        replace(present, key=b"b"),
        replace(absent, value=b""),
        replace(absent, key=b"a"),
        replace(present, header=replace(present.header, state_root=EMPTY_ROOT)),
        replace(present, certificate=older.certificate),
    ):
        with pytest.raises(InvalidProof):
            forged.verify(authorities, "embedded")
    with pytest.raises(InvalidProof):
        present.verify(AuthoritySet(0, (key_of("other").address,)), "embedded")
    with pytest.raises(InvalidProof):
        present.verify(authorities, "other-chain")


def test_subscribers_see_each_event_once() -> None:
    chain = words_chain()
    chain.submit(b"a=1")
    chain.produce()
    everything, deletions = chain.subscribe(from_height=0), chain.subscribe("deleted")
    for word in (b"b=2", b"-a"):
        chain.submit(word)
        chain.produce()
    assert [stored.event.kind for stored in everything] == ["written", "written", "deleted"]
    assert [stored.height for stored in deletions.take()] == [3]
    assert everything.take() == deletions.take() == ()
    chain.submit(b"-b")
    chain.produce()
    assert [stored.height for stored in deletions] == [4]


def test_a_durable_chain_goes_on_after_reopening(tmp_path: Path) -> None:
    chain = words_chain(store=SqliteStore(tmp_path / "chain.db"))
    chain.submit(b"a=1")
    chain.produce()
    chain.store.close()
    store = SqliteStore(tmp_path / "chain.db")
    again = Chain.open(store, KEY, application=Words())
    again.submit(b"b=2")
    again.produce()
    assert (again.height, again.query(b"a"), again.query(b"b")) == (2, b"1", b"2")
    assert list(verify_chain(store, Words())) == []
    with pytest.raises(StateError, match="embedded"):
        Chain.create(again.genesis, KEY, application=Words(), store=store)
    store.close()


class Renamed(Words):
    name = "other"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Chain.open(MemoryStore(), KEY),
        lambda: Chain.create(words_genesis(2), KEY, application=Words()),
        lambda: Chain.create(words_genesis(1), key_of("stranger"), application=Words()),
        lambda: Chain.open(words_chain().store, key_of("stranger"), application=Words()),
        lambda: Chain.open(words_chain().store, KEY, application=Renamed()),
        lambda: Chain.open(words_chain().store, KEY),
        lambda: words_chain().advance_time(-1),
    ],
    ids=["empty", "two authorities", "other key", "other key later", "other application", "ledger", "back in time"],
)
def test_wrong_use_is_a_usage_error(make: Callable[[], object]) -> None:
    with pytest.raises(UsageError):
        make()


def test_a_fork_tries_something_without_consequences(tmp_path: Path) -> None:
    chain = words_chain()
    chain.submit(b"a=1")
    chain.produce()
    chain.submit(b"b=2")
    fork = chain.fork()
    fork.submit(b"a=9")
    fork.produce()
    assert (fork.query(b"a"), fork.query(b"b")) == (b"9", b"2")
    assert (chain.height, chain.query(b"a"), chain.query(b"b"), chain.waiting) == (1, b"1", None, (b"b=2",))
    chain.produce()
    for each in (chain, fork):
        assert list(verify_chain(each.store, Words())) == []
    durable = words_chain(store=SqliteStore(tmp_path / "chain.db"))
    with pytest.raises(UsageError, match="memory"):
        durable.fork()
    durable.store.close()


def test_a_snapshot_brings_back_everything_and_is_used_up() -> None:
    now = [START_MS]
    genesis = single_genesis(Words(), KEY, time_ms=START_MS)
    chain = Chain.create(genesis, KEY, application=Words(), clock=lambda: now[0])
    events, store = chain.subscribe(), chain.store
    chain.submit(b"a=1")
    first = chain.produce()
    chain.submit(b"b=2")
    moment = chain.snapshot()
    for attempt in (b"c=3", b"c=4"):
        moment = moment if attempt == b"c=3" else chain.snapshot()
        chain.advance_time(60_000)
        chain.submit(attempt)
        chain.submit(b"-a")
        later = chain.snapshot()
        chain.produce()
        assert (chain.height, chain.query(b"a"), chain.query(b"b")) == (2, None, b"2")
        assert [stored.height for stored in events.take()][-3:] == [2, 2, 2]
        chain.revert(moment)
        assert chain.store is store
        assert (chain.height, chain.query(b"a"), chain.query(b"c"), chain.waiting) == (1, b"1", None, (b"b=2",))
        assert chain.store.final_block(1) == first
        assert chain.store.transaction_height(transaction_hash(attempt)) is None
        for used_up in (moment, later, 0):
            with pytest.raises(UsageError, match=f"no snapshot {used_up}; there are: none"):
                chain.revert(used_up)
    second = chain.produce()
    assert second.block.header.time_ms == START_MS + 2
    assert [stored.event.subjects[0] for stored in events] == [b"b"]
    assert list(verify_chain(chain.store, Words())) == []


def test_snapshots_nest(tmp_path: Path) -> None:
    chain = words_chain()
    numbers = []
    for i in range(3):
        numbers.append(chain.snapshot())
        chain.submit(b"k=%d" % i)
        chain.produce()
    assert len(set(numbers)) == 3
    chain.revert(numbers[2])
    assert (chain.height, chain.query(b"k")) == (2, b"1")
    chain.revert(numbers[0])
    assert (chain.height, chain.query(b"k")) == (0, None)
    with pytest.raises(UsageError):
        chain.revert(numbers[1])
    assert chain.snapshot() not in numbers
    durable = words_chain(store=SqliteStore(tmp_path / "chain.db"))
    with pytest.raises(UsageError, match="memory"):
        durable.snapshot()
    durable.store.close()


def test_block_times_follow_the_clock_and_never_stand_still() -> None:
    now = [START_MS]
    genesis = single_genesis(Words(), KEY, time_ms=START_MS)
    chain = Chain.create(genesis, KEY, application=Words(), clock=lambda: now[0])
    times = [chain.produce().block.header.time_ms for _ in range(3)]
    assert times == [START_MS + 1, START_MS + 2, START_MS + 3]
    chain.advance_time(60_000)
    assert chain.produce().block.header.time_ms == START_MS + 60_000


def test_a_checkpoint_s_whole_life_on_an_embedded_ledger() -> None:
    """One authority that trains, scores and settles: the smallest federation there is."""
    results: dict[Cid, Outcome] = {}
    chain = Chain.create(genesis_of(1), KEY, application=Ledger(results.get), clock=lambda: START_MS)

    def send(payload: Payload, name: str = "authority0") -> None:
        key = key_of(name)
        without = isinstance(payload, WithoutNonce)
        nonce = 0 if without else LedgerView(chain.state).account(key.address).nonce
        chain.submit(encode(Transaction(CHAIN_ID, key.address, nonce, payload).sign(key)))
        chain.produce()

    accepted = chain.subscribe("checkpoint-accepted")
    cid = cid_of("one")
    send(offer("one"), "trainer")
    send(Have(cid, 1))
    chain.produce()
    sealed = commitment_of(CHAIN_ID, cid, KEY.address, BallotKind.SCORE, GOOD, SALT)
    send(CommitBallot(cid, 1, BallotKind.SCORE, sealed))
    send(RevealBallot(cid, BallotKind.SCORE, GOOD, SALT))
    chain.produce()
    assert accepted.take() == ()  # the authority has no result of its own to agree with yet
    results[cid] = GOOD
    chain.produce()
    assert [stored.height for stored in accepted] == [chain.height]
    checkpoint = LedgerView(chain.state).checkpoint(cid)
    assert checkpoint is not None
    assert checkpoint.report == GOOD
    assert list(verify_chain(chain.store, Ledger())) == []


def test_a_transaction_may_wait_for_the_nonce_before_it() -> None:
    key = key_of("authority0")
    chain = Chain.create(genesis_of(1), key)
    early, ready = (
        encode(Transaction(CHAIN_ID, key.address, nonce, Transfer(key_of("voter").address, 1)).sign(key))
        for nonce in (1, 0)
    )
    chain.submit(early)
    assert chain.produce().block.body.transactions == ()
    assert chain.waiting == (early,)
    chain.submit(ready)
    assert chain.produce().block.body.transactions == (ready, early)
    assert chain.waiting == ()
