"""Checkpoints, participants, accounts: what the ledger keeps about each."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Annotated, Final

from pdfedchain.codec import canonical
from pdfedchain.ids import Address, Cid, Hash, Height, Name, Size, TimeMs, UInt
from pdfedchain.limits import AUTHORITIES_MAX, PARENTS_MAX, TEXT_LENGTH_MAX
from pdfedchain.types.score import ScoreReport
from pdfedchain.types.transaction import TrainingClaim

__all__ = [
    "NO_DATA_COMMITMENT",
    "Account",
    "Checkpoint",
    "CheckpointStatus",
    "Participant",
    "RejectionReason",
    "TaskRecord",
]

#: `Participant.data_commitment` of somebody whom genesis registers before it knows any data.
NO_DATA_COMMITMENT: Final = Hash(bytes(32))


class CheckpointStatus(enum.StrEnum):
    """Where a checkpoint is in its life (PDFed ledger, in this order).

    ``QUEUED -> SUBMITTED -> HELD -> SCORING -> ACCEPTED | REJECTED``, and ``ACCEPTED <-> QUARANTINED``.
    """

    #: Waits until fewer checkpoints of the task are in scoring.
    QUEUED = "queued"
    #: Authorities fetch the weights.
    SUBMITTED = "submitted"
    #: A quorum has the weights; the seed is fixed in the next block.
    HELD = "held"
    #: Authorities compute, commit and reveal.
    SCORING = "scoring"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    #: Accepted, but private ballots found too much memorised: neither a parent nor rewarded, until authorities lift it.
    QUARANTINED = "quarantined"


class RejectionReason(enum.StrEnum):
    """Why a checkpoint was rejected. The first five are `UnscorableReason` values."""

    MALFORMED = "malformed"
    WRONG_ARCHITECTURE = "wrong_architecture"
    NON_FINITE = "non_finite"
    DIGEST_MISMATCH = "digest_mismatch"
    DIVERGED = "diverged"
    #: No quorum of authorities could fetch the weights by the deadline.
    UNAVAILABLE = "unavailable"
    #: No quorum of authorities agreed on a score by the deadline.
    DISAGREEMENT = "disagreement"
    #: The Frechet distance exceeds the task's ceiling.
    FID_CEILING = "fid_ceiling"
    #: The share of confirmed copies exceeds the task's ceiling.
    MEMORISATION_CEILING = "memorisation_ceiling"


@canonical("pdfed/account/v1")
@dataclass(frozen=True, slots=True)
class Account:
    """``nonce`` counts the transactions of this account that have been executed."""

    balance: UInt
    nonce: UInt


@canonical("pdfed/participant/v1")
@dataclass(frozen=True, slots=True)
class Participant:
    """A registered participant (`Register`)."""

    address: Address
    name: Name
    roles: UInt
    data_commitment: Hash
    reward_address: Address
    description: Annotated[str, Size(TEXT_LENGTH_MAX)]
    registered_height: Height


@canonical("pdfed/task-record/v1")
@dataclass(frozen=True, slots=True)
class TaskRecord:
    """What changes about a task; the `TaskSpec` itself never does.

    Attributes:
        queue, open: checkpoints in order of submission.
        best: the accepted checkpoint with the lowest QN, the first of equals.
        pool: units that rewards are paid from.
        confirmed: the best of those whose private ballots are closed and did not quarantine it.
        baseline_micro: QN of the last accepted improvement, which the next is measured from; ``None`` before.
    """

    queue: Annotated[tuple[Cid, ...], Size(10_000)]
    open: Annotated[tuple[Cid, ...], Size(10_000)]
    best: Cid | None
    pool: UInt = 0
    confirmed: Cid | None = None
    baseline_micro: UInt | None = None


@canonical("pdfed/checkpoint/v1")
@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One submitted checkpoint and what became of it. Heights and times are ``None`` until they happen.

    Attributes:
        holders: authorities that said `Have`, in order of saying it.
        electorate: the authorities whose scores count: members at the moment of the Have quorum.
        electorate_set_id: that authority set's number.
        seed: fixes the sampler's noise; ``None`` until one block after the Have quorum.
        commitments: how many of the electorate have sealed a score.
        reveal_height: height at which revealing opened (a quorum of commitments was final).
        report: the settled components; ``None`` unless scored.
        bond: units that the author has locked; zero once settled.
        baseline_micro: QN that its improvement is measured from, fixed when it is accepted; ``None`` before.
    """

    weights: Cid
    task: Hash
    author: Address
    weights_digest: Hash
    size_bytes: UInt
    parents: Annotated[tuple[Cid, ...], Size(PARENTS_MAX)]
    training: TrainingClaim
    status: CheckpointStatus
    reason: RejectionReason | None
    submitted_height: Height
    submitted_time_ms: TimeMs
    #: Start of the phase the status names; deadlines count from here.
    phase_height: Height
    phase_time_ms: TimeMs
    holders: Annotated[tuple[Address, ...], Size(AUTHORITIES_MAX)]
    electorate: Annotated[tuple[Address, ...], Size(AUTHORITIES_MAX)]
    electorate_set_id: UInt | None
    seed: Hash | None
    commitments: UInt
    reveal_height: Height | None
    report: ScoreReport | None
    settled_height: Height | None
    bond: UInt = 0
    baseline_micro: UInt | None = None
