"""Evidence: two messages that no honest authority signs both, and what follows from them.

An offence is two different votes, or two different proposals, signed by one key for one chain, authority set, height
and round (votes also for one step). It must be no older than the parameters say, and the set the messages name must be
the one that voted at that height, with the key among its members: a signature over another set's number was never
meant for that height.

The key leaves the set two blocks after the block with the evidence. The last authority stays, since a chain without any
could never mend itself; that is recorded and told as an event all the same. A conviction covers everything the key did
before it was out, so each offence counts once, and a key that is admitted again begins afresh.
"""

from __future__ import annotations

from pdfedchain.application import BlockContext
from pdfedchain.errors import InvalidTransaction, SignatureError
from pdfedchain.ids import Address
from pdfedchain.state.draft import Draft
from pdfedchain.state.governance_events import EvidenceAccepted
from pdfedchain.state.membership import remove_authority, set_at
from pdfedchain.types.governance import Conviction
from pdfedchain.types.transaction import SubmitEvidence
from pdfedchain.types.vote import Proposal, Vote

__all__ = ["submit_evidence"]


def submit_evidence(draft: Draft, context: BlockContext, sender: Address, payload: SubmitEvidence) -> None:
    """Check evidence and evict.

    Raises:
        InvalidTransaction: it proves nothing, or nothing that counts any more.
    """
    first, second = payload.first, payload.second
    culprit = _culprit(first, second)
    if first.chain_id != context.chain_id:
        raise InvalidTransaction("evidence", f"it is about chain {first.chain_id!r}")
    _check_age(draft, context, first.height)
    known = draft.conviction(culprit)
    if known is not None and first.height <= known.height + 1:
        raise InvalidTransaction("convicted", f"{culprit.hex()} was convicted at height {known.height}")
    # The voting set of the block being executed is that of its context; the state names the next one already.
    authorities = context.authorities if first.height == context.height else set_at(draft, first.height)
    if authorities is None or authorities.set_id != first.set_id or culprit not in authorities:
        raise InvalidTransaction("evidence", f"set {first.set_id} with {culprit.hex()} did not vote at {first.height}")
    try:
        first.verify()
        second.verify()
    except SignatureError as error:
        raise InvalidTransaction("evidence", str(error)) from error
    evicted = remove_authority(draft, context, culprit) == ""
    draft.set_conviction(Conviction(culprit, first.height, context.height, evicted))
    draft.emit(EvidenceAccepted(culprit, first.height, evicted, sender))


def _culprit(first: Vote | Proposal, second: Vote | Proposal) -> Address:
    """Whose messages contradict each other; signatures are not looked at."""
    if isinstance(first, Vote) and isinstance(second, Vote):
        same = (first.voter, first.kind) == (second.voter, second.kind)
        differ = first.block != second.block
        culprit = first.voter
    elif isinstance(first, Proposal) and isinstance(second, Proposal):
        same = first.proposer == second.proposer
        differ = (first.block, first.valid_round) != (second.block, second.valid_round)
        culprit = first.proposer
    else:
        raise InvalidTransaction("evidence", "a vote and a proposal do not contradict each other")
    slots = [(one.chain_id, one.set_id, one.height, one.round) for one in (first, second)]
    if not same or slots[0] != slots[1]:
        raise InvalidTransaction("evidence", "the messages are not of one signer, chain, set, height, round and step")
    if not differ:
        raise InvalidTransaction("evidence", "the messages say the same")
    return culprit


def _check_age(draft: Draft, context: BlockContext, height: int) -> None:
    if not 0 < height <= context.height:
        raise InvalidTransaction("evidence", f"height {height} is not between 1 and {context.height}")
    blocks_max = draft.parameters.evidence_blocks_max
    if context.height - height > blocks_max:
        raise InvalidTransaction("evidence-age", f"height {height} is more than {blocks_max} blocks ago")
