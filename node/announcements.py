"""Which announcements of final blocks are passed on.

Anybody may announce anything, and whoever passes it on multiplies it. So only what may be true and is news here goes
on: a height above ours, not by more than the chain can have run ahead of a node that keeps up, and each height once.
Whoever makes up announcements can thus send `AHEAD_MAX` of them through the network, and one more for each block. A
node that is further behind passes nothing on: it hears of others' heights from their hellos and asks for itself.
"""

from __future__ import annotations

from typing import Final

__all__ = ["AHEAD_MAX", "Announcements"]

#: A node that is further behind pulls in batches and tells nobody meanwhile.
AHEAD_MAX: Final = 16


class Announcements:
    """What one node has passed on of the heights above its own."""

    def __init__(self) -> None:
        self._passed: set[int] = set()

    def is_news(self, height: int, *, ours: int) -> bool:
        """Whether to pass an announcement on; true at most once for each height."""
        self._passed = {passed for passed in self._passed if passed > ours}
        if not ours < height <= ours + AHEAD_MAX or height in self._passed:
            return False
        self._passed.add(height)
        return True
