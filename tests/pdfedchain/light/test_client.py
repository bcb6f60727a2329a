"""What a light client trusts, and that it says why it refuses the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdfedchain.codec import encode
from pdfedchain.crypto import SigningKey, hash_of
from pdfedchain.errors import DecodeError, InputError, NotFound, Pruned
from pdfedchain.ids import Hash
from pdfedchain.light import (
    BadCertificate,
    BadHandover,
    BadValue,
    BrokenLink,
    ForkDetected,
    FromTheFuture,
    HeaderAnchor,
    LightBlock,
    LightClient,
    LightError,
    NotNewer,
    NotProven,
    TrustExpired,
    UnknownAuthorities,
    UntrustedAnchor,
    ValueProof,
    WrongChain,
    verify_bundle,
)
from pdfedchain.proving import light_bundle, light_path
from pdfedchain.state import LedgerView
from pdfedchain.state.view import ACCOUNT_PREFIX, CHECKPOINT_PREFIX, PARTICIPANT_PREFIX
from pdfedchain.store.memory import MemoryStore
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.block import Block, BlockBody, Header
from pdfedchain.types.vote import VoteKind
from tests.pdfedchain.chain_world import KEY_OF, Maker, certified, words_genesis
from tests.pdfedchain.ledger_world import START_MS, World, cid_of, key_of

WORDS = (
    b"a=1",
    b"b=2",
    b"@authority1 authority2 authority4 authority5",
    b"c=3",
    b"@authority6",
    b"-b",
    b"d=4",
    b"e=5",
)


def chain_of(*words: bytes, authorities: int = 4) -> MemoryStore:
    maker, store = Maker.start(words_genesis(authorities)), MemoryStore()
    store.initialise(maker.genesis, maker.position.state)
    for word in words:
        store.commit(*maker.advance(word))
    return store


STORE = chain_of(*WORDS)
GENESIS = STORE.genesis()
assert GENESIS is not None
NOW_MS = STORE.light_block(8).header.time_ms + 1_000


def block(height: int) -> LightBlock:
    return STORE.light_block(height)


def client(**options: int) -> LightClient:
    assert GENESIS is not None
    return LightClient.from_genesis(encode(GENESIS), GENESIS.hash, **options)


def following(*heights: int) -> LightClient:
    trusting = client()
    for height in heights:
        trusting.follow(encode(block(height)), now_ms=NOW_MS)
    return trusting


def proof(key: bytes) -> bytes:
    state = STORE.state()
    return encode(ValueProof(key, state.get(key), state.prove(key)))


def resigned(original: LightBlock, *keys: SigningKey, **changes: object) -> LightBlock:
    """The block with another header, certified by these keys, or by those of the original's certificate."""
    header: Header = replace(original.header, **changes)  # type: ignore[arg-type]
    signers = keys or tuple(KEY_OF[entry.voter] for entry in original.certificate.signatures)
    voting = AuthoritySet(original.certificate.set_id, tuple(key.address for key in signers))
    certificate = certified(Block(header, BlockBody((), b"")), voting, signers).certificate
    return replace(original, header=header, certificate=certificate)


def test_only_handovers_and_the_target_are_needed() -> None:
    assert [each.header.height for each in light_path(STORE)] == [3, 5, 8]
    trusting = following(3, 5, 8)
    assert (trusting.head.height, trusting.head.hash) == (8, block(8).hash)
    state = trusting.values([proof(b"a"), proof(b"b"), proof(b"no")], now_ms=NOW_MS)
    assert [state.get(key) for key in (b"a", b"b", b"no")] == [b"1", None, None]
    assert state.keys == (b"a", b"b", b"no")
    with pytest.raises(NotProven, match="b'c'"):
        state.get(b"c")


def test_every_header_may_be_followed_too() -> None:
    assert following(*range(1, 9)).head == following(3, 5, 8).head


def test_a_client_begins_again_from_what_it_kept() -> None:
    trusting = following(3, 5)
    again = LightClient.from_header(trusting.anchor(), trusting.head.hash)
    assert again.anchor() == trusting.anchor()
    assert again.follow(encode(block(8)), now_ms=NOW_MS) == trusting.follow(encode(block(8)), now_ms=NOW_MS)
    with pytest.raises(LightError, match="genesis"):
        client().anchor()


@pytest.mark.parametrize("height", range(9))
def test_a_bundle_may_begin_anywhere(height: int) -> None:
    assert GENESIS is not None
    trusted = GENESIS.hash if height == 0 else block(height).hash
    state = verify_bundle(encode(light_bundle(STORE, [b"a", b"b"], from_height=height)), trusted, now_ms=NOW_MS)
    assert (state.head.height, state.get(b"a"), state.get(b"b")) == (8, b"1", None)


def test_a_bundle_asks_for_a_certified_block_that_is_here() -> None:
    with pytest.raises(NotFound, match="first block"):
        light_bundle(chain_of())
    for height in (9, -1):
        with pytest.raises(NotFound, match="no header"):
            light_bundle(STORE, from_height=height)
    restored, state, authorities = MemoryStore(), STORE.state(), STORE.next_authorities()
    assert GENESIS is not None
    restored.restore(GENESIS, list(STORE.handovers()), block(8), state, authorities)
    assert light_bundle(restored, [b"a"]) == light_bundle(STORE, [b"a"])
    assert light_bundle(restored, [b"a"], from_height=5) == light_bundle(STORE, [b"a"], from_height=5)
    with pytest.raises(Pruned):
        light_bundle(restored, from_height=4)


def test_what_a_ledger_says_of_a_checkpoint_an_account_and_a_participant() -> None:
    world = World()
    world.accept("one")
    trainer, stranger = key_of("trainer").address, key_of("stranger").address
    header = replace(block(1).header, state_root=world.state.root, authorities=hash_of(words_genesis(4).authorities))
    anchor = HeaderAnchor(header, AuthoritySet(0, (trainer,)))
    anchor = replace(anchor, header=replace(header, next_authorities=hash_of(anchor.next_authorities)))
    trusting = LightClient.from_header(encode(anchor), hash_of(anchor.header))
    keys = [
        CHECKPOINT_PREFIX + cid_of("one"),
        CHECKPOINT_PREFIX + cid_of("two"),
        ACCOUNT_PREFIX + trainer,
        ACCOUNT_PREFIX + stranger,
        PARTICIPANT_PREFIX + trainer,
    ]
    proofs = [encode(ValueProof(key, world.state.get(key), world.state.prove(key))) for key in keys]
    view = LedgerView(trusting.values(proofs, now_ms=NOW_MS))
    assert view.checkpoint(cid_of("one")) == world.checkpoint("one")
    assert view.checkpoint(cid_of("two")) is None
    assert view.account(trainer) == world.view.account(trainer)
    assert view.account(stranger).balance == 0
    assert view.participant(trainer) == world.view.participant(trainer)
    with pytest.raises(NotProven):
        view.participant(stranger)


def test_trust_begins_with_the_trusted_hash_only() -> None:
    assert GENESIS is not None
    other = words_genesis(4, b"another")
    anchor = HeaderAnchor(block(4).header, AuthoritySet(0, (key_of("authority1").address,)))
    with pytest.raises(UntrustedAnchor, match="genesis has the hash"):
        LightClient.from_genesis(encode(other), GENESIS.hash)
    with pytest.raises(UntrustedAnchor, match="first header has the hash"):
        LightClient.from_header(encode(anchor), block(5).hash)
    with pytest.raises(BadHandover, match="block 4"):
        LightClient.from_header(encode(anchor), block(4).hash)
    with pytest.raises(DecodeError):
        LightClient.from_header(encode(GENESIS), GENESIS.hash)


STRANGERS = tuple(key_of(f"authority{i}") for i in (7, 8, 9))
REFUSALS: list[tuple[type[LightError], tuple[int, ...], Callable[[], LightBlock]]] = [
    (WrongChain, (), lambda: resigned(block(1), chain_id="other")),
    (NotNewer, (2,), lambda: block(2)),
    (NotNewer, (2,), lambda: block(1)),
    (NotNewer, (1,), lambda: resigned(block(2), time_ms=block(1).header.time_ms)),
    (FromTheFuture, (), lambda: resigned(block(1), time_ms=NOW_MS + 60_001)),
    (BrokenLink, (1,), lambda: resigned(block(2), parent=Hash(bytes(32)))),
    (UnknownAuthorities, (1,), lambda: block(4)),
    (UnknownAuthorities, (3,), lambda: block(8)),
    (BadCertificate, (), lambda: replace(block(2), certificate=block(1).certificate)),
    (BadCertificate, (), lambda: replace(block(1), header=replace(block(1).header, round=1))),
    (BadCertificate, (), lambda: resigned(block(1), *STRANGERS)),
    (BadCertificate, (), lambda: resigned(block(1), *sorted(KEY_OF.values(), key=lambda key: key.address))),
    (BadCertificate, (), lambda: resigned(block(1), *[key_of(f"authority{i}") for i in range(2)])),
    (
        BadCertificate,
        (),
        lambda: replace(block(1), certificate=replace(block(1).certificate, kind=VoteKind.PREVOTE)),
    ),
    (BadHandover, (), lambda: replace(block(3), next_authorities=None)),
    (BadHandover, (), lambda: replace(block(3), next_authorities=AuthoritySet(1, (key_of("authority1").address,)))),
    (BadHandover, (), lambda: replace(block(1), next_authorities=words_genesis(4).authorities)),
    (BadHandover, (), lambda: _same_number()),
]


def _same_number() -> LightBlock:
    """The set changes, its number does not: the old set's votes would pass for the new one's."""
    others = AuthoritySet(0, (key_of("authority1").address,))
    return replace(resigned(block(1), next_authorities=hash_of(others)), next_authorities=others)


@pytest.mark.parametrize(
    ("error", "before", "make"), REFUSALS, ids=[f"{e.__name__}{i}" for i, (e, _, _) in enumerate(REFUSALS)]
)
def test_what_does_not_convince_is_refused_by_name_and_changes_nothing(
    error: type[LightError], before: tuple[int, ...], make: Callable[[], LightBlock]
) -> None:
    trusting = following(*before)
    head = trusting.head
    with pytest.raises(LightError) as caught:
        trusting.follow(encode(make()), now_ms=NOW_MS)
    assert type(caught.value) is error
    assert trusting.head == head
    for height in (1, 2, 3, 5, 8):
        if height > head.height:
            trusting.follow(encode(block(height)), now_ms=NOW_MS)
    assert trusting.head.height == 8


def test_two_certified_blocks_of_one_height_are_evidence() -> None:
    trusting, other = following(2), resigned(block(2), round=1)
    with pytest.raises(ForkDetected, match="height 2") as caught:
        trusting.follow(encode(other), now_ms=NOW_MS)
    assert (caught.value.trusted, caught.value.other) == (block(2), other)
    with pytest.raises(BadCertificate):
        following(2).follow(encode(resigned(block(2), *STRANGERS, round=1)), now_ms=NOW_MS)


def test_trust_expires_by_the_caller_s_clock() -> None:
    age_ms = NOW_MS - START_MS
    trusting = client(trusting_period_ms=age_ms + 1)
    for height in (3, 5, 8):
        trusting.follow(encode(block(height)), now_ms=NOW_MS)
    late_ms = block(8).header.time_ms + age_ms + 1
    assert trusting.values([proof(b"a")], now_ms=late_ms - 1).get(b"a") == b"1"
    with pytest.raises(TrustExpired, match="block 8"):
        trusting.values([proof(b"a")], now_ms=late_ms)
    with pytest.raises(TrustExpired, match="block 0"):
        client(trusting_period_ms=age_ms).follow(encode(block(3)), now_ms=NOW_MS)
    bundle = encode(light_bundle(STORE, [b"a"], from_height=7))
    with pytest.raises(TrustExpired, match="block 7"):
        verify_bundle(bundle, block(7).hash, now_ms=NOW_MS + 10_000, trusting_period_ms=5_000)


def test_values_that_the_state_does_not_have_are_refused() -> None:
    trusting, state = following(3, 5, 8), STORE.state()
    for wrong in (
        ValueProof(b"a", b"2", state.prove(b"a")),
        ValueProof(b"a", None, state.prove(b"a")),
        ValueProof(b"b", b"2", state.prove(b"b")),
        ValueProof(b"a", b"1", state.prove(b"c")),
        ValueProof(b"b", None, chain_of(b"b=2").state().prove(b"b")),
    ):
        with pytest.raises(BadValue, match="block 8"):
            trusting.values([proof(b"c"), encode(wrong)], now_ms=NOW_MS)
    with pytest.raises(BadValue, match="genesis"):
        client().values([proof(b"a")], now_ms=NOW_MS)
    with pytest.raises(BadValue, match="block 3"):
        following(3).values([proof(b"a")], now_ms=NOW_MS)


BUNDLES = {height: encode(light_bundle(STORE, [b"a", b"b", b"e", b"no"], from_height=height)) for height in (0, 2)}


@given(height=st.sampled_from(sorted(BUNDLES)), place=st.integers(0, 10**6), flip=st.integers(1, 255))
@settings(max_examples=300, deadline=None)
def test_a_changed_byte_of_a_bundle_is_refused_or_shows_another_truth(height: int, place: int, flip: int) -> None:
    assert GENESIS is not None
    trusted = GENESIS.hash if height == 0 else block(height).hash
    changed = bytearray(BUNDLES[height])
    changed[place % len(changed)] ^= flip
    try:
        state = verify_bundle(bytes(changed), trusted, now_ms=NOW_MS)
    except (LightError, DecodeError):
        return
    # The proof of one key's absence may hold for another key; nothing else goes through.
    (other,) = set(state.keys) - {b"a", b"b", b"e", b"no"}
    assert state.get(other) is None
    assert all(state.get(key) == STORE.state().get(key) for key in state.keys)


@given(cut=st.integers(0, 10**6), more=st.binary(max_size=8))
@settings(max_examples=100, deadline=None)
def test_a_shortened_or_lengthened_bundle_is_refused(cut: int, more: bytes) -> None:
    assert GENESIS is not None
    whole = BUNDLES[0]
    changed = whole[: cut % len(whole)] + more
    if changed != whole:
        with pytest.raises(InputError):
            verify_bundle(changed, GENESIS.hash, now_ms=NOW_MS)
    if more:
        with pytest.raises(DecodeError):
            verify_bundle(whole + more, GENESIS.hash, now_ms=NOW_MS)


@given(height=st.integers(1, 8), place=st.integers(0, 10**6), flip=st.integers(1, 255))
@settings(max_examples=200, deadline=None)
def test_any_changed_byte_of_a_light_block_is_refused(height: int, place: int, flip: int) -> None:
    trusting = following(*(each for each in (3, 5) if each < height))
    changed = bytearray(encode(block(height)))
    changed[place % len(changed)] ^= flip
    with pytest.raises(InputError) as caught:
        trusting.follow(bytes(changed), now_ms=NOW_MS)
    assert isinstance(caught.value, LightError | DecodeError)
    assert trusting.follow(encode(block(height)), now_ms=NOW_MS).height == height
