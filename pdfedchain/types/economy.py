"""Money: what taking part costs, what a task pays, and how much there is.

Amounts are whole units and mean what the members of a chain agree on. What genesis issued is all there ever is: every
unit is at any time in an account, locked as a bond or a deposit, in the pool of a task, or burned.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Annotated, Final

from pdfedchain.codec import canonical
from pdfedchain.ids import Range, UInt
from pdfedchain.types.score import MICRO

__all__ = ["FREE", "UNREWARDED", "Amount", "Economy", "RewardKind", "Rewards", "Totals"]

#: A price or a reward; far below what can be issued, so that no product of two of them needs care anywhere.
Amount = Annotated[int, Range(0, 10**15)]


@canonical("pdfed/economy/v1")
@dataclass(frozen=True, slots=True)
class Economy:
    """Prices of one ledger, in units. Zero turns a price off, so that a chain without money works.

    Attributes:
        submission_bond: locked by a submission until it is settled.
        score_deposit: locked by an elector's sealed score until it is opened.
        private_deposit: locked by a participant's sealed private ballot until it is opened.
        fee: of one transaction, to the proposer of its block; see `pdfedchain.state.accounts` for who pays.
        fee_per_byte: added for every byte of the encoded transaction.
        account_price: burned when a transfer makes an account. Fees come back to whoever proposes; this bounds the
            number of accounts even for one who does.
    """

    submission_bond: Amount = 0
    score_deposit: Amount = 0
    private_deposit: Amount = 0
    fee: Amount = 0
    fee_per_byte: Amount = 0
    account_price: Amount = 0


#: Nothing costs anything.
FREE: Final = Economy()


@canonical("pdfed/rewards/v1")
@dataclass(frozen=True, slots=True)
class Rewards:
    """What a task pays from its pool, in units; nothing unless told otherwise.

    Attributes:
        per_qn: for an improvement of 1.0 in QN, to the author and the ancestors of the checkpoint together.
        noise_micro: how far two scores of equally good models may lie apart, in millionths of QN: measured by scoring
            one model with several seeds. Only an improvement by more than this is one.
        decay_micro: share that each generation passes on to the one before, in millionths.
        scorers: for one settlement, shared by the electors it rests on.
        voters: for one accepted checkpoint, shared by those who opened a private ballot on it.
    """

    per_qn: Amount = 0
    noise_micro: UInt = 0
    decay_micro: Annotated[int, Range(0, MICRO)] = 500_000
    scorers: Amount = 0
    voters: Amount = 0


#: A task that pays nothing.
UNREWARDED: Final = Rewards()


class RewardKind(enum.StrEnum):
    """What a reward is for."""

    AUTHOR = "author"
    ANCESTOR = "ancestor"
    SCORER = "scorer"
    VOTER = "voter"


@canonical("pdfed/totals/v1")
@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over a whole ledger that nothing else in its state tells.

    Attributes:
        issued: by genesis, in accounts and pools.
        burned: forfeited for good.
        open_registrations: participants that nobody admitted.
    """

    issued: UInt
    burned: UInt
    open_registrations: UInt
