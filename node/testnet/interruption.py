"""An interruption that cannot get lost.

Python raises `KeyboardInterrupt` wherever it is, also in a finalizer or a callback of an import or of SQLite, and there
it is written out and forgotten. So it is noted as well, and a loop asks in every turn.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

__all__ = ["Interruption"]


class Interruption:
    """Notes SIGINT while it is entered, besides raising `KeyboardInterrupt`; the main thread alone can do that.

    Where SIGINT is ignored, as in what a script starts in the background, it stays ignored.
    """

    def __init__(self) -> None:
        self._came = False

    def __enter__(self) -> Interruption:
        self._before = signal.getsignal(signal.SIGINT)
        is_ignored = self._before is signal.SIG_IGN
        self._is_watching = threading.current_thread() is threading.main_thread() and not is_ignored
        if self._is_watching:
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._is_watching:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._came = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raise `KeyboardInterrupt` again if one came."""
        if self._came:
            raise KeyboardInterrupt
