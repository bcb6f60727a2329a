"""How a chain changes its own rules: proposals, evidence, and what the state keeps about both.

A `Change` is proposed by one authority, approved by a quorum of them, and takes effect two blocks after the one that
completed the quorum. The rules are in `pdfedchain.state.governance`, the specification in docs/spec/governance.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pdfedchain.codec import canonical
from pdfedchain.ids import Address, Hash, Height, Range, Size, TimeMs, UInt
from pdfedchain.limits import (
    AUTHORITIES_MAX,
    AUTHORITY_TERMS_MAX,
    ONION_LENGTH_MAX,
    PROPOSALS_OPEN_MAX,
    SCHEDULED_CHANGES_MAX,
)
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.genesis import ChainParameters
from pdfedchain.types.parameters import LedgerParameters

__all__ = [
    "AddAuthority",
    "AuthorityOnion",
    "Change",
    "ChangeProposal",
    "Conviction",
    "Governance",
    "Onion",
    "OnionAnchor",
    "OpenProposal",
    "RemoveAuthority",
    "ScheduledChange",
    "SetChainParameters",
    "SetLedgerParameters",
    "Term",
    "UpgradeVersion",
]


@canonical("pdfed/onion-anchor/v1")
@dataclass(frozen=True, slots=True)
class OnionAnchor:
    """Commits an authority to its future contributions to the beacon: the end of a chain of hashes.

    Attributes:
        salt: public; with the authority's key it gives the start of the chain (`pdfedchain.state.onion`). Never used
            twice, or what one chain of blocks has revealed would be known in another.
        length: how many contributions there are.
        anchor: the start hashed ``length`` times.
    """

    salt: Hash
    length: Annotated[int, Range(1, ONION_LENGTH_MAX)]
    anchor: Hash


@canonical("pdfed/onion/v1")
@dataclass(frozen=True, slots=True)
class Onion:
    """What is left of an authority's chain of hashes.

    Attributes:
        salt: see `OnionAnchor`.
        number: of this chain, counted from 0; each renewal adds one.
        remaining: contributions not made yet.
        last: the newest contribution, or the anchor: hash of the next one.
        renewal: follows when nothing remains.
    """

    salt: Hash
    number: UInt
    remaining: UInt
    last: Hash
    renewal: OnionAnchor | None


@canonical("pdfed/authority-onion/v1")
@dataclass(frozen=True, slots=True)
class AuthorityOnion:
    """An authority's first anchor, in genesis."""

    authority: Address
    onion: OnionAnchor


@canonical("pdfed/change/add-authority/v1")
@dataclass(frozen=True, slots=True)
class AddAuthority:
    """One more authority, last in turn.

    ``onion`` is ``None`` for one that contributes nothing of its own to the beacon: its turns leave it as it is, and
    seeds wait for the next one who does (`pdfedchain.state.beacon`).
    """

    address: Address
    onion: OnionAnchor | None


@canonical("pdfed/change/remove-authority/v1")
@dataclass(frozen=True, slots=True)
class RemoveAuthority:
    """One authority less; never the last one."""

    address: Address


@canonical("pdfed/change/ledger-parameters/v1")
@dataclass(frozen=True, slots=True)
class SetLedgerParameters:
    """Other rules of the ledger. Deadlines that run already follow the new ones."""

    parameters: LedgerParameters


@canonical("pdfed/change/chain-parameters/v1")
@dataclass(frozen=True, slots=True)
class SetChainParameters:
    """Another pace of the chain."""

    parameters: ChainParameters


@canonical("pdfed/change/upgrade-version/v1")
@dataclass(frozen=True, slots=True)
class UpgradeVersion:
    """From ``height`` on blocks are of this version. Replaces a scheduled upgrade; the present version cancels it."""

    version: UInt
    height: Height


Change = AddAuthority | RemoveAuthority | SetLedgerParameters | SetChainParameters | UpgradeVersion


@canonical("pdfed/change-proposal/v1")
@dataclass(frozen=True, slots=True)
class ChangeProposal:
    """A proposal that is open; its name is the hash of the transaction that made it.

    Attributes:
        approvals: authorities in order of approval, the proposer first.
    """

    change: AddAuthority | RemoveAuthority | SetLedgerParameters | SetChainParameters | UpgradeVersion
    proposer: Address
    height: Height
    time_ms: TimeMs
    approvals: Annotated[tuple[Address, ...], Size(10 * AUTHORITIES_MAX)]


@canonical("pdfed/open-proposal/v1")
@dataclass(frozen=True, slots=True)
class OpenProposal:
    """What must be known of a proposal in every block: when it expires."""

    proposal: Hash
    proposer: Address
    height: Height
    time_ms: TimeMs


@canonical("pdfed/scheduled-change/v1")
@dataclass(frozen=True, slots=True)
class ScheduledChange:
    """An approved change that the block of this height is the first to follow."""

    height: Height
    change: SetLedgerParameters | SetChainParameters | UpgradeVersion


@canonical("pdfed/term/v1")
@dataclass(frozen=True, slots=True)
class Term:
    """From this height on, until the next term's, this authority set votes."""

    set_id: UInt
    first_height: Height


@canonical("pdfed/governance/v1")
@dataclass(frozen=True, slots=True)
class Governance:
    """Who decides, and what is decided but not in effect.

    Attributes:
        version: of the next block, unless ``scheduled`` says otherwise.
        voting: the set that votes on the next block.
        following: the set that votes on the block after that.
        terms: sets that evidence may still be about, oldest first; the last is ``voting``'s.
        proposals: the open ones, in order of proposal.
        scheduled: approved and not in effect, in order of approval.
    """

    version: UInt
    voting: AuthoritySet
    following: AuthoritySet
    terms: Annotated[tuple[Term, ...], Size(AUTHORITY_TERMS_MAX, low=1)]
    proposals: Annotated[tuple[OpenProposal, ...], Size(PROPOSALS_OPEN_MAX)]
    scheduled: Annotated[tuple[ScheduledChange, ...], Size(SCHEDULED_CHANGES_MAX)]


@canonical("pdfed/conviction/v1")
@dataclass(frozen=True, slots=True)
class Conviction:
    """The newest evidence against one key.

    Attributes:
        offence_height: height of the contradicting messages.
        height: of the block with the evidence; what the key did until one block later is settled with it.
        evicted: whether it left the set for this; the last authority does not.
    """

    culprit: Address
    offence_height: Height
    height: Height
    evicted: bool
