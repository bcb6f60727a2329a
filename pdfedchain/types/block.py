"""Blocks. The engine sees transactions as opaque bytes; the application gives them meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pdfedchain.codec import canonical
from pdfedchain.crypto import hash_of
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
        return hash_of(self.header)

    @property
    def is_consistent(self) -> bool:
        """Whether the header names this body."""
        return self.header.body == hash_of(self.body)


@canonical("pdfed/final-block/v1")
@dataclass(frozen=True, slots=True)
class FinalBlock:
    """A block and a quorum of precommits for it: what nodes store and send to those who catch up."""

    block: Block
    certificate: Certificate


#: A `FinalBlock` adds a certificate of at most this size to a block.
FINAL_BLOCK_SIZE_BYTES_MAX = BLOCK_SIZE_BYTES_MAX + 65_536
