"""Something that is used up and grows again, for one user or for each of many."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

__all__ = ["Allowance", "Allowances"]

#: Users that are remembered, more than can be connected; who was quiet for the longest makes room.
_USERS_MAX: Final = 1_024


class Allowance:
    """Of one user, or of all together."""

    def __init__(self, per_s: float, most: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._most = most
        self._clock = clock
        self._left = most
        self._at = clock()

    def spend(self, amount: float) -> bool:
        """Use up so much if there is so much."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._per_s)
        self._at = now
        if amount > self._left:
            return False
        self._left -= amount
        return True

    def give_back(self, amount: float) -> None:
        """So much was not used after all."""
        self._left = min(self._most, self._left + amount)


class Allowances:
    """One for each user, all alike."""

    def __init__(self, per_s: float, most: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._most = most
        self._clock = clock
        self._by_user: dict[str, Allowance] = {}

    def spend(self, user: str, amount: float) -> bool:
        """Use up so much of a user's allowance if there is so much."""
        allowance = self._by_user.pop(user, None)
        if allowance is None:
            allowance = Allowance(self._per_s, self._most, self._clock)
        self._by_user[user] = allowance
        if len(self._by_user) > _USERS_MAX:
            del self._by_user[next(iter(self._by_user))]
        return allowance.spend(amount)

    def give_back(self, user: str, amount: float) -> None:
        """A user has not used so much after all."""
        if (allowance := self._by_user.get(user)) is not None:
            allowance.give_back(amount)
