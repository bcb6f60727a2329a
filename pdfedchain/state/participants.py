"""Accounts, registrations and tasks: who takes part, and in what."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from pdfedchain.application import BlockContext
from pdfedchain.crypto import check_address, hash_of
from pdfedchain.errors import InvalidTransaction, SignatureError
from pdfedchain.ids import Address
from pdfedchain.limits import TASKS_MAX
from pdfedchain.state.draft import Draft
from pdfedchain.state.events import Registered, TaskCreated, Transferred
from pdfedchain.types.checkpoint import Participant
from pdfedchain.types.task import TaskSpec
from pdfedchain.types.transaction import CreateTask, Register, Transfer

__all__ = ["add_participant", "add_task", "create_task", "register", "transfer"]


def transfer(draft: Draft, context: BlockContext, sender: Address, payload: Transfer) -> None:
    """Move an amount.

    Raises:
        InvalidTransaction: a rule refuses it.
    """
    _check_key(payload.to)
    source = draft.account(sender)
    if payload.amount > source.balance:
        raise InvalidTransaction("balance", f"{payload.amount} is more than the balance of {source.balance}")
    draft.set_account(sender, replace(source, balance=source.balance - payload.amount))
    target = draft.account(payload.to)
    draft.set_account(payload.to, replace(target, balance=target.balance + payload.amount))
    draft.emit(Transferred(sender, payload.to, payload.amount))


def register(draft: Draft, context: BlockContext, sender: Address, payload: Register) -> None:
    """Admit a participant, or change its registration.

    Raises:
        InvalidTransaction: a rule refuses it.
    """
    known = draft.participant(sender)
    if known is None and not draft.parameters.open_registration and sender not in context.authorities:
        raise InvalidTransaction("registration", "registration is not open on this chain; it is for authorities only")
    _check_key(payload.reward_address)
    add_participant(draft, sender, payload, context.height)


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
    draft.emit(Registered(address, payload.name, payload.roles))


def create_task(draft: Draft, context: BlockContext, sender: Address, payload: CreateTask) -> None:
    """Deploy a task.

    Raises:
        InvalidTransaction: a rule refuses it.
    """
    if sender not in context.authorities:
        raise InvalidTransaction("not-an-authority", "only authorities deploy tasks")
    add_task(draft, payload.task)


def add_task(draft: Draft, task: TaskSpec) -> None:
    """Write a new task.

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


def _check_key(address: Address) -> None:
    """An amount sent to a weak key is anybody's."""
    try:
        check_address(address)
    except SignatureError as error:
        raise InvalidTransaction("address", str(error)) from error
