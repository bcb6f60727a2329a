"""Blocks and identifiers."""

from __future__ import annotations

import pytest

from node.weights.cid import Block, Codec, cid_of, codec_of
from node.weights.errors import BlockMismatch
from node.weights.limits import BLOCK_SIZE_BYTES_MAX
from pdfedchain.ids import cid_text, parse_cid


def test_raw_block_has_the_identifier_ipfs_gives_it() -> None:
    expected = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
    assert expected == cid_text(Block.of(Codec.RAW, b"hello world").cid)


def test_empty_directory_block_has_the_identifier_ipfs_gives_it() -> None:
    expected = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"
    assert expected == cid_text(Block.of(Codec.DAG_PB, bytes.fromhex("0a020801")).cid)


def test_codec_is_read_from_the_identifier() -> None:
    assert Codec.RAW is codec_of(parse_cid("bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"))
    assert Codec.DAG_PB is codec_of(parse_cid("bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"))


def test_bytes_that_hash_to_their_identifier_become_a_block() -> None:
    assert Block.of(Codec.RAW, b"weights") == Block.check(cid_of(Codec.RAW, b"weights"), b"weights")


@pytest.mark.parametrize("data", [b"", b"weight", b"weights\0", b"Weights"])
def test_other_bytes_are_refused_and_name_the_identifier(data: bytes) -> None:
    cid = cid_of(Codec.RAW, b"weights")
    with pytest.raises(BlockMismatch, match="hash to something else") as caught:
        Block.check(cid, data)
    assert cid == caught.value.cid


def test_more_bytes_than_a_block_may_have_are_refused_though_they_hash_right() -> None:
    data = bytes(BLOCK_SIZE_BYTES_MAX + 1)
    with pytest.raises(BlockMismatch, match="1048576"):
        Block.check(cid_of(Codec.RAW, data), data)
