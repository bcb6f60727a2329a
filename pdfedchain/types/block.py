"""Blocks. The engine sees transactions as opaque bytes; the application gives them meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pdfedchain.codec import canonical, encode, tag_of
from pdfedchain.crypto import tagged_hash
from pdfedchain.crypto.hash import hash_once
from pdfedchain.ids import Address, Hash, Height, Name, Round, Size, TimeMs, UInt
from pdfedchain.limits import (
    BLOCK_SIZE_BYTES_MAX,
    EXTENSION_SIZE_BYTES_MAX,
    TRANSACTION_SIZE_BYTES_MAX,
    TRANSACTIONS_PER_BLOCK_MAX,
)
from pdfedchain.types.vote import Certificate

__all__ = ["Block", "BlockBody", "FinalBlock", "Header"]

TransactionBytes = Annotated[bytes, Size(TRANSACTION_SIZE_BYTES_MAX, low=1)]


@canonical("pdfed/body/v1")
@dataclass(frozen=True, slots=True)
class BlockBody:
    """What a block carries.

    Attributes:
        transactions: encoded, in order of execution; every one must succeed.
        extension: what the proposer adds itself through `Application.propose`; for the ledger, the checkpoints
            this block settles.
    """

    transactions: Annotated[tuple[TransactionBytes, ...], Size(TRANSACTIONS_PER_BLOCK_MAX)]
    extension: Annotated[bytes, Size(EXTENSION_SIZE_BYTES_MAX)]

    @property
    def encoded(self) -> bytes:
        """Its encoding. That of the last one asked is remembered: a body is hashed, measured and stored."""
        last = _last_encoded.get("body")
        if last is None or last[0] is not self:
            last = _last_encoded["body"] = self, encode(self)
        return last[1]

    @property
    def hash(self) -> Hash:
        return tagged_hash(tag_of(BlockBody), self.encoded)


@canonical("pdfed/header/v1")
@dataclass(frozen=True, slots=True)
class Header:
    """What a block hash covers.

    Attributes:
        version: of the protocol and application that execute the block.
        round: in which the value was first proposed; a re-proposal in a later round leaves it as it was.
        time_ms: above the parent's; authorities prevote it only within a bound of their own clocks.
        parent: hash of the block before, for height 1 the hash of genesis.
        body: hash of the `BlockBody`.
        state_root: Merkle root of the state *after* this block.
        authorities: hash of the `AuthoritySet` that votes on this block.
        next_authorities: hash of the set that votes on the next one.
    """

    version: UInt
    chain_id: Name
    height: Height
    round: Round
    time_ms: TimeMs
    parent: Hash
    proposer: Address
    body: Hash
    state_root: Hash
    authorities: Hash
    next_authorities: Hash


@canonical("pdfed/block/v1")
@dataclass(frozen=True, slots=True)
class Block:
    """A header and its body. ``hash`` is the header's; `is_consistent` ties the body to it."""

    header: Header
    body: BlockBody

    @property
    def hash(self) -> Hash:
        return hash_once(self.header)

    @property
    def is_consistent(self) -> bool:
        """Whether the header names this body."""
        return self.header.body == self.body.hash

    @property
    def size_bytes(self) -> int:
        """Length of its encoding: of an array's and a tag's first byte, the tag, the header and the body."""
        return 2 + len(tag_of(Block)) + len(encode(self.header)) + len(self.body.encoded)


@canonical("pdfed/final-block/v1")
@dataclass(frozen=True, slots=True)
class FinalBlock:
    """A block and a quorum of precommits for it: what nodes store and send to those who catch up."""

    block: Block
    certificate: Certificate


_last_encoded: dict[str, tuple[BlockBody, bytes]] = {}

#: A `FinalBlock` adds a certificate of at most this size to a block.
FINAL_BLOCK_SIZE_BYTES_MAX = BLOCK_SIZE_BYTES_MAX + 65_536
