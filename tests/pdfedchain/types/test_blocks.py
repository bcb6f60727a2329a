"""A block's hash, its size, and what ties its body to it."""

from __future__ import annotations

from dataclasses import replace

from pdfedchain.codec import encode
from pdfedchain.crypto import hash_of
from pdfedchain.types.block import Block
from tests.pdfedchain.chain_world import Maker


def blocks() -> list[Block]:
    maker = Maker.start()
    return [maker.advance(b"a", b"b" * 300)[0].block, maker.advance()[0].block, maker.advance(b"c")[0].block]


def test_hashes_and_sizes_are_those_of_the_encodings() -> None:
    for block in 2 * blocks():
        assert (block.hash, block.body.hash) == (hash_of(block.header), hash_of(block.body))
        assert (block.size_bytes, block.body.encoded) == (len(encode(block)), encode(block.body))


def test_a_body_belongs_to_the_header_that_names_it() -> None:
    one, two, _ = blocks()
    assert one.is_consistent
    assert not replace(one, body=two.body).is_consistent
    assert not replace(one, body=replace(one.body, extension=b"x")).is_consistent
