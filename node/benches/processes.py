"""Several processes of a bench that speak with this one by lines of JSON.

Each prints an object with its ``address``, is told all ``addresses``, answers when it is connected to the others, and
from then on answers each command with what it measured. It ends with its input.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

from pdfedchain.errors import StateError

__all__ = ["Processes"]

_STOP_TIMEOUT_S: Final = 20.0


class Processes:
    """Running modules that are connected to each other inside the ``with`` block."""

    def __init__(self, modules: Sequence[Sequence[str]], directory: Path) -> None:
        """
        Args:
            modules: for each process its module and arguments.
            directory: takes what they print as errors.
        """
        self._processes: list[subprocess.Popen[str]] = []
        for module in modules:
            with (directory / f"{'-'.join(module[1:3])}.log").open("wb") as errors:
                process = subprocess.Popen(
                    (sys.executable, "-m", *module),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    bufsize=1,
                )
            self._processes.append(process)

    def __enter__(self) -> Self:
        addresses = [answer["address"] for answer in self._hear()]
        self._say({"addresses": addresses})
        self._hear()
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def load(self, **command: Any) -> list[dict[str, Any]]:
        """Have all do this; what each measured.

        Raises:
            StateError: one has ended.
        """
        self._say(command)
        return self._hear()

    def _say(self, command: dict[str, Any]) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(json.dumps(command) + "\n")

    def _hear(self) -> list[dict[str, Any]]:
        answers = []
        for process in self._processes:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise StateError("a process of the bench has ended")
            answers.append(json.loads(line))
        return answers
