"""Blocks and their identifiers: the only place where bytes become trusted.

A `Block` always matches its `Cid`: it is made from our own bytes by `Block.of`, or from others' by `Block.check`,
which refuses what does not hash to the identifier. Everything behind takes `Block`, never bare bytes. Identifiers
are CIDv1 with sha2-256, of codec raw (file chunks) or dag-pb (file nodes and directories); other codecs and CIDv0
never leave `pdfedchain.ids`, which also has the text form.

Source: https://github.com/multiformats/cid, https://github.com/multiformats/multicodec
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Self

from node.weights.errors import BlockMismatch
from node.weights.limits import BLOCK_SIZE_BYTES_MAX
from pdfedchain.ids import Cid, cid_digest

__all__ = ["Block", "Codec", "cid_of", "codec_of"]


class Codec(IntEnum):
    """Multicodec of a block's content."""

    RAW = 0x55
    DAG_PB = 0x70


def codec_of(cid: Cid) -> Codec:
    """The codec inside an identifier."""
    return Codec(cid[1])


def cid_of(codec: Codec, data: bytes) -> Cid:
    """The identifier of a block: 36 bytes."""
    return Cid(bytes((0x01, codec, 0x12, 0x20)) + hashlib.sha256(data).digest())


@dataclass(frozen=True, slots=True)
class Block:
    """Bytes that hash to their identifier. Make it with `of` or `check` only.

    Attributes:
        cid: the identifier.
        data: at most `BLOCK_SIZE_BYTES_MAX` bytes.
    """

    cid: Cid
    data: bytes

    @classmethod
    def of(cls, codec: Codec, data: bytes) -> Self:
        """The block of our own bytes."""
        assert len(data) <= BLOCK_SIZE_BYTES_MAX, "our own blocks are never larger than a chunk"
        return cls(cid_of(codec, data), data)

    @classmethod
    def check(cls, cid: Cid, data: bytes) -> Self:
        """The block of bytes that somebody else calls ``cid``. Hashes 1.8 GB/s: call it in a thread.

        Raises:
            BlockMismatch: the bytes are too many, or hash to something else.
        """
        if len(data) > BLOCK_SIZE_BYTES_MAX:
            raise BlockMismatch(cid, f"{len(data)} bytes, at most {BLOCK_SIZE_BYTES_MAX} make a block")
        if hashlib.sha256(data).digest() != cid_digest(cid):
            raise BlockMismatch(cid, f"{len(data)} bytes that hash to something else")
        return cls(cid, data)
