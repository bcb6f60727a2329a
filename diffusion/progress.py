"""How long-running functions tell how far they are.

They take a `Report` and call it at every natural step; whoever listens decides how often to pass it on.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Report", "silent"]

#: Called with the stage's name, steps done, steps in all, and the present loss (0.0 where there is none).
Report = Callable[[str, int, int, float], None]


def silent(stage: str, done: int, total: int, loss: float) -> None:
    """A `Report` for callers who do not listen."""
