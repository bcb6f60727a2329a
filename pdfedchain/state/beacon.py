"""The beacon: randomness that every block moves on and no proposer chooses.

Each authority commits to a chain of hashes when it joins (`OnionAnchor`). A block carries the next preimage of its
proposer's chain: the one value whose hash is the authority's last contribution. The beacon after the block is the hash
of the beacon before and that preimage. Nobody but the proposer knows the preimage beforehand, and the proposer could
not choose it; what it can do is not to propose, which costs its turn and gives it one bit.

- Which preimage is next follows from the state alone. A block that is proposed again, by the same authority after a
  crash or by others in a later round, carries the one of its first proposer and stays valid. A preimage shown in a
  proposal that failed is shown again with the next one; until then everybody knows it.
- A block of an authority without an onion, or with one that is used up and was not renewed, leaves the beacon as it is,
  and no seed is taken after it, for at most as many blocks as there are authorities (`gives_seeds`). Where no authority
  has anything to contribute, blocks add their parent's hash, which the proposer of the parent can choose; one authority
  alone foresees every contribution. There is no protection then.
- A renewal is anchored while the old chain lasts, and follows when nothing remains of it. Its owner cannot foresee
  the contributions of the others in between, so it cannot choose one that suits it.
"""

from __future__ import annotations

from dataclasses import replace

from pdfedchain.application import BlockContext
from pdfedchain.crypto import tagged_hash
from pdfedchain.errors import InvalidBlock, InvalidTransaction
from pdfedchain.ids import Address, Hash
from pdfedchain.state.draft import Draft
from pdfedchain.state.governance_events import OnionExhausted, OnionRenewed
from pdfedchain.state.membership import anchor_onion
from pdfedchain.state.onion import next_layer
from pdfedchain.state.view import LedgerView
from pdfedchain.types.governance import Onion
from pdfedchain.types.transaction import RenewOnion

__all__ = ["advance_beacon", "due_onion", "first_beacon", "gives_seeds", "renew_onion"]


def first_beacon(genesis: Hash) -> Hash:
    """The beacon before the first block."""
    return tagged_hash("pdfed/beacon-genesis/v1", genesis)


def due_onion(view: LedgerView, proposer: Address) -> Onion | None:
    """The onion whose next layer a block of this proposer must show; ``None`` where it must show nothing."""
    onion = view.onion(proposer)
    return onion if onion is not None and onion.remaining else None


def gives_seeds(view: LedgerView, context: BlockContext, blocks: int) -> bool:
    """Whether a seed may be taken from the beacon after a block: nobody could foresee it, or has waited long enough.

    Args:
        view: the state before the block.
        blocks: how many the seed has waited, this one included. As many as there are authorities, so all have had a
            turn, end the wait: authorities that do not propose must not stop the scoring.
    """
    if due_onion(view, context.proposer) is not None or blocks >= len(context.authorities):
        return True
    return not _somebody_contributes(view, context)


def _somebody_contributes(view: LedgerView, context: BlockContext) -> bool:
    return any(due_onion(view, authority) is not None for authority in context.authorities.members)


def advance_beacon(draft: Draft, context: BlockContext, preimage: Hash | None) -> None:
    """Check the proposer's contribution and mix it in.

    Raises:
        InvalidBlock: it is not the one the proposer committed to.
    """
    onion = due_onion(draft, context.proposer)
    if onion is None:
        if preimage is not None:
            raise InvalidBlock("a contribution to the beacon by a proposer who has none to make")
        if not _somebody_contributes(draft, context):
            draft.set_beacon(tagged_hash("pdfed/beacon-parent/v1", draft.beacon, context.parent))
        return
    if preimage is None or next_layer(preimage) != onion.last:
        raise InvalidBlock(f"the contribution to the beacon is not the next one of {context.proposer.hex()}")
    draft.set_beacon(tagged_hash("pdfed/beacon-mix/v1", draft.beacon, preimage))
    if onion.remaining == 1 and onion.renewal is not None:
        anchor_onion(draft, context.proposer, onion.renewal, number=onion.number + 1)
        return
    draft.set_onion(context.proposer, replace(onion, remaining=onion.remaining - 1, last=preimage))
    if onion.remaining == 1:
        draft.emit(OnionExhausted(context.proposer))


def renew_onion(draft: Draft, context: BlockContext, sender: Address, payload: RenewOnion) -> None:
    """Anchor an authority's next onion; it follows when the present one is used up, at once if it is.

    Raises:
        InvalidTransaction: a rule refuses it.
    """
    onion = draft.onion(sender)
    if onion is None:
        raise InvalidTransaction("onion", f"{sender.hex()} is no authority with an onion")
    if payload.number != onion.number:
        raise InvalidTransaction("onion", f"it follows number {payload.number}, the present one is {onion.number}")
    if onion.renewal is not None:
        raise InvalidTransaction("onion", "a renewal is anchored already and cannot be changed")
    if draft.has_anchored(sender, payload.onion):
        raise InvalidTransaction("onion", "this salt was used before: everybody knows what it gives")
    if onion.remaining:
        draft.set_onion(sender, replace(onion, renewal=payload.onion))
    else:
        anchor_onion(draft, sender, payload.onion, number=onion.number + 1)
    draft.emit(OnionRenewed(sender, onion.number + 1))
