"""The state transition of the federated-learning ledger.

A block is executed in four steps.

1. *The rules.* The proposer's contribution is mixed into the beacon, authority sets move on, what was approved takes
   effect.
2. *What time brings.* Held checkpoints get their seed; submissions nobody could fetch are rejected, and so are those
   without agreement at their deadline; windows of private ballots turn, and what is in them is counted and rewarded;
   deposits of ballots that stayed sealed are burned. No transaction can forestall this.
3. *Settlements.* The checkpoints listed by the proposer are settled as the state before the block says.
4. *Transactions*, in order; each must succeed.

A step either succeeds or raises, and whoever called gives the draft up: the tree before the block is immutable.
"""

from __future__ import annotations

from typing import Final, assert_never, get_args

from pdfedchain.application import BlockContext
from pdfedchain.crypto import StateTree
from pdfedchain.errors import InputError, InvalidBlock, InvalidTransaction
from pdfedchain.ids import Hash
from pdfedchain.limits import NONCE_AHEAD_MAX
from pdfedchain.state import (
    ballots,
    beacon,
    checkpoints,
    evidence,
    governance,
    participants,
    quarantine,
    settlements,
)
from pdfedchain.state.accounts import pay_fee
from pdfedchain.state.bonds import advance_unopened
from pdfedchain.state.draft import Draft
from pdfedchain.state.errors import NotYet
from pdfedchain.state.membership import advance_sets
from pdfedchain.state.private import advance_private_ballots
from pdfedchain.state.subjects import subjects_of
from pdfedchain.state.verified import VerifiedTransactions
from pdfedchain.state.view import LedgerView
from pdfedchain.types.block import BlockBody
from pdfedchain.types.checkpoint import Account, CheckpointStatus, RejectionReason
from pdfedchain.types.transaction import (
    Admit,
    ApproveChange,
    CommitBallot,
    CreateTask,
    FundTask,
    Have,
    LiftQuarantine,
    ProposeChange,
    Register,
    RenewOnion,
    RevealBallot,
    SignedTransaction,
    SubmitCheckpoint,
    SubmitEvidence,
    Transaction,
    Transfer,
    WithoutNonce,
)

__all__ = ["apply_transaction", "begin_block", "execute_body", "open_transaction"]

_WITHOUT_NONCE: Final = frozenset(get_args(WithoutNonce))


def execute_body(
    tree: StateTree, context: BlockContext, body: BlockBody, verified: VerifiedTransactions | None = None
) -> Draft:
    """Execute a block on the state before it.

    Args:
        verified: transactions that need not be opened again; the result does not depend on it.

    Raises:
        InvalidBlock: it is not allowed here.
    """
    extension = settlements.extension_of(body)
    draft = begin_block(tree, context, extension.preimage)
    settlements.settle(draft, LedgerView(tree), context, extension.settlements)
    for position, data in enumerate(body.transactions):
        try:
            signed = open_transaction(data, context.chain_id, verified)
            apply_transaction(draft, context, signed)
        except InputError as error:
            raise InvalidBlock(f"transaction {position} of block {context.height} is refused: {error}") from error
        draft.subjects.append(subjects_of(signed))
    return draft


def begin_block(tree: StateTree, context: BlockContext, preimage: Hash | None) -> Draft:
    """The rules and what time brings, in a new draft.

    Args:
        preimage: the proposer's contribution to the beacon.

    Raises:
        InvalidBlock: the contribution is not the one the proposer committed to.
    """
    before, draft = LedgerView(tree), Draft(tree)
    # The proposer may be on its last turn: its onion is asked before the set moves on.
    beacon.advance_beacon(draft, context, preimage)
    advance_sets(draft, context)
    governance.advance_rules(draft, context)
    governance.advance_proposals(draft, context)
    parameters = draft.parameters
    for checkpoint in before.open_checkpoints():
        blocks, time_ms = context.height - checkpoint.phase_height, context.time_ms - checkpoint.phase_time_ms
        if checkpoint.status is CheckpointStatus.HELD:
            if beacon.gives_seeds(before, context, blocks):
                checkpoints.start_scoring(draft, context, checkpoint)
        elif checkpoint.status is CheckpointStatus.SUBMITTED:
            if parameters.have.has_passed(blocks, time_ms):
                settlements.reject(draft, context, checkpoint, RejectionReason.UNAVAILABLE, None)
        elif (
            settlements.scoring_closed(before, context, checkpoint)
            # What is agreed on waits for a block that settles it, however long that takes.
            and settlements.agreement(before, context, checkpoint) is None
        ):
            settlements.reject(draft, context, checkpoint, RejectionReason.DISAGREEMENT, None)
    advance_private_ballots(draft, context)
    advance_unopened(draft, context)
    return draft


def open_transaction(data: bytes, chain_id: str, verified: VerifiedTransactions | None = None) -> SignedTransaction:
    """Decode a transaction and check all that does not depend on state.

    Args:
        verified: what need not be opened again; this one is added.

    Raises:
        DecodeError: it is no transaction of this ledger.
        InvalidTransaction: it is another chain's.
        SignatureError: its sender did not sign it.
    """
    signed = (VerifiedTransactions() if verified is None else verified).open(data)
    if signed.transaction.chain_id != chain_id:
        raise InvalidTransaction("chain", f"it is for chain {signed.transaction.chain_id!r}, this is {chain_id!r}")
    return signed


def apply_transaction(draft: Draft, context: BlockContext, signed: SignedTransaction) -> None:
    """Execute one opened transaction. After an exception the draft must not be used, but from outside an attempt.

    Raises:
        InvalidTransaction: a rule refuses it.
    """
    transaction = signed.transaction
    sender, payload = transaction.sender, transaction.payload
    _use_nonce(draft, transaction)
    pay_fee(draft, context, signed)
    match payload:
        case Transfer():
            participants.transfer(draft, context, sender, payload)
        case Register():
            participants.register(draft, context, sender, payload)
        case Admit():
            participants.admit(draft, context, sender, payload)
        case FundTask():
            participants.fund_task(draft, context, sender, payload)
        case LiftQuarantine():
            quarantine.lift(draft, context, sender, payload)
        case CreateTask():
            participants.create_task(draft, context, sender, payload)
        case SubmitCheckpoint():
            checkpoints.submit(draft, context, sender, payload)
        case Have():
            checkpoints.have(draft, context, sender, payload)
        case CommitBallot():
            ballots.commit(draft, context, sender, payload)
        case RevealBallot():
            ballots.reveal(draft, context, sender, payload)
        case ProposeChange():
            governance.propose(draft, context, sender, payload, signed.hash)
        case ApproveChange():
            governance.approve(draft, context, sender, payload)
        case SubmitEvidence():
            evidence.submit_evidence(draft, context, sender, payload)
        case RenewOnion():
            beacon.renew_onion(draft, context, sender, payload)
        case _:
            assert_never(payload)


def _use_nonce(draft: Draft, transaction: Transaction) -> None:
    """Check and use up the account's nonce, or check that there is none."""
    if type(transaction.payload) in _WITHOUT_NONCE:
        if transaction.nonce != 0:
            raise InvalidTransaction("nonce", f"{transaction.nonce}, this kind of transaction carries nonce 0")
        return
    account = draft.account(transaction.sender)
    if transaction.nonce != account.nonce:
        message = f"{transaction.nonce}, the account's next one is {account.nonce}"
        ahead = account.nonce < transaction.nonce <= account.nonce + NONCE_AHEAD_MAX
        raise (NotYet if ahead else InvalidTransaction)("nonce", message)
    draft.set_account(transaction.sender, Account(account.balance, account.nonce + 1))
