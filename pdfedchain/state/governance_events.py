"""Events about the chain's own rules: proposals, authority sets, parameters, evidence, onions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pdfedchain.codec import canonical
from pdfedchain.ids import Address, Hash, Height, Size, UInt
from pdfedchain.limits import TEXT_LENGTH_MAX
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.genesis import ChainParameters
from pdfedchain.types.parameters import LedgerParameters

__all__ = [
    "AuthoritiesChanged",
    "ChangeApproved",
    "ChangeEnacted",
    "ChangeExpired",
    "ChangeProposed",
    "ChangeRefused",
    "EvidenceAccepted",
    "OnionExhausted",
    "OnionRenewed",
    "RulesChanged",
]


@canonical("pdfed/event/change-proposed/v1")
@dataclass(frozen=True, slots=True)
class ChangeProposed:
    kind: ClassVar[str] = "change-proposed"
    proposal: Hash
    proposer: Address

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return self.proposal, self.proposer


@canonical("pdfed/event/change-approved/v1")
@dataclass(frozen=True, slots=True)
class ChangeApproved:
    kind: ClassVar[str] = "change-approved"
    proposal: Hash
    authority: Address

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return self.proposal, self.authority


@canonical("pdfed/event/change-enacted/v1")
@dataclass(frozen=True, slots=True)
class ChangeEnacted:
    """``effect_height``: the first block under the new rule."""

    kind: ClassVar[str] = "change-enacted"
    proposal: Hash
    effect_height: Height

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return (self.proposal,)


@canonical("pdfed/event/change-refused/v1")
@dataclass(frozen=True, slots=True)
class ChangeRefused:
    """A quorum approved what has become impossible; nothing changes."""

    kind: ClassVar[str] = "change-refused"
    proposal: Hash
    reason: Annotated[str, Size(TEXT_LENGTH_MAX)]

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return (self.proposal,)


@canonical("pdfed/event/change-expired/v1")
@dataclass(frozen=True, slots=True)
class ChangeExpired:
    kind: ClassVar[str] = "change-expired"
    proposal: Hash

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return (self.proposal,)


@canonical("pdfed/event/authorities-changed/v1")
@dataclass(frozen=True, slots=True)
class AuthoritiesChanged:
    """``authorities`` vote from ``first_height`` on, which is the next block."""

    kind: ClassVar[str] = "authorities-changed"
    first_height: Height
    authorities: AuthoritySet

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return ()


@canonical("pdfed/event/rules-changed/v1")
@dataclass(frozen=True, slots=True)
class RulesChanged:
    """All rules in effect from this block on; at least one of them is new."""

    kind: ClassVar[str] = "rules-changed"
    version: UInt
    parameters: LedgerParameters
    chain_parameters: ChainParameters

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return ()


@canonical("pdfed/event/evidence-accepted/v1")
@dataclass(frozen=True, slots=True)
class EvidenceAccepted:
    """An alarm. ``evicted`` is false for the last authority, which stays, and for one that was leaving anyway."""

    kind: ClassVar[str] = "evidence-accepted"
    culprit: Address
    offence_height: Height
    evicted: bool
    submitter: Address

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return self.culprit, self.submitter


@canonical("pdfed/event/onion-renewed/v1")
@dataclass(frozen=True, slots=True)
class OnionRenewed:
    """``number``: of the onion that will follow."""

    kind: ClassVar[str] = "onion-renewed"
    authority: Address
    number: UInt

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return (self.authority,)


@canonical("pdfed/event/onion-exhausted/v1")
@dataclass(frozen=True, slots=True)
class OnionExhausted:
    """An alarm: until it renews its onion, this authority's turns add nothing that others could not foresee."""

    kind: ClassVar[str] = "onion-exhausted"
    authority: Address

    @property
    def subjects(self) -> tuple[bytes, ...]:
        return (self.authority,)
