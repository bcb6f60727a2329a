"""The branches of the algorithm, by name: each line of the paper at which a node takes one way and not another.

Lines are those of Algorithm 1 of arXiv 1807.04938; ``L36`` of the text is branch ``L38`` (lock, then valid value) or
``L42`` (valid value only). A transition names the branch that made it, so whoever wants to know which of them a run
has taken listens (``trace`` of `pdfedchain.consensus.replica.Replica`); nobody listening, nothing is spent.
"""

from __future__ import annotations

import enum

__all__ = ["Rule"]


class Rule(enum.Enum):
    """What made a transition. The value says it in words."""

    L16 = "the proposer proposes its valid value again"
    L18 = "the proposer asks for a value"
    L21 = "the others wait for a proposal"
    L24 = "prevote a fresh proposal"
    L26 = "prevote nil: a fresh proposal that is refused, or contradicts the lock"
    L30 = "prevote a re-proposal with a polka in its valid round"
    L32 = "prevote nil: a re-proposal that does not fit, or an older one than the lock"
    L34 = "a quorum of prevotes: wait for more"
    L38 = "a polka while prevoting: lock, precommit, valid value"
    L42 = "a polka after precommitting: valid value only"
    L42_LATE = "a polka of an earlier round: valid value only (not in the paper)"
    L44 = "a polka for nil: precommit nil, keep the lock"
    L47 = "a quorum of precommits: wait for more"
    L51 = "a quorum of precommits for a block, in this round or a later one: decide"
    L51_EARLIER = "the same in an earlier round"
    L55 = "f+1 senders in a higher round: go there"
    L57 = "no proposal in time: prevote nil"
    L61 = "no polka in time: precommit nil"
    L65 = "no decision in time: the next round"
    RECOVERED = "the log was lost: go on after the last thing signed (not in the paper)"
