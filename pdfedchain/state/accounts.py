"""Moving units between accounts, pools and the fire. Nothing here makes a unit or loses one.

Who pays a fee: the senders of `Transfer`, `Register`, `CreateTask`, `FundTask` and `SubmitCheckpoint`, to the proposer
of the block. Free are the transactions that a node owes to others (`Have`, ballots) or sends as an authority, since
they are bounded by what they answer; and a participant's first registration, so that one can join without a unit.
"""

from __future__ import annotations

from dataclasses import replace

from pdfedchain.application import BlockContext
from pdfedchain.codec import encode
from pdfedchain.errors import InvalidTransaction
from pdfedchain.ids import Address, Hash
from pdfedchain.state.draft import Draft
from pdfedchain.state.view import LedgerView
from pdfedchain.types.checkpoint import NO_DATA_COMMITMENT, Account
from pdfedchain.types.transaction import (
    CreateTask,
    FundTask,
    Payload,
    Register,
    SignedTransaction,
    SubmitCheckpoint,
    Transfer,
)

__all__ = ["add_to_pool", "burn", "credit", "debit", "pay_fee", "take_from_pool"]


def credit(draft: Draft, address: Address, amount: int) -> None:
    """Add units to an account."""
    if amount:
        account = draft.account(address)
        draft.set_account(address, Account(account.balance + amount, account.nonce))


def debit(draft: Draft, address: Address, amount: int, rule: str) -> None:
    """Take units from an account.

    Raises:
        InvalidTransaction: it has fewer; under this rule.
    """
    if amount:
        account = draft.account(address)
        if amount > account.balance:
            raise InvalidTransaction(rule, f"{amount} is more than the balance of {account.balance}")
        draft.set_account(address, Account(account.balance - amount, account.nonce))


def add_to_pool(draft: Draft, task: Hash, amount: int) -> None:
    """Put units into the pool of a task."""
    if amount:
        record = draft.task_record(task)
        draft.set_task_record(task, replace(record, pool=record.pool + amount))


def take_from_pool(draft: Draft, task: Hash, amount: int) -> int:
    """Take units from the pool of a task: so many, or what is left. Returns how many."""
    record = draft.task_record(task)
    taken = min(amount, record.pool)
    if taken:
        draft.set_task_record(task, replace(record, pool=record.pool - taken))
    return taken


def burn(draft: Draft, amount: int) -> None:
    """Put units where nobody gets them from."""
    if amount:
        totals = draft.totals
        draft.set_totals(replace(totals, burned=totals.burned + amount))


def pay_fee(draft: Draft, context: BlockContext, signed: SignedTransaction) -> None:
    """Move a transaction's fee from its sender to the proposer.

    Raises:
        InvalidTransaction: the sender does not have it.
    """
    economy, sender = draft.parameters.economy, signed.transaction.sender
    if (economy.fee or economy.fee_per_byte) and _pays(draft, sender, signed.transaction.payload):
        fee = economy.fee + economy.fee_per_byte * len(encode(signed))
        debit(draft, sender, fee, "fee")
        credit(draft, context.proposer, fee)


def _pays(view: LedgerView, sender: Address, payload: Payload) -> bool:
    if isinstance(payload, Register):
        known = view.participant(sender)
        placeholder = known is not None and known.data_commitment == NO_DATA_COMMITMENT
        return known is not None and not (placeholder and payload.data_commitment != NO_DATA_COMMITMENT)
    return isinstance(payload, Transfer | CreateTask | FundTask | SubmitCheckpoint)
