"""Who decides: authority sets that follow one another, and how long each is remembered.

Three sets are in play while block h is executed. The set that votes on h is told by whoever executes it
(`BlockContext.authorities`); ``voting`` will vote on h+1 and stands in the header of h; ``following`` will vote on h+2,
and it is the only one that block h can still change. So a change takes effect two blocks after the one that makes it,
and the header in between hands over from one set to the other under the signatures of the old one.

A set whose time is over stays in the state for as long as evidence may be about it, under its number.
"""

from __future__ import annotations

from dataclasses import replace

from pdfedchain.application import BlockContext
from pdfedchain.ids import Address
from pdfedchain.limits import AUTHORITIES_MAX, AUTHORITY_TERMS_MAX
from pdfedchain.state.draft import Draft
from pdfedchain.state.governance_events import AuthoritiesChanged
from pdfedchain.state.view import LedgerView
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.governance import Governance, Onion, OnionAnchor, Term

__all__ = ["add_authority", "advance_sets", "anchor_onion", "begin_membership", "remove_authority", "set_at"]


def begin_membership(draft: Draft, authorities: AuthoritySet, version: int) -> None:
    """Genesis: the first set votes until it is changed."""
    draft.set_authority_set(authorities)
    draft.set_governance(Governance(version, authorities, authorities, (Term(authorities.set_id, 1),), (), ()))


def advance_sets(draft: Draft, context: BlockContext) -> None:
    """At the beginning of a block: what was decided about the next set is final now."""
    governance = draft.governance
    assert governance.voting == context.authorities, "the set that votes on a block is the one its parent names"
    if governance.following == governance.voting:
        return
    coming = governance.following
    terms = (*governance.terms, Term(coming.set_id, context.height + 1))
    oldest = 0
    # A set is about as old as the last height it voted on, which is the one before its successor's first.
    while len(terms) - oldest > AUTHORITY_TERMS_MAX or (
        terms[oldest + 1].first_height + draft.parameters.evidence_blocks_max <= context.height
    ):
        draft.delete_authority_set(terms[oldest].set_id)
        oldest += 1
    draft.set_authority_set(coming)
    draft.set_governance(replace(governance, voting=coming, terms=terms[oldest:]))
    for address in context.authorities.members:
        if address not in coming:
            draft.delete_onion(address)
    draft.emit(AuthoritiesChanged(context.height + 1, coming))


def set_at(view: LedgerView, height: int) -> AuthoritySet | None:
    """The set that voted on the block of a height; ``None`` where that is forgotten.

    Args:
        height: of the next block, or below.
    """
    began = [term for term in view.governance.terms if term.first_height <= height]
    return view.authority_set(began[-1].set_id) if began else None


def add_authority(draft: Draft, address: Address, onion: OnionAnchor | None) -> str:
    """Add a member to the following set, last in turn.

    Returns:
        Why that is impossible; empty where it is done.
    """
    governance = draft.governance
    following = governance.following
    if address in following:
        return f"{address.hex()} is an authority already"
    if len(following) >= AUTHORITIES_MAX:
        return f"there are {AUTHORITIES_MAX} authorities already"
    coming = AuthoritySet(following.set_id + 1, (*following.members, address))
    draft.set_governance(replace(governance, following=coming))
    if onion is None:
        draft.delete_onion(address)
    else:
        anchor_onion(draft, address, onion, number=0)
    return ""


def remove_authority(draft: Draft, context: BlockContext, address: Address) -> str:
    """Take a member out of the following set; the last one stays.

    Returns:
        Why that is impossible; empty where it is done.
    """
    governance = draft.governance
    following = governance.following
    if address not in following:
        return f"{address.hex()} is no authority, or not for long"
    if len(following) == 1:
        return "the last authority cannot be removed"
    members = tuple(member for member in following.members if member != address)
    draft.set_governance(replace(governance, following=AuthoritySet(following.set_id + 1, members)))
    if address not in governance.voting and address not in context.authorities:
        draft.delete_onion(address)
    return ""


def anchor_onion(draft: Draft, address: Address, anchor: OnionAnchor, *, number: int) -> None:
    """Give an authority an onion that nothing has been shown of."""
    draft.remember_salt(address, anchor)
    draft.set_onion(address, Onion(anchor.salt, number, anchor.length, anchor.anchor, None))
