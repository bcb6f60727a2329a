"""What left the killed processes, kept by the parent: nothing signed twice, no final block lost or changed."""

from __future__ import annotations

__all__ = ["BrokenPromiseError", "Ledger"]


class BrokenPromiseError(AssertionError):
    """A restart contradicted what had left the process before."""


class Ledger:
    """Takes lines of `tests.crash.fleet` from one process after another."""

    def __init__(self) -> None:
        self.signatures = 0
        self._signed: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._final: dict[str, str] = {}
        self._reached: dict[str, int] = {}

    @property
    def height(self) -> int:
        """The highest final height that anybody has told."""
        return max(self._reached.values(), default=0)

    def take(self, output: str, *, killed: bool) -> None:
        """Everything one process said. What it was saying when it died may be cut off.

        Raises:
            BrokenPromiseError: it contradicts what an earlier process said.
        """
        lines = output.split("\n")[:-1]
        told: dict[str, int] = {}
        for line in lines:
            match line.split(" "):
                case ["signed", *slot, block, signature]:
                    self._sign(tuple(slot), (block, signature))
                case ["final", node, height, block]:
                    if self._final.setdefault(height, block) != block:
                        raise BrokenPromiseError(f"two final blocks of height {height}")
                    told[node] = max(told.get(node, 0), int(height))
                case _:
                    raise BrokenPromiseError(f"unexpected: {line}")
        for node, height in self._reached.items():
            # A process that was killed early may not have come as far as to tell what it has.
            if not killed and told.get(node, 0) < height:
                raise BrokenPromiseError(f"node {node} had block {height} and has only {told.get(node, 0)} now")
        self._reached |= {node: max(height, self._reached.get(node, 0)) for node, height in told.items()}

    def _sign(self, slot: tuple[str, ...], said: tuple[str, ...]) -> None:
        known = self._signed.setdefault(slot, said)
        if known != said:
            raise BrokenPromiseError(f"signed twice at {slot}: {known} and {said}")
        self.signatures = len(self._signed)
