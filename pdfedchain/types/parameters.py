"""Rules of one ledger that its authorities may change while it runs.

They stand apart from `pdfedchain.types.ledger` because transactions carry them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pdfedchain.codec import canonical
from pdfedchain.ids import Range, UInt
from pdfedchain.limits import PRIVATE_VOTERS_MAX
from pdfedchain.types.economy import FREE, Economy

__all__ = ["Deadline", "LedgerParameters"]


@canonical("pdfed/deadline/v1")
@dataclass(frozen=True, slots=True)
class Deadline:
    """Passes when *both* this many blocks and this much chain time lie behind its start."""

    blocks: Annotated[int, Range(1, 10**9)]
    time_ms: Annotated[int, Range(1, 10**12)]

    def has_passed(self, blocks: int, time_ms: int) -> bool:
        """Whether ``blocks`` and ``time_ms`` since the start are both enough."""
        return blocks >= self.blocks and time_ms >= self.time_ms


@canonical("pdfed/ledger-parameters/v1")
@dataclass(frozen=True, slots=True)
class LedgerParameters:
    """Rules of one ledger.

    Attributes:
        open_registration: anybody may register; otherwise only authorities and whoever one of them has admitted.
        have: for a quorum of authorities to hold the weights.
        scoring: from the seed to a settlement; then the checkpoint is rejected as a disagreement.
        private_commit: window after acceptance in which participants seal private ballots.
        private_reveal: window after that in which they open them.
        late_reveal: after a settlement, for electors to open what they have sealed and lose no deposit.
        quarantine_voters_min: fewer revealed private ballots quarantine nothing. With four, no single one can.
        open_registrations_max: participants that nobody admitted; further ones need an admission.
        economy: what submissions, ballots and transactions cost.
        proposal: a proposed change that is not approved expires.
        evidence_blocks_max: evidence is about messages of at most this many heights ago.
    """

    open_registration: bool
    have: Deadline
    scoring: Deadline
    private_commit: Deadline
    private_reveal: Deadline
    late_reveal: Deadline = Deadline(10, 60_000)
    quarantine_voters_min: Annotated[int, Range(1, PRIVATE_VOTERS_MAX)] = 4
    open_registrations_max: UInt = 10_000
    economy: Economy = FREE
    proposal: Deadline = Deadline(1_000, 7 * 24 * 3_600_000)
    evidence_blocks_max: Annotated[int, Range(1, 10**9)] = 100_000
