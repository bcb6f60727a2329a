"""Accounts, registrations and tasks: who takes part, and in what."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from pdfedchain.application import BlockContext
from pdfedchain.crypto import check_address, hash_of
from pdfedchain.errors import InvalidTransaction, SignatureError
from pdfedchain.ids import Address, Hash
from pdfedchain.limits import TASKS_DEPLOYED_MAX, TASKS_MAX
from pdfedchain.state.accounts import add_to_pool, burn, credit, debit
from pdfedchain.state.draft import Draft
from pdfedchain.state.events import Admitted, Registered, TaskCreated, TaskFunded, Transferred
from pdfedchain.types.checkpoint import Account, Participant
from pdfedchain.types.ledger import Admission
from pdfedchain.types.task import TaskSpec
from pdfedchain.types.transaction import Admit, CreateTask, FundTask, Register, Transfer

__all__ = ["add_participant", "add_task", "admit", "create_task", "fund_task", "register", "transfer"]


def transfer(draft: Draft, context: BlockContext, sender: Address, payload: Transfer) -> None:
    """Move an amount.

    Raises:
        InvalidTransaction: a rule refuses it.
    """
    _check_key(payload.to)
    debit(draft, sender, payload.amount, "balance")
    price = draft.parameters.economy.account_price
    if price and draft.account(payload.to) == Account(0, 0):
        debit(draft, sender, price, "account-price")
        burn(draft, price)
    credit(draft, payload.to, payload.amount)
    draft.emit(Transferred(sender, payload.to, payload.amount))


def register(draft: Draft, context: BlockContext, sender: Address, payload: Register) -> None:
    """Admit a participant, or change its registration.

    Raises:
        InvalidTransaction: a rule refuses it.
    """
    if draft.participant(sender) is None and sender not in context.authorities:
        _use_admission(draft, sender)
    _check_key(payload.reward_address)
    add_participant(draft, sender, payload, context.height)


def _use_admission(draft: Draft, sender: Address) -> None:
    """Somebody new registers: admitted by an authority, or one of as many as may come by themselves.

    Participants cost nothing to make and are never deleted, so there is a bound to those that nobody vouches for.
    """
    if draft.admission(sender) is not None:
        draft.set_admission(sender, None)
        return
    parameters, totals = draft.parameters, draft.totals
    if not parameters.open_registration:
        raise InvalidTransaction("registration", "registration is not open on this chain; an authority must admit you")
    if totals.open_registrations >= parameters.open_registrations_max:
        message = f"{totals.open_registrations} have registered by themselves; an authority must admit you"
        raise InvalidTransaction("registration", message)
    draft.set_totals(replace(totals, open_registrations=totals.open_registrations + 1))


def admit(draft: Draft, context: BlockContext, authority: Address, payload: Admit) -> None:
    """Let somebody register.

    Raises:
        InvalidTransaction: a rule refuses it.
    """
    if authority not in context.authorities:
        raise InvalidTransaction("not-an-authority", "only authorities admit participants")
    _check_key(payload.participant)
    if draft.participant(payload.participant) is not None or draft.admission(payload.participant) is not None:
        raise InvalidTransaction("admitted", f"{payload.participant.hex()} is registered or admitted already")
    draft.set_admission(payload.participant, Admission(authority, context.height))
    draft.emit(Admitted(payload.participant, authority))


def add_participant(draft: Draft, address: Address, payload: Register, height: int) -> None:
    """Write a registration. It counts as new when the data commitment changes: a private ballot must rest on data
    that were committed to before the checkpoint it judges was submitted."""
    known = draft.participant(address)
    if known is not None and known.data_commitment == payload.data_commitment:
        height = known.registered_height
    draft.set_participant(
        Participant(
            address,
            payload.name,
            payload.roles,
            payload.data_commitment,
            payload.reward_address,
            payload.description,
            height,
        )
    )
    draft.emit(Registered(address, payload.name, payload.roles, payload.reward_address))


def create_task(draft: Draft, context: BlockContext, sender: Address, payload: CreateTask) -> None:
    """Deploy a task.

    Raises:
        InvalidTransaction: a rule refuses it.
    """
    if sender not in context.authorities:
        raise InvalidTransaction("not-an-authority", "only authorities deploy tasks")
    deployed, share = draft.task_count(sender), max(1, TASKS_DEPLOYED_MAX // len(context.authorities))
    if deployed >= share:
        raise InvalidTransaction("tasks", f"this authority has deployed {deployed} tasks; its share is {share}")
    debit(draft, sender, payload.pool, "pool")
    task_id = add_task(draft, payload.task)
    draft.set_task_count(sender, deployed + 1)
    if payload.pool:
        add_to_pool(draft, task_id, payload.pool)
        draft.emit(TaskFunded(task_id, sender, payload.pool))


def fund_task(draft: Draft, context: BlockContext, sender: Address, payload: FundTask) -> None:
    """Put units into the pool of a task.

    Raises:
        InvalidTransaction: a rule refuses it.
    """
    if draft.task(payload.task) is None:
        raise InvalidTransaction("unknown-task", f"no task has the hash {payload.task.hex()}")
    debit(draft, sender, payload.amount, "pool")
    add_to_pool(draft, payload.task, payload.amount)
    draft.emit(TaskFunded(payload.task, sender, payload.amount))


def add_task(draft: Draft, task: TaskSpec) -> Hash:
    """Write a new task and return its hash.

    Raises:
        InvalidTransaction: its name is taken, there are too many, or its tensor list is not in order.
    """
    if draft.task_named(task.name) is not None:
        raise InvalidTransaction("task-name", f"there is a task named {task.name!r} already")
    if len(draft.index.tasks) >= TASKS_MAX:
        raise InvalidTransaction("tasks", f"there are {TASKS_MAX} tasks already")
    if any(one.name >= two.name for one, two in pairwise(task.model.tensors)):
        raise InvalidTransaction("task", "the tensors are not sorted by name and distinct")
    task_id = hash_of(task)
    draft.add_task(task_id, task)
    draft.emit(TaskCreated(task_id, task.name))
    return task_id


def _check_key(address: Address) -> None:
    """An amount sent to a weak key is anybody's."""
    try:
        check_address(address)
    except SignatureError as error:
        raise InvalidTransaction("address", str(error)) from error
