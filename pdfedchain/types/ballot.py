"""Ballots: sealed reports. An authority's score of a checkpoint, or a participant's private evaluation.

Commit, then reveal: ``commitment = H(tag, chain, checkpoint, voter, kind, report, salt)``. Everything is inside,
so a commitment can neither be copied for another voter nor opened as another kind.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Annotated

from pdfedchain.codec import canonical
from pdfedchain.crypto import hash_of
from pdfedchain.ids import Address, Cid, Hash, Height, Name, Size, TimeMs, UInt
from pdfedchain.limits import SALT_SIZE_BYTES_MAX, SALT_SIZE_BYTES_MIN
from pdfedchain.types.score import ScoreReport, Unscorable

__all__ = ["Ballot", "BallotKind", "Outcome", "Salt", "commitment_of"]

Salt = Annotated[bytes, Size(SALT_SIZE_BYTES_MAX, low=SALT_SIZE_BYTES_MIN)]
Outcome = ScoreReport | Unscorable


class BallotKind(enum.StrEnum):
    """Which of the two questions a ballot answers."""

    #: The consensus score against the task's reference set, by an authority of the electorate.
    SCORE = "score"
    #: The same components against private images, by a registered participant, for accepted checkpoints.
    PRIVATE = "private"


@canonical("pdfed/sealed-ballot/v1")
@dataclass(frozen=True, slots=True)
class _Sealed:
    chain_id: Name
    checkpoint: Cid
    voter: Address
    kind: BallotKind
    report: Outcome
    salt: Salt


def commitment_of(
    chain_id: str, checkpoint: Cid, voter: Address, kind: BallotKind, report: Outcome, salt: bytes
) -> Hash:
    """The commitment that seals a report."""
    return hash_of(_Sealed(chain_id, checkpoint, voter, kind, report, salt))


@canonical("pdfed/ballot/v1")
@dataclass(frozen=True, slots=True)
class Ballot:
    """One voter's ballot as the ledger keeps it.

    Attributes:
        report: ``None`` until it is revealed.
        deposit: units that the voter has locked; zero once it is revealed or the deposit is forfeited.
    """

    checkpoint: Cid
    kind: BallotKind
    voter: Address
    commitment: Hash
    committed_height: Height
    committed_time_ms: TimeMs
    report: Outcome | None
    revealed_height: Height | None
    deposit: UInt = 0
