"""Genesis: what everybody who joins a chain must agree on before the first block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pdfedchain.codec import canonical
from pdfedchain.crypto import hash_of
from pdfedchain.ids import Hash, Name, Range, Size, TimeMs, UInt
from pdfedchain.types.authorities import AuthoritySet

__all__ = ["ChainParameters", "Genesis"]

DurationMs = Annotated[int, Range(1, 7 * 24 * 3_600_000)]


@canonical("pdfed/chain-parameters/v1")
@dataclass(frozen=True, slots=True)
class ChainParameters:
    """How the chain paces itself. All durations in milliseconds.

    Attributes:
        block_interval_min_ms: least time between a parent's header time and its child's.
        heartbeat_idle_ms: an empty block after this long without transactions, so that an idle chain is quiet.
        heartbeat_open_ms: the same while the application has a deadline open.
        clock_bound_ms: a header's time further than this from the own clock gets no prevote.
        timeout_*_ms: of round 0; they double per round up to ``timeout_max_ms``.
        block_size_bytes_max: of an encoded block, within `limits.BLOCK_SIZE_BYTES_MAX`.
    """

    block_interval_min_ms: DurationMs = 500
    heartbeat_idle_ms: DurationMs = 15_000
    heartbeat_open_ms: DurationMs = 2_000
    clock_bound_ms: DurationMs = 15_000
    timeout_propose_ms: DurationMs = 3_000
    timeout_prevote_ms: DurationMs = 1_000
    timeout_precommit_ms: DurationMs = 1_000
    timeout_max_ms: DurationMs = 30_000
    block_size_bytes_max: Annotated[int, Range(1_024, 4_194_304)] = 2_097_152


@canonical("pdfed/genesis/v1")
@dataclass(frozen=True, slots=True)
class Genesis:
    """The root of trust of one chain.

    Attributes:
        application: name of the application that executes it, for example ``"pdfed-ledger"``.
        application_state: its own initial data, encoded as it likes.
    """

    chain_id: Name
    time_ms: TimeMs
    version: UInt
    authorities: AuthoritySet
    parameters: ChainParameters
    application: Name
    application_state: Annotated[bytes, Size(33_554_432)]

    @property
    def hash(self) -> Hash:
        return hash_of(self)
