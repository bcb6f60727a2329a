"""What a command says: tables for people, or one JSON object as the last line for programs.

With ``--json`` nothing but that object goes to standard output; remarks and progress go to standard error, as they
always do.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["Output"]

_PROGRESS_LINE_INTERVAL_S = 5.0


class Output:
    """Where a command writes. Streams are looked up when written to, so that tests can replace them."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._progress_open = False
        self._progress_last = ("", 0.0)

    def say(self, text: str = "") -> None:
        """Text for people; nothing with ``--json``."""
        if not self.as_json:
            self._close_progress()
            print(text)

    def note(self, text: str) -> None:
        """A remark that is not the answer: to standard error."""
        self._close_progress()
        print(text, file=sys.stderr, flush=True)

    def result(self, plain: dict[str, Any]) -> None:
        """The answer for programs: one line of JSON; nothing without ``--json``."""
        if self.as_json:
            self._close_progress()
            print(json.dumps(plain), flush=True)

    def error(self, message: str, hint: str) -> None:
        """Why the command failed and what to do: the answer with ``--json``, else a sentence to standard error."""
        if self.as_json:
            self.result({"error": message, "hint": hint})
        else:
            self.note(f"pdfed: {message}" + (f"\n  {hint}" if hint else ""))

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Columns as wide as they need to be; numbers to the right. Nothing with ``--json``."""
        body = [["–" if cell is None else str(cell) for cell in row] for row in rows]
        widths = [max(len(line[column]) for line in [list(headers), *body]) for column in range(len(headers))]
        right = [
            bool(body)
            and all(line[column].replace(".", "").replace("–", "").isdigit() or line[column] == "–" for line in body)
            for column in range(len(headers))
        ]
        for line in [list(headers), *body]:
            cells = (
                cell.rjust(width) if to_right else cell.ljust(width)
                for cell, width, to_right in zip(line, widths, right, strict=True)
            )
            self.say("  ".join(cells).rstrip())

    def progress(self, stage: str, done: int, total: int) -> None:
        """How far something is: one line that rewrites itself on a terminal, else a line now and then."""
        text = f"{stage} {done}/{total}" if total else stage
        if sys.stderr.isatty():
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
            self._progress_open = True
            return
        last_stage, last_s = self._progress_last
        now_s = time.monotonic()
        if stage != last_stage or now_s - last_s >= _PROGRESS_LINE_INTERVAL_S:
            self._progress_last = (stage, now_s)
            print(text, file=sys.stderr, flush=True)

    def _close_progress(self) -> None:
        if self._progress_open:
            self._progress_open = False
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
