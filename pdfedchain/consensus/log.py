"""What one height writes into its log: every input of the core, in order.

Replay feeds the entries to a new core and gets the same votes, in the same order, which the signer record signs
again with the same bytes. Therefore everything that is not a function of earlier entries is an entry: messages of
others, expired timers, our own block (its time comes from a clock, its transactions from a pool) and our own
opinions. Own votes are functions of these and are not logged. Structural verdicts are computed again.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Annotated, Final

from pdfedchain.application import Judgement
from pdfedchain.codec import canonical, decode, encode
from pdfedchain.consensus.inputs import TimerKind
from pdfedchain.consensus.messages import (
    MESSAGE_SIZE_BYTES_MAX,
    CertificateMessage,
    ProposalMessage,
    VoteMessage,
)
from pdfedchain.errors import DecodeError, StateError
from pdfedchain.ids import Hash, Range, Round, Size
from pdfedchain.types.block import Block
from pdfedchain.types.vote import Vote

__all__ = [
    "BeginEntry",
    "Entry",
    "JudgementEntry",
    "OwnBlockEntry",
    "RecoveredEntry",
    "TimeoutEntry",
    "pack_entry",
    "unpack_entry",
]

_ENTRY_SIZE_BYTES_MAX: Final = MESSAGE_SIZE_BYTES_MAX + 1_024


class _Verdict(enum.IntEnum):
    VALID = 1
    INVALID = 2
    PENDING = 3


@canonical("pdfed/log-begin/v1")
@dataclass(frozen=True, slots=True)
class BeginEntry:
    """Round 0 started."""


@canonical("pdfed/log-timeout/v1")
@dataclass(frozen=True, slots=True)
class TimeoutEntry:
    """One of the paper's timers expired."""

    kind: TimerKind
    round: Round

    def __post_init__(self) -> None:
        if self.kind > TimerKind.PRECOMMIT:
            raise ValueError(f"{self.kind.name} is no timer of a round")


@canonical("pdfed/log-own-block/v1")
@dataclass(frozen=True, slots=True)
class OwnBlockEntry:
    """The block we propose as a fresh value."""

    round: Round
    block: Block


@canonical("pdfed/log-judgement/v1")
@dataclass(frozen=True, slots=True)
class JudgementEntry:
    """Our own opinion of a fresh proposal."""

    block: Hash
    verdict: _Verdict

    @classmethod
    def of(cls, block: Hash, judgement: Judgement) -> JudgementEntry:
        return cls(block, _Verdict[judgement.name])

    @property
    def judgement(self) -> Judgement:
        return Judgement[self.verdict.name]


@canonical("pdfed/log-lock/v1")
@dataclass(frozen=True, slots=True)
class RecoveredEntry:
    """What the signer record remembers and this log had lost (`pdfedchain.consensus.inputs.Recovered`)."""

    round: Round
    step: Annotated[int, Range(0, 2)]
    locked_round: Round | None
    locked_block: Hash | None
    votes: Annotated[tuple[Vote, ...], Size(2)]


Entry = (
    RecoveredEntry
    | BeginEntry
    | TimeoutEntry
    | OwnBlockEntry
    | JudgementEntry
    | ProposalMessage
    | VoteMessage
    | CertificateMessage
)


@canonical("pdfed/log-entry/v1")
@dataclass(frozen=True, slots=True)
class _Record:
    entry: (
        RecoveredEntry
        | BeginEntry
        | TimeoutEntry
        | OwnBlockEntry
        | JudgementEntry
        | ProposalMessage
        | VoteMessage
        | CertificateMessage
    )


def pack_entry(entry: Entry) -> bytes:
    """The entry as the log stores it."""
    return encode(_Record(entry))


def unpack_entry(data: bytes) -> Entry:
    """Inverse of `pack_entry`.

    Raises:
        StateError: the log holds something this program did not write.
    """
    try:
        return decode(_Record, data, size_bytes_max=_ENTRY_SIZE_BYTES_MAX).entry
    except DecodeError as error:
        raise StateError(
            f"the consensus log holds an entry that cannot be read: {error}",
            hint="it was written by another version; finish the height with that version, or move consensus.wal away",
        ) from error
