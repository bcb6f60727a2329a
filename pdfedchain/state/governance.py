"""Changing the rules: an authority proposes, a quorum approves, two blocks later it is so.

- An approval counts while its authority is a member of the set that votes on the block being executed *and* of the
  one decided to follow. Who is on the way out, or out, has no say in what comes after; who is not in yet neither. The
  quorum is of the set that votes: ``3 * count > 2 * n``.
- When the set changes, open proposals are counted again: one may be approved because others left.
- A quorum enacts at once. Changes enacted by one block apply one after the other, in the order in which their quorums
  were complete, each to what the one before left. One that has become impossible by then is refused and recorded.
- The block that enacts has height h: block h+2 is the first under the new rules, whatever they are about. An upgrade of
  the version names its own height instead, h+2 or later.
- A proposal that is not approved expires. It cannot be taken back, and neither can an approval.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import assert_never

from pdfedchain.application import BlockContext, Rules
from pdfedchain.crypto import check_address
from pdfedchain.errors import InvalidTransaction, SignatureError
from pdfedchain.ids import Address, Hash
from pdfedchain.limits import GOVERNED_BLOCK_SIZE_BYTES_MIN, PROPOSALS_PER_AUTHORITY_MAX, SCHEDULED_CHANGES_MAX
from pdfedchain.state.draft import Draft
from pdfedchain.state.governance_events import (
    ChangeApproved,
    ChangeEnacted,
    ChangeExpired,
    ChangeProposed,
    ChangeRefused,
    RulesChanged,
)
from pdfedchain.state.membership import add_authority, remove_authority
from pdfedchain.state.view import LedgerView
from pdfedchain.types.governance import (
    AddAuthority,
    Change,
    ChangeProposal,
    Governance,
    OpenProposal,
    RemoveAuthority,
    ScheduledChange,
    SetChainParameters,
    SetLedgerParameters,
    UpgradeVersion,
)
from pdfedchain.types.transaction import ApproveChange, ProposeChange

__all__ = ["EFFECT_BLOCKS", "advance_proposals", "advance_rules", "approve", "propose", "rules_at"]

#: A change enacted by block h is in effect for block h + 2.
EFFECT_BLOCKS = 2


def propose(draft: Draft, context: BlockContext, sender: Address, payload: ProposeChange, proposal: Hash) -> None:
    """Open a proposal, with its proposer's approval.

    Args:
        proposal: hash of the transaction; the proposal's name.

    Raises:
        InvalidTransaction: a rule refuses it.
    """
    if sender not in context.authorities:
        raise InvalidTransaction("not-an-authority", "only authorities propose changes")
    governance = draft.governance
    if sum(one.proposer == sender for one in governance.proposals) >= PROPOSALS_PER_AUTHORITY_MAX:
        raise InvalidTransaction("proposals", f"{PROPOSALS_PER_AUTHORITY_MAX} proposals of this authority are open")
    _check_change(payload.change)
    reason = _reason_against(draft, context, payload.change)
    if reason:
        raise InvalidTransaction("change", reason)
    record = ChangeProposal(payload.change, sender, context.height, context.time_ms, (sender,))
    draft.set_proposal(proposal, record)
    opened = OpenProposal(proposal, sender, context.height, context.time_ms)
    draft.set_governance(replace(governance, proposals=(*governance.proposals, opened)))
    draft.emit(ChangeProposed(proposal, sender))
    _count(draft, context, proposal, record)


def approve(draft: Draft, context: BlockContext, sender: Address, payload: ApproveChange) -> None:
    """Approve an open proposal.

    Raises:
        InvalidTransaction: a rule refuses it.
    """
    if sender not in context.authorities:
        raise InvalidTransaction("not-an-authority", "only authorities approve changes")
    record = draft.proposal(payload.proposal)
    if record is None:
        raise InvalidTransaction("proposal", f"no proposal {payload.proposal.hex()} is open")
    if sender in record.approvals:
        raise InvalidTransaction("approved", f"{sender.hex()} has approved it already")
    # Members that left are of no use to the count; without them the list has a bound.
    kept = tuple(one for one in record.approvals if one in context.authorities)
    record = replace(record, approvals=(*kept, sender))
    draft.set_proposal(payload.proposal, record)
    draft.emit(ChangeApproved(payload.proposal, sender))
    _count(draft, context, payload.proposal, record)


def advance_rules(draft: Draft, context: BlockContext) -> None:
    """At the beginning of a block: take over what was scheduled for its height."""
    governance = draft.governance
    due = [one.change for one in governance.scheduled if one.height <= context.height]
    if not due:
        return
    parameters, chain_parameters, version = draft.parameters, draft.chain_parameters, governance.version
    for change in due:
        match change:
            case SetLedgerParameters():
                parameters = change.parameters
            case SetChainParameters():
                chain_parameters = change.parameters
            case UpgradeVersion():
                # What was decided earlier is in the past by now; a version never goes back.
                version = max(version, change.version)
            case _:
                assert_never(change)
    waiting = tuple(one for one in governance.scheduled if one.height > context.height)
    draft.set_parameters(parameters, chain_parameters)
    draft.set_governance(replace(governance, version=version, scheduled=waiting))
    draft.emit(RulesChanged(version, parameters, chain_parameters))


def advance_proposals(draft: Draft, context: BlockContext) -> None:
    """At the beginning of a block: proposals expire; where the set is new, the others are counted again."""
    governance = draft.governance
    if not governance.proposals:
        return
    is_new_set = any(term.first_height == context.height for term in governance.terms)
    deadline = draft.parameters.proposal
    for opened in governance.proposals:
        if deadline.has_passed(context.height - opened.height, context.time_ms - opened.time_ms):
            _close(draft, opened.proposal)
            draft.emit(ChangeExpired(opened.proposal))
        elif is_new_set:
            record = draft.proposal(opened.proposal)
            assert record is not None, "open proposals are kept"
            _count(draft, context, opened.proposal, record)


def rules_at(view: LedgerView, height: int) -> Rules:
    """Version and pace of the block of a height.

    Args:
        view: the state after the block before.
    """
    governance = view.governance
    version, parameters = governance.version, view.chain_parameters
    for change in _due(governance.scheduled, height):
        if isinstance(change, UpgradeVersion):
            version = max(version, change.version)
        elif isinstance(change, SetChainParameters):
            parameters = change.parameters
    return Rules(version, parameters)


def _due(scheduled: Iterable[ScheduledChange], height: int) -> list[Change]:
    return [one.change for one in scheduled if one.height <= height]


def _check_change(change: Change) -> None:
    """What can be wrong with a change whatever the state is."""
    if isinstance(change, AddAuthority):
        try:
            check_address(change.address)
        except SignatureError as error:
            raise InvalidTransaction("address", str(error)) from error
    if isinstance(change, SetChainParameters):
        size_bytes_max = change.parameters.block_size_bytes_max
        if size_bytes_max < GOVERNED_BLOCK_SIZE_BYTES_MIN:
            message = f"{size_bytes_max} bytes may not carry the repeal; at least {GOVERNED_BLOCK_SIZE_BYTES_MIN}"
            raise InvalidTransaction("change", message)


def _reason_against(view: LedgerView, context: BlockContext, change: Change) -> str:
    """Why a change could not be enacted by this block; empty where it could."""
    governance = view.governance
    if isinstance(change, AddAuthority) and change.address in governance.following:
        return f"{change.address.hex()} is an authority already"
    if (
        isinstance(change, AddAuthority)
        and change.onion is not None
        and view.has_anchored(change.address, change.onion)
    ):
        return f"{change.address.hex()} has used this onion before; its node makes another with a new card"
    if isinstance(change, RemoveAuthority) and change.address not in governance.following:
        return f"{change.address.hex()} is no authority"
    if isinstance(change, UpgradeVersion):
        if change.height < context.height + EFFECT_BLOCKS:
            return f"block {change.height} is too near; the earliest is {context.height + EFFECT_BLOCKS}"
        if change.version < governance.version:
            return f"version {change.version} is older than the present {governance.version}"
        for one in governance.scheduled:
            if isinstance(one.change, UpgradeVersion) and _stays(one, context) and change.version < one.change.version:
                return f"version {change.version} is older than {one.change.version}, scheduled for block {one.height}"
    return ""


def _count(draft: Draft, context: BlockContext, proposal: Hash, record: ChangeProposal) -> None:
    """Enact a proposal if a quorum has approved it."""
    following = draft.governance.following
    approvals = sum(one in context.authorities and one in following for one in record.approvals)
    if not context.authorities.is_quorum(approvals):
        return
    _close(draft, proposal)
    reason = _enact(draft, context, record.change)
    if reason:
        draft.emit(ChangeRefused(proposal, reason))
    else:
        effect_height = context.height + EFFECT_BLOCKS
        if isinstance(record.change, UpgradeVersion):
            effect_height = record.change.height
        draft.emit(ChangeEnacted(proposal, effect_height))


def _enact(draft: Draft, context: BlockContext, change: Change) -> str:
    reason = _reason_against(draft, context, change)
    if reason:
        return reason
    match change:
        case AddAuthority():
            return add_authority(draft, change.address, change.onion)
        case RemoveAuthority():
            return remove_authority(draft, context, change.address)
        case SetLedgerParameters() | SetChainParameters():
            return _schedule(draft, ScheduledChange(context.height + EFFECT_BLOCKS, change), draft.governance)
        case UpgradeVersion():
            governance = draft.governance
            kept = tuple(
                one
                for one in governance.scheduled
                if not isinstance(one.change, UpgradeVersion) or _stays(one, context)
            )
            return _schedule(draft, ScheduledChange(change.height, change), replace(governance, scheduled=kept))
        case _:
            assert_never(change)


def _stays(upgrade: ScheduledChange, context: BlockContext) -> bool:
    """Whether an upgrade is in effect before anything decided by this block could be, so cannot be replaced."""
    return upgrade.height < context.height + EFFECT_BLOCKS


def _schedule(draft: Draft, scheduled: ScheduledChange, governance: Governance) -> str:
    if len(governance.scheduled) >= SCHEDULED_CHANGES_MAX:
        return f"{SCHEDULED_CHANGES_MAX} changes wait for their height already"
    draft.set_governance(replace(governance, scheduled=(*governance.scheduled, scheduled)))
    return ""


def _close(draft: Draft, proposal: Hash) -> None:
    governance = draft.governance
    still_open = tuple(one for one in governance.proposals if one.proposal != proposal)
    draft.set_governance(replace(governance, proposals=still_open))
    draft.delete_proposal(proposal)
