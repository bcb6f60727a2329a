"""Power cuts at a chosen write: stores, logs and signer records in memory that all share one fuse.

Around every write, and before every effect that is carried out, there is a *point*. A fuse blows at the n-th point
from when it was set, once, by raising `PowerCutError` through whatever was going on: the node of the simulator then
stops just there. Running once without blowing counts the points; running once per point tries them all.
"""

from __future__ import annotations

from dataclasses import dataclass

from pdfedchain.application import Execution
from pdfedchain.crypto import SigningKey
from pdfedchain.ids import Hash
from pdfedchain.store.memory import MemoryStore
from pdfedchain.store.signer import MemorySigner
from pdfedchain.store.wal import MemoryLog
from pdfedchain.types.block import FinalBlock

__all__ = ["Fuse", "FusedLog", "FusedSigner", "FusedStore", "PowerCutError"]


class PowerCutError(Exception):
    """The node has no power any more."""


@dataclass(slots=True)
class Fuse:
    """Blows when ``left`` reaches 0 from above.

    Attributes:
        left: points until it blows; 0 or less for never.
        points: passed so far.
        lose_tail: whether what the log had not synced is lost with the power.
    """

    left: int = 0
    points: int = 0
    lose_tail: bool = False

    def point(self) -> None:
        """Raises: PowerCutError: this is the one."""
        self.points += 1
        self.left -= 1
        if self.left == 0:
            raise PowerCutError


class FusedLog(MemoryLog):
    """A `MemoryLog` with a point before and after each write."""

    def __init__(self, fuse: Fuse) -> None:
        super().__init__()
        self._fuse = fuse

    def begin(self, height: int) -> None:
        self._fuse.point()
        super().begin(height)
        self._fuse.point()

    def append(self, entry: bytes) -> None:
        self._fuse.point()
        super().append(entry)
        self._fuse.point()

    def sync(self) -> None:
        self._fuse.point()
        super().sync()
        self._fuse.point()


class FusedSigner(MemorySigner):
    """A `MemorySigner` with a point before and after each signature."""

    def __init__(self, fuse: Fuse) -> None:
        super().__init__()
        self._fuse = fuse

    def sign(
        self, height: int, round_: int, step: int, *, block: Hash | None, message: bytes, key: SigningKey
    ) -> bytes:
        self._fuse.point()
        signature = super().sign(height, round_, step, block=block, message=message, key=key)
        self._fuse.point()
        return signature


class FusedStore(MemoryStore):
    """A `MemoryStore` with a point before and after each commit."""

    def __init__(self, fuse: Fuse) -> None:
        super().__init__()
        self._fuse = fuse

    def commit(self, final: FinalBlock, execution: Execution) -> None:
        self._fuse.point()
        super().commit(final, execution)
        self._fuse.point()
