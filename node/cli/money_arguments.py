"""The options of ``pdfed genesis`` that say what costs what, what is paid, and out of which units."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TypeVar

from node.new_genesis import LOCAL_MONEY, LOCAL_PARAMETERS, MoneyPlan
from pdfedchain.codec import encode
from pdfedchain.errors import DecodeError, UsageError
from pdfedchain.limits import PRIVATE_VOTERS_MAX, UINT_MAX
from pdfedchain.types.economy import Economy, Rewards

__all__ = ["add_money_arguments", "economy", "money_plan"]

T = TypeVar("T")

#: Option, default, and what it is; amounts are whole units, 0 turns a price or a reward off.
_AMOUNTS = (
    ("allocation", LOCAL_MONEY.allocation, "units in every member's account"),
    ("pool", LOCAL_MONEY.pool, "units that the task pays rewards from"),
    ("bond", LOCAL_PARAMETERS.economy.submission_bond, "locked by a submission, lost if its author is to blame"),
    ("score-deposit", LOCAL_PARAMETERS.economy.score_deposit, "locked by a sealed score, burned if it is not opened"),
    ("private-deposit", LOCAL_PARAMETERS.economy.private_deposit, "the same of a private ballot"),
    ("fee", LOCAL_PARAMETERS.economy.fee, "of a transaction, to the proposer of its block"),
    ("fee-per-byte", LOCAL_PARAMETERS.economy.fee_per_byte, "added to it per byte"),
    ("account-price", LOCAL_PARAMETERS.economy.account_price, "burned when a transfer makes a new account"),
    ("reward-per-qn", LOCAL_MONEY.rewards.per_qn, "for an improvement of 1.0 in QN, to author and ancestors"),
    ("reward-scorers", LOCAL_MONEY.rewards.scorers, "for one settlement, to the authorities that agreed"),
    ("reward-voters", LOCAL_MONEY.rewards.voters, "for one accepted checkpoint, to its private voters"),
    ("reward-decay", LOCAL_MONEY.rewards.decay_micro, "share passed on to each earlier generation, in millionths"),
    ("quarantine-voters-min", LOCAL_PARAMETERS.quarantine_voters_min, "private ballots needed to quarantine"),
    ("open-registrations-max", LOCAL_PARAMETERS.open_registrations_max, "participants that nobody admitted"),
)


def add_money_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    for name, default, what in _AMOUNTS:
        parser.add_argument(f"--{name}", type=int, metavar="N", default=default, help=f"{what}; default %(default)s")
    parser.add_argument(
        "--noise",
        type=int,
        metavar="MICRO",
        help="millionths of QN by which scores of one model differ; default: a share of the worst QN accepted",
    )


def economy(arguments: argparse.Namespace) -> Economy:
    """What submissions, ballots and transactions cost.

    Raises:
        UsageError: an amount is out of bounds.
    """
    for name, low, high in (
        ("allocation", 0, UINT_MAX),
        ("pool", 0, UINT_MAX),
        ("quarantine_voters_min", 1, PRIVATE_VOTERS_MAX),
        ("open_registrations_max", 0, UINT_MAX),
    ):
        if not low <= getattr(arguments, name) <= high:
            option = name.replace("_", "-")
            raise UsageError(f"--{option} must lie in [{low}, {high}], found {getattr(arguments, name)}")
    return _within_bounds(
        Economy(
            submission_bond=arguments.bond,
            score_deposit=arguments.score_deposit,
            private_deposit=arguments.private_deposit,
            fee=arguments.fee,
            fee_per_byte=arguments.fee_per_byte,
            account_price=arguments.account_price,
        )
    )


def money_plan(arguments: argparse.Namespace) -> MoneyPlan:
    """What is paid, and out of which units.

    Raises:
        UsageError: an amount is out of bounds.
    """
    rewards = _within_bounds(
        Rewards(
            per_qn=arguments.reward_per_qn,
            noise_micro=arguments.noise or 0,
            decay_micro=arguments.reward_decay,
            scorers=arguments.reward_scorers,
            voters=arguments.reward_voters,
        )
    )
    return replace(
        LOCAL_MONEY,
        allocation=arguments.allocation,
        pool=arguments.pool,
        rewards=rewards,
        noise_micro=arguments.noise,
    )


def _within_bounds(value: T) -> T:
    try:
        encode(value)
    except DecodeError as error:
        raise UsageError(f"an amount is out of bounds: {error}") from error
    return value
