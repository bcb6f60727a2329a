"""How long to refuse who breaks a rule: twice as long each time, up to a bound, until it has kept to it for long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

__all__ = ["BAN_FIRST_S", "BAN_MAX_S", "FAULT_MEMORY_S", "Escalation"]

BAN_FIRST_S: Final = 30.0
BAN_MAX_S: Final = 3_600.0
FAULT_MEMORY_S: Final = 86_400.0


class Escalation:
    """The records of many, of whom the one that was quiet for the longest makes room.

    Args:
        first_s, max_s: after the first time, and at most.
        memory_s: who did nothing for so long has a clean record again.
        remembered_max: records kept.
    """

    def __init__(
        self, clock: Callable[[], float], *, first_s: float, max_s: float, memory_s: float, remembered_max: int
    ) -> None:
        self._clock = clock
        self._first_s = first_s
        self._max_s = max_s
        self._memory_s = memory_s
        self._remembered_max = remembered_max
        self._records: dict[str, tuple[int, float]] = {}

    def __len__(self) -> int:
        """Records kept now."""
        return len(self._records)

    def next_s(self, who: str) -> float:
        """Note that it happened again; for how long it is refused now."""
        now = self._clock()
        before, at = self._records.pop(who, (0, now))
        count = before + 1 if now - at <= self._memory_s else 1
        self._records[who] = (count, now)
        if len(self._records) > self._remembered_max:
            del self._records[next(iter(self._records))]
        return min(self._first_s * 2.0 ** (count - 1), self._max_s)
