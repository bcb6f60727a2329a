"""The structural verdict: what is built is accepted, and every field that could be wrong is checked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pdfedchain.consensus.blocks import build_block, position_after, verify_block
from pdfedchain.crypto import hash_of
from pdfedchain.errors import InvalidBlock
from pdfedchain.testing.counter import CounterApplication
from pdfedchain.testing.simulator import START_MS, make_genesis
from pdfedchain.types.block import Block, BlockBody, FinalBlock
from pdfedchain.types.genesis import ChainParameters
from tests.pdfedchain.consensus.world import KEYS, PRECOMMIT, Home, block_of, certificate, proposer_of

APPLICATION = CounterApplication()


def test_what_is_built_is_accepted_with_the_same_state() -> None:
    home = Home()
    block, execution = build_block(
        APPLICATION,
        home.position,
        round_=2,
        time_ms=START_MS + 500,
        proposer=proposer_of(2).address,
        candidates=(b"x", b"y", b"x"),
    )
    assert verify_block(APPLICATION, home.position, block).state.root == execution.state.root
    assert CounterApplication.count(execution.state) == 2


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("version", 2, "version"),
        ("chain_id", "other", "chain"),
        ("height", 2, "height"),
        ("round", 1, "proposer"),
        ("time_ms", START_MS + 499, "time"),
        ("time_ms", START_MS - 1, "time"),
        ("time_ms", START_MS + 9_999, "state root"),
        ("parent", bytes(32), "parent"),
        ("proposer", KEYS[3].address, "proposer"),
        ("body", bytes(32), "body"),
        ("state_root", bytes(32), "state root"),
        ("authorities", bytes(32), "authorities"),
        ("next_authorities", bytes(32), "next authorities"),
    ],
)
def test_every_field_of_the_header_is_checked(field: str, value: object, reason: str) -> None:
    block = block_of(0, transactions=(b"x",))
    wrong = Block(replace(block.header, **{field: value}), block.body)  # type: ignore[arg-type]
    with pytest.raises(InvalidBlock, match=reason):
        verify_block(APPLICATION, Home().position, wrong)


def test_the_application_has_its_say() -> None:
    block = block_of(0, transactions=(b"x",))
    body = BlockBody((b"x", b"x"), b"")
    wrong = Block(replace(block.header, body=hash_of(body)), body)
    with pytest.raises(InvalidBlock, match="counted before"):
        verify_block(APPLICATION, Home().position, wrong)


def test_a_block_above_the_chain_s_size_is_refused_and_never_built() -> None:
    genesis = make_genesis(KEYS, ChainParameters(block_size_bytes_max=1_024))
    small = Home(genesis=genesis)
    candidates = tuple(bytes([n]) * 100 for n in range(1, 30))
    block, _ = build_block(
        APPLICATION,
        small.position,
        round_=0,
        time_ms=START_MS + 500,
        proposer=proposer_of(0).address,
        candidates=candidates,
    )
    verify_block(APPLICATION, small.position, block)
    assert 0 < len(block.body.transactions) < len(candidates)
    body = BlockBody(candidates, b"")
    with pytest.raises(InvalidBlock, match="at most 1024 allowed"):
        verify_block(APPLICATION, small.position, Block(replace(block.header, body=hash_of(body)), body))


def test_a_child_builds_on_its_parent() -> None:
    home = Home()
    block = block_of(0, transactions=(b"x",))
    execution = verify_block(APPLICATION, home.position, block)
    final = FinalBlock(block, certificate(PRECOMMIT, block.hash))
    position = position_after(APPLICATION, home.genesis, final, execution)
    assert (position.height, position.parent, position.time_ms_min) == (2, block.hash, block.header.time_ms + 500)
    with pytest.raises(InvalidBlock, match="height"):
        verify_block(APPLICATION, position, block)


def test_the_beacon_depends_on_the_parent_only() -> None:
    position = Home().position
    contexts = [position.context(round_=r, time_ms=t, proposer=KEYS[r].address) for r, t in ((0, 1), (1, 2))]
    assert contexts[0].beacon == contexts[1].beacon
    assert (
        contexts[0].beacon
        != replace(position, parent=bytes(32))
        .context(  # type: ignore[arg-type]
            round_=0, time_ms=1, proposer=KEYS[0].address
        )
        .beacon
    )
