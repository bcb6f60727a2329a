"""How long a fetch waits for a peer."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import trio

from node.weights.errors import PeerFaultKind

__all__ = ["Patience", "PeerFailed", "patience"]


class PeerFailed(Exception):
    """A peer is to be dropped."""

    def __init__(self, kind: PeerFaultKind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class Patience:
    """One wait after the other, each of so long at most. A scope for each would be a tenth of receiving a block."""

    def __init__(self, timeout_s: float, scope: trio.CancelScope) -> None:
        self._timeout_s = timeout_s
        self._scope = scope

    def begin(self) -> None:
        """Something is owed from now on."""
        self._scope.deadline = trio.current_time() + self._timeout_s

    def rest(self) -> None:
        """It is here, and nothing is waited for."""
        self._scope.deadline = math.inf


@contextlib.contextmanager
def patience(timeout_s: float) -> Iterator[Patience]:
    """Waits for one peer inside the block; the first begins with it.

    Raises:
        PeerFailed: a wait has taken too long.
    """
    with trio.move_on_after(timeout_s) as scope:
        yield Patience(timeout_s, scope)
    if scope.cancelled_caught:
        raise PeerFailed(PeerFaultKind.STALLED, f"nothing for {timeout_s:g} s")
