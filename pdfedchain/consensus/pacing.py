"""When the next height starts.

An idle chain must be quiet, yet nobody may wait for a proposer that never comes. So a height does not start by
itself, and its timers do not run, until there is a *reason*:

* transactions are waiting here (`Replica.on_transactions_waiting`);
* an empty block is due: ``heartbeat_idle_ms`` after the parent, or ``heartbeat_open_ms`` while the application has
  a deadline open, since then the passing of time alone changes the state;
* somebody else has started: a proposal, a vote or a status of this height has arrived.

The third makes the reasons of one a reason for all. A transaction that reached every pool but the proposer's
starts the others; after their propose time-out they prevote nil, these prevotes start the proposer, and the
transaction goes in with the next proposer that has it.

Even with a reason nobody starts before ``block_interval_min_ms`` has passed since the parent's time, unless others
are further already: a proposal or a vote of a later round starts a height at once, and so does
`Replica.produce`, for chains that live in one process.

Times are compared with the own clock; headers carry the proposer's. A clock that is wrong by a second makes its
owner start a second early or late, no more.
"""

from __future__ import annotations

from dataclasses import dataclass

from pdfedchain.consensus.inputs import TimerKind
from pdfedchain.types.genesis import ChainParameters

__all__ = ["Wait", "pace"]


@dataclass(frozen=True, slots=True)
class Wait:
    """Not yet: ask again after this delay, or when a reason comes up."""

    kind: TimerKind
    delay_ms: int


def pace(
    parameters: ChainParameters, *, parent_time_ms: int, now_ms: int, reason: bool, deadline_open: bool
) -> Wait | None:
    """``None`` to start now, else what to wait for."""
    earliest_ms = parent_time_ms + parameters.block_interval_min_ms
    if reason:
        kind, at_ms = TimerKind.INTERVAL, earliest_ms
    else:
        heartbeat_ms = parameters.heartbeat_open_ms if deadline_open else parameters.heartbeat_idle_ms
        kind, at_ms = TimerKind.HEARTBEAT, max(earliest_ms, parent_time_ms + heartbeat_ms)
    return None if now_ms >= at_ms else Wait(kind, at_ms - now_ms)
