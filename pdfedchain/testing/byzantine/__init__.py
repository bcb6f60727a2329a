"""Nodes that lie, one class of lies per module.

A Byzantine node runs an honest replica and lies on the way out, or on hearing something: it knows what is going on
and has a real key, so its messages pass every check of form, unless they are meant not to.

`HARMLESS` ones never sign two different things for one height, round and step, and keep their locks: any number of
them may stop a chain, and none can fork it. `LIARS` are all there are.
"""

from typing import Final

from pdfedchain.testing.byzantine.actor import Actor, Said, Situation
from pdfedchain.testing.byzantine.equivocates_proposals import EquivocatesProposals
from pdfedchain.testing.byzantine.equivocates_votes import EquivocatesVotes
from pdfedchain.testing.byzantine.forces_nil import ForcesNil
from pdfedchain.testing.byzantine.ignores_locks import IgnoresLocks
from pdfedchain.testing.byzantine.impersonates import Impersonates
from pdfedchain.testing.byzantine.misdates_proposals import MisdatesProposals
from pdfedchain.testing.byzantine.proposes_afresh import ProposesAfresh
from pdfedchain.testing.byzantine.repeats_nil import RepeatsNil
from pdfedchain.testing.byzantine.replays import Replays
from pdfedchain.testing.byzantine.sends_garbage import SendsGarbage
from pdfedchain.testing.byzantine.silent import Silent
from pdfedchain.testing.byzantine.votes_for_all import VotesForAll
from pdfedchain.testing.byzantine.withholds import Withholds

__all__ = [
    "HARMLESS",
    "LIARS",
    "Actor",
    "EquivocatesProposals",
    "EquivocatesVotes",
    "ForcesNil",
    "IgnoresLocks",
    "Impersonates",
    "MisdatesProposals",
    "ProposesAfresh",
    "RepeatsNil",
    "Replays",
    "Said",
    "SendsGarbage",
    "Silent",
    "Situation",
    "VotesForAll",
    "Withholds",
]

#: Those that more than f of cannot fork a chain.
HARMLESS: Final = (
    ForcesNil,
    Impersonates,
    MisdatesProposals,
    RepeatsNil,
    Replays,
    SendsGarbage,
    Silent,
    Withholds,
)

#: All of them.
LIARS: Final = (*HARMLESS, EquivocatesProposals, EquivocatesVotes, IgnoresLocks, ProposesAfresh, VotesForAll)
