"""What a light client reads: headers with their finality, changes of the authority set, values with their proofs.

A header names the set that votes on the next block by its hash. So whoever trusts one header needs, to trust a later
one, only the headers at which the set changes, each with the new set itself, and the later header: everything between
them was decided by the same authorities. `pdfedchain.light` checks it, ``docs/spec/proofs.md`` specifies it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pdfedchain.codec import canonical
from pdfedchain.crypto import StateProof
from pdfedchain.crypto.hash import hash_once
from pdfedchain.ids import Hash, Size
from pdfedchain.limits import HANDOVERS_PER_BUNDLE_MAX, STATE_VALUE_SIZE_BYTES_MAX, VALUES_PER_BUNDLE_MAX
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.block import Header
from pdfedchain.types.genesis import Genesis
from pdfedchain.types.vote import Certificate

__all__ = ["HeaderAnchor", "LightBlock", "LightBundle", "ValueProof"]

#: Keys of the state; the ledger's longest is a ballot's, below 128 bytes.
StateKey = Annotated[bytes, Size(1_024)]


@canonical("pdfed/light-block/v1")
@dataclass(frozen=True, slots=True)
class LightBlock:
    """A final block without its body.

    Attributes:
        next_authorities: the set that votes on the next block where it is another one than this block's, else ``None``.
    """

    header: Header
    certificate: Certificate
    next_authorities: AuthoritySet | None

    @property
    def hash(self) -> Hash:
        """The block's hash."""
        return hash_once(self.header)

    @property
    def is_handover(self) -> bool:
        """Whether the header names another set for the next block than its own."""
        return self.header.next_authorities != self.header.authorities


@canonical("pdfed/header-anchor/v1")
@dataclass(frozen=True, slots=True)
class HeaderAnchor:
    """Where trust may begin other than at genesis: a header whose hash the reader trusts, and the set it names."""

    header: Header
    next_authorities: AuthoritySet


@canonical("pdfed/value-proof/v1")
@dataclass(frozen=True, slots=True)
class ValueProof:
    """What the state has under one key: ``None`` for nothing, with the proof of its absence."""

    key: StateKey
    value: Annotated[bytes, Size(STATE_VALUE_SIZE_BYTES_MAX)] | None
    proof: StateProof


@canonical("pdfed/light-bundle/v1")
@dataclass(frozen=True, slots=True)
class LightBundle:
    """All that convinces somebody who trusts one hash of what the state has under some keys.

    Attributes:
        anchor: what the trusted hash is of.
        blocks: later blocks in order of height: those that hand over, then the one whose state is meant.
        values: of the state after the last of the blocks; where there are none, after the anchor's.
    """

    anchor: Genesis | HeaderAnchor
    blocks: Annotated[tuple[LightBlock, ...], Size(HANDOVERS_PER_BUNDLE_MAX + 1)]
    values: Annotated[tuple[ValueProof, ...], Size(VALUES_PER_BUNDLE_MAX)]
