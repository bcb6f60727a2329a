"""The federated-learning ledger as an `Application`.

`Ledger` itself remembers four things, and none is chain state: how to ask for this node's own scores, which
settlements have failed lately, so that a dispute costs one round now and then and not every round 0, which
signatures it has verified, and what the last block came to, since a proposer executes its own block again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from pdfedchain.application import BlockContext, Execution, Judgement, Rules
from pdfedchain.crypto import StateTree
from pdfedchain.errors import InputError, InvalidBlock, InvalidTransaction, StateError
from pdfedchain.ids import Address, Cid, Hash
from pdfedchain.limits import SETTLEMENTS_PER_BLOCK_MAX, SIGNATURE_SIZE_BYTES, TRANSACTIONS_PER_BLOCK_MAX
from pdfedchain.state import settlements
from pdfedchain.state.beacon import due_onion
from pdfedchain.state.draft import Draft
from pdfedchain.state.errors import NotYet
from pdfedchain.state.genesis import genesis_tree
from pdfedchain.state.governance import rules_at
from pdfedchain.state.onion import OnionSecrets
from pdfedchain.state.subjects import subjects_of
from pdfedchain.state.transition import apply_transaction, begin_block, execute_body, open_transaction
from pdfedchain.state.verified import VerifiedTransactions
from pdfedchain.state.view import LedgerView
from pdfedchain.types.ballot import Outcome
from pdfedchain.types.block import BlockBody
from pdfedchain.types.genesis import Genesis
from pdfedchain.types.transaction import SignedTransaction

__all__ = ["Ledger", "OwnResults"]

#: This node's own score of a checkpoint; ``None`` while there is none.
OwnResults = Callable[[Cid], Outcome | None]

#: Header, list of settlements and framing of a block.
_BLOCK_OVERHEAD_SIZE_BYTES: Final = 2_048
_TRANSACTION_OVERHEAD_SIZE_BYTES: Final = 5

#: A settlement that failed is left alone for 2, 4, ... heights, at most this many.
_BACKOFF_HEIGHTS_MAX: Final = 16
_BACKOFFS_MAX: Final = 1_000


def no_own_results(checkpoint: Cid) -> Outcome | None:
    """What a node without a scorer knows."""
    return None


class Ledger:
    """See `pdfedchain.application.Application` for the contract of each method."""

    name: str = "pdfed-ledger"
    version: int = 1
    #: `BlockContext.version` says under which of them a block is executed.
    versions: range = range(1, 2)

    def __init__(self, own_results: OwnResults = no_own_results, onions: OnionSecrets | None = None) -> None:
        """
        Args:
            own_results: answers from memory or disk at once; scoring itself happens elsewhere.
            onions: this node's contributions to the beacon; whoever proposes on a chain with onions needs them.
        """
        self._own_results = own_results
        self._onions = onions
        self._backoffs: dict[Cid, tuple[int, int]] = {}
        self._verified = VerifiedTransactions()
        self._last: tuple[StateTree, BlockContext, BlockBody, Execution] | None = None

    def genesis_state(self, genesis: Genesis) -> StateTree:
        return genesis_tree(genesis, application=self.name, versions=self.versions)

    def check(self, state: StateTree, context: BlockContext, transaction: bytes) -> None:
        draft = Draft(state, is_trial=True)
        size_bytes_max = _body_size_bytes_max(draft) - _TRANSACTION_OVERHEAD_SIZE_BYTES
        if len(transaction) > size_bytes_max:
            # Waiting for ever, it would ask for a block after every block.
            raise InvalidTransaction("size", f"{len(transaction)} bytes, a block has room for {size_bytes_max}")
        apply_transaction(draft, context, open_transaction(transaction, context.chain_id, self._verified))

    def read(self, transaction: bytes) -> SignedTransaction:
        """What a transaction says; its signature is not looked at.

        Raises:
            DecodeError: it is no transaction of this ledger.
        """
        return self._verified.read(transaction)

    def propose(self, state: StateTree, context: BlockContext, candidates: Sequence[bytes]) -> BlockBody:
        settled = tuple(self._worth_settling(LedgerView(state), context)) if context.round == 0 else ()
        preimage = self._preimage(LedgerView(state), context)
        draft = begin_block(state, context, preimage)
        settlements.settle(draft, LedgerView(state), context, settled)
        transactions = _choose(draft, context, candidates, self._verified)
        body = BlockBody(transactions, settlements.extension_bytes(settled, preimage))
        # Choosing has executed it.
        self._last = state, context, body, _execution(draft)
        return body

    def execute(self, state: StateTree, context: BlockContext, body: BlockBody) -> Execution:
        if self._last is None or self._last[0] is not state or self._last[1:3] != (context, body):
            draft = execute_body(state, context, body, self._verified)
            self._last = state, context, body, _execution(draft)
        return self._last[3]

    def rules(self, state: StateTree, height: int) -> Rules:
        return rules_at(LedgerView(state), height)

    def judge(self, state: StateTree, context: BlockContext, body: BlockBody) -> Judgement:
        view = LedgerView(state)
        try:
            listed = settlements.extension_of(body).settlements
        except InvalidBlock:
            return Judgement.INVALID
        verdicts = {self._judge_one(view, context, cid) for cid in listed}
        for verdict in (Judgement.INVALID, Judgement.PENDING):
            if verdict in verdicts:
                return verdict
        return Judgement.VALID

    def _judge_one(self, view: LedgerView, context: BlockContext, cid: Cid) -> Judgement:
        checkpoint = view.checkpoint(cid)
        agreed = None if checkpoint is None else settlements.agreement(view, context, checkpoint)
        if checkpoint is None or agreed is None:
            return Judgement.INVALID
        return settlements.judge(view, checkpoint, agreed, self._own_results(cid))

    def has_open_deadline(self, state: StateTree) -> bool:
        view = LedgerView(state)
        index, governance = view.index, view.governance
        return (
            bool(index.private or index.unopened)
            or governance.voting != governance.following
            or any(record.open for record in view.task_records())
        )

    def on_attempt_failed(self, height: int, body: BlockBody) -> None:
        """Note that round 0 of a height failed with this proposal: leave what it settled alone for some heights.

        Only this node's next proposals depend on it.
        """
        # The replica tells of this node's own valid proposals only, so the extension is one `propose` made.
        for cid in settlements.extension_of(body).settlements:
            failures, _ = self._backoffs.pop(cid, (0, 0))
            self._backoffs[cid] = (failures + 1, height + min(2 ** (failures + 1), _BACKOFF_HEIGHTS_MAX))
        while len(self._backoffs) > _BACKOFFS_MAX:
            del self._backoffs[next(iter(self._backoffs))]

    def _preimage(self, view: LedgerView, context: BlockContext) -> Hash | None:
        onion = due_onion(view, context.proposer)
        if onion is None:
            return None
        if self._onions is None or self._onions.address != context.proposer or not self._onions.owns(onion):
            raise StateError(
                f"{context.proposer.hex()} owes the beacon a contribution that this node cannot compute",
                hint="the onion anchored on chain was made with another key; have the authority removed and added anew",
            )
        return self._onions.preimage(onion)

    def _worth_settling(self, view: LedgerView, context: BlockContext) -> list[Cid]:
        """What this node agrees with and has not failed with lately."""
        worth = []
        for checkpoint, agreed in settlements.settleable(view, context):
            cid = checkpoint.weights
            _, not_before = self._backoffs.get(cid, (0, 0))
            own = self._own_results(cid)
            if context.height > not_before and settlements.judge(view, checkpoint, agreed, own) is Judgement.VALID:
                worth.append(cid)
        return worth[:SETTLEMENTS_PER_BLOCK_MAX]


def _execution(draft: Draft) -> Execution:
    return Execution(draft.commit(), draft.events, draft.governance.voting, tuple(draft.subjects))


def _body_size_bytes_max(draft: Draft) -> int:
    return draft.chain_parameters.block_size_bytes_max - _BLOCK_OVERHEAD_SIZE_BYTES


def _choose(
    draft: Draft, context: BlockContext, candidates: Sequence[bytes], verified: VerifiedTransactions
) -> tuple[bytes, ...]:
    """The candidates that succeed one after the other, in their order, but each sender's by nonce.

    One that does not fit any more is not even opened: smaller ones after it may still fit.
    """
    size_bytes_max = _body_size_bytes_max(draft)
    chosen: list[bytes] = []
    waiting: dict[tuple[Address, int], tuple[bytes, SignedTransaction]] = {}
    size_bytes = 0
    for candidate in candidates:
        room_size_bytes = size_bytes_max - size_bytes - _TRANSACTION_OVERHEAD_SIZE_BYTES
        if len(chosen) == TRANSACTIONS_PER_BLOCK_MAX or room_size_bytes < SIGNATURE_SIZE_BYTES:
            break
        if len(candidate) > room_size_bytes:
            continue
        try:
            signed = open_transaction(candidate, context.chain_id, verified)
        except InputError:
            continue
        data: bytes | None = candidate
        while data is not None and len(chosen) < TRANSACTIONS_PER_BLOCK_MAX:
            needed = len(data) + _TRANSACTION_OVERHEAD_SIZE_BYTES
            if size_bytes + needed > size_bytes_max:
                break
            sender, nonce = signed.transaction.sender, signed.transaction.nonce
            try:
                with draft.attempt():
                    apply_transaction(draft, context, signed)
            except NotYet:
                waiting.setdefault((sender, nonce), (data, signed))
                break
            except InputError:
                break
            chosen.append(data)
            draft.subjects.append(subjects_of(signed))
            size_bytes += needed
            data, signed = waiting.pop((sender, nonce + 1), (None, signed))
    return tuple(chosen)
