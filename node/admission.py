"""What the pool asks about a transaction, answered by the ledger on top of the newest final state."""

from __future__ import annotations

from collections.abc import Callable

from node.mempool import Origin
from pdfedchain.application import BlockContext
from pdfedchain.consensus.blocks import Position
from pdfedchain.errors import InvalidTransaction, NotYet
from pdfedchain.ids import Address, address_text
from pdfedchain.state import Ledger, LedgerView
from pdfedchain.types.checkpoint import Account
from pdfedchain.types.transaction import Transfer, WithoutNonce

__all__ = ["Admission"]


class Admission:
    """Says who sent a transaction, whether it would succeed now, and what that verdict rests on."""

    def __init__(
        self, ledger: Ledger, position: Callable[[], Position], clock: Callable[[], int], proposer: Address
    ) -> None:
        """
        Args:
            position: where the next block goes.
            clock: milliseconds since the Unix epoch.
            proposer: this node, which would be paid the fees of its own block.
        """
        self._ledger = ledger
        self._position = position
        self._clock = clock
        self._proposer = proposer
        self._checked: tuple[Position, BlockContext] | None = None
        self._viewed: tuple[Position, LedgerView] | None = None

    def origin(self, transaction: bytes) -> Origin:
        """What a transaction says of itself; its signature is not looked at.

        Raises:
            DecodeError: it says nothing.
        """
        told = self._ledger.read(transaction).transaction
        return Origin(told.sender, None if isinstance(told.payload, WithoutNonce) else told.nonce)

    def check(self, transaction: bytes) -> None:
        """Whether it would succeed now.

        Raises:
            NotYet: it may succeed later.
            InputError: it never can, or is a stranger's that would have to wait.
        """
        position, context = self._context()
        try:
            self._ledger.check(position.state, context, transaction)
        except NotYet as error:
            sender, view = Address(self.origin(transaction).sender), self._view()
            if sender in context.authorities.members or view.participant(sender) is not None:
                raise
            if view.account(sender) != Account(0, 0):
                raise
            # Keys cost nothing: what waits must be somebody's whom the chain knows, or the pool is anybody's to fill.
            message = f"{address_text(sender)} is unknown to the chain, so nothing of it waits ({error})"
            raise InvalidTransaction("stranger", message) from error

    def basis(self, transaction: bytes) -> object:
        """All of the state that decides on a transfer; ``None`` for everything else, which may rest on anything."""
        told = self._ledger.read(transaction).transaction
        view = self._view()
        economy = view.parameters.economy
        # With a price for new accounts the receiver's counts too.
        if type(told.payload) is not Transfer or economy.account_price:
            return None
        return view.account(told.sender), economy, view.chain_parameters

    def _context(self) -> tuple[Position, BlockContext]:
        position, time_ms = self._position(), self._clock()
        if self._checked is None or self._checked[0] is not position or self._checked[1].time_ms != time_ms:
            context = position.context(round_=0, time_ms=time_ms, proposer=self._proposer)
            self._checked = position, context
        return self._checked

    def _view(self) -> LedgerView:
        position = self._position()
        if self._viewed is None or self._viewed[0] is not position:
            self._viewed = position, LedgerView(position.state)
        return self._viewed[1]
