"""Nodes that lie, one class of lies per module.

A Byzantine node runs an honest replica and lies on the way out, or on hearing something: it knows what is going on
and has a real key, so its messages pass every check of form.
"""

from pdfedchain.testing.byzantine.actor import Actor, Situation
from pdfedchain.testing.byzantine.equivocates_proposals import EquivocatesProposals
from pdfedchain.testing.byzantine.equivocates_votes import EquivocatesVotes
from pdfedchain.testing.byzantine.proposes_afresh import ProposesAfresh
from pdfedchain.testing.byzantine.replays import Replays
from pdfedchain.testing.byzantine.silent import Silent
from pdfedchain.testing.byzantine.votes_for_all import VotesForAll

__all__ = [
    "Actor",
    "EquivocatesProposals",
    "EquivocatesVotes",
    "ProposesAfresh",
    "Replays",
    "Silent",
    "Situation",
    "VotesForAll",
]
