"""The ledger's state before its first block."""

from __future__ import annotations

from pdfedchain.application import versions_text
from pdfedchain.codec import decode
from pdfedchain.crypto import StateTree, check_address
from pdfedchain.errors import DecodeError, InvalidTransaction, SignatureError
from pdfedchain.ids import Address
from pdfedchain.limits import UINT_MAX
from pdfedchain.state.accounts import add_to_pool
from pdfedchain.state.beacon import first_beacon
from pdfedchain.state.draft import Draft
from pdfedchain.state.membership import anchor_onion, begin_membership
from pdfedchain.state.participants import add_participant, add_task
from pdfedchain.types.checkpoint import Account
from pdfedchain.types.economy import Totals
from pdfedchain.types.genesis import Genesis
from pdfedchain.types.ledger import LedgerGenesis, LedgerIndex

__all__ = ["genesis_tree"]

_APPLICATION_STATE_SIZE_BYTES_MAX = 33_554_432


def genesis_tree(genesis: Genesis, *, application: str, versions: range) -> StateTree:
    """Build the state that genesis describes.

    Args:
        application, versions: what the running program executes.

    Raises:
        DecodeError: genesis is for another application, or describes no valid state.
    """
    if genesis.application != application or genesis.version not in versions:
        raise DecodeError(
            f"genesis is for {genesis.application!r} version {genesis.version};"
            f" this program executes {application!r} version {versions_text(versions)}"
        )
    initial = decode(LedgerGenesis, genesis.application_state, size_bytes_max=_APPLICATION_STATE_SIZE_BYTES_MAX)
    total = sum(allocation.amount for allocation in initial.allocations) + sum(pool.amount for pool in initial.pools)
    if total > UINT_MAX:
        raise DecodeError(f"the allocations and pools of genesis add up to {total}, at most {UINT_MAX} can be issued")
    for address in genesis.authorities.members:
        _check_key("authority", address)
    draft = Draft(StateTree())
    draft.set_parameters(initial.parameters, genesis.parameters)
    draft.set_index(LedgerIndex((), ()))
    draft.set_totals(Totals(issued=total, burned=0, open_registrations=0))
    begin_membership(draft, genesis.authorities, genesis.version)
    draft.set_beacon(first_beacon(genesis.hash))
    for onion in initial.onions:
        if onion.authority not in genesis.authorities or draft.onion(onion.authority) is not None:
            raise DecodeError(f"genesis anchors an onion of {onion.authority.hex()}, no authority or one twice")
        anchor_onion(draft, onion.authority, onion.onion, number=0)
    for allocation in initial.allocations:
        _check_key("account", allocation.address)
        if draft.account(allocation.address) != Account(0, 0):
            raise DecodeError(f"genesis allocates twice to {allocation.address.hex()}")
        draft.set_account(allocation.address, Account(allocation.amount, 0))
    for participant in initial.participants:
        _check_key("participant", participant.address)
        _check_key("reward", participant.registration.reward_address)
        if draft.participant(participant.address) is not None:
            raise DecodeError(f"genesis registers {participant.address.hex()} twice")
        add_participant(draft, participant.address, participant.registration, 0)
    for task in initial.tasks:
        try:
            add_task(draft, task)
        except InvalidTransaction as error:
            raise DecodeError(f"task {task.name!r} of genesis: {error}") from error
    for pool in initial.pools:
        task_id = draft.task_named(pool.task)
        if task_id is None:
            raise DecodeError(f"genesis fills the pool of {pool.task!r}, which is no task of it")
        add_to_pool(draft, task_id, pool.amount)
    return draft.commit()


def _check_key(what: str, address: Address) -> None:
    try:
        check_address(address)
    except SignatureError as error:
        raise DecodeError(f"{what} address of genesis: {error}") from error
