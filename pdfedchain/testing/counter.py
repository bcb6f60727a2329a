"""The smallest application that can go wrong: it counts transactions, each at most once.

It serves tests of consensus and of storage. A body's extension may name things it *settles*, like the ledger's
settlements: only in a fresh proposal of round 0, and each node has an opinion of it that it may hold, deny or not
have yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pdfedchain.application import BlockContext, Execution, Judgement
from pdfedchain.crypto import StateTree
from pdfedchain.errors import InvalidBlock, InvalidTransaction
from pdfedchain.types.block import BlockBody
from pdfedchain.types.event import Event
from pdfedchain.types.genesis import Genesis

__all__ = ["CounterApplication"]

_COUNT = b"count"


class CounterApplication:
    """See the module's text.

    Args:
        opinion: what `judge` answers about an extension that settles something.
        settles: the extension to propose at this height, empty for none.

    Attributes:
        failed: (height, extension) of the failed attempts it was told of.
    """

    name = "counter"
    version = 1

    def __init__(
        self,
        *,
        opinion: Callable[[bytes], Judgement] = lambda extension: Judgement.VALID,
        settles: Callable[[int], bytes] = lambda height: b"",
    ) -> None:
        self._opinion = opinion
        self._settles = settles
        self.failed: list[tuple[int, bytes]] = []

    def genesis_state(self, genesis: Genesis) -> StateTree:
        return StateTree().put(_COUNT, (0).to_bytes(8, "big"))

    def check(self, state: StateTree, context: BlockContext, transaction: bytes) -> None:
        if state.get(b"seen/" + transaction) is not None:
            raise InvalidTransaction("seen", "this transaction was counted before")

    def propose(self, state: StateTree, context: BlockContext, candidates: Sequence[bytes]) -> BlockBody:
        fresh = [one for one in dict.fromkeys(candidates) if state.get(b"seen/" + one) is None]
        return BlockBody(tuple(fresh), self._settles(context.height) if context.round == 0 else b"")

    def execute(self, state: StateTree, context: BlockContext, body: BlockBody) -> Execution:
        if body.extension and context.round != 0:
            raise InvalidBlock("only round 0 settles")
        events: list[Event] = []
        for transaction in body.transactions:
            if state.get(b"seen/" + transaction) is not None:
                raise InvalidBlock(f"transaction {transaction.hex()} was counted before")
            state = state.put(b"seen/" + transaction, b"\x01")
            events.append(Event("counted", (), transaction[:64]))
        count = int.from_bytes(state.get(_COUNT) or b"", "big") + len(body.transactions)
        state = state.put(_COUNT, count.to_bytes(8, "big")).put(b"time", context.time_ms.to_bytes(8, "big"))
        if body.extension:
            state = state.put(b"settled/" + body.extension, context.height.to_bytes(8, "big"))
        return Execution(state, tuple(events), context.authorities)

    def judge(self, state: StateTree, context: BlockContext, body: BlockBody) -> Judgement:
        return self._opinion(body.extension) if body.extension else Judgement.VALID

    def has_open_deadline(self, state: StateTree) -> bool:
        return False

    def on_attempt_failed(self, height: int, body: BlockBody) -> None:
        self.failed.append((height, body.extension))

    @staticmethod
    def count(state: StateTree) -> int:
        """How many transactions have been counted."""
        return int.from_bytes(state.get(_COUNT) or b"", "big")
