"""Where the units of a ledger are: what genesis issued is all there ever is, and every unit is in one place.

Counted here from the bytes of the state and of genesis, by prefixes and fields written down again, so that no code of
`pdfedchain.state` counts for itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final

from pdfedchain.codec import decode
from pdfedchain.testing.invariants import InvariantBroken
from pdfedchain.types.ballot import Ballot
from pdfedchain.types.checkpoint import Account, Checkpoint, TaskRecord
from pdfedchain.types.economy import Totals
from pdfedchain.types.genesis import Genesis
from pdfedchain.types.ledger import LedgerGenesis

__all__ = ["check_units", "issued_by", "places_of"]

_SIZE_BYTES_MAX: Final = 2**24

#: Prefix of a key of the state, the type of its value, and how many units that holds.
_HOLDERS: Final[tuple[tuple[bytes, type, Callable[[Any], int]], ...]] = (
    (b"account/", Account, lambda account: account.balance),
    (b"task-record/", TaskRecord, lambda record: record.pool),
    (b"checkpoint/", Checkpoint, lambda checkpoint: checkpoint.bond),
    (b"ballot/", Ballot, lambda ballot: ballot.deposit),
    (b"totals", Totals, lambda totals: totals.burned),
)


def issued_by(genesis: Genesis) -> int:
    """How many units a genesis puts into the world."""
    ledger = decode(LedgerGenesis, genesis.application_state, size_bytes_max=_SIZE_BYTES_MAX)
    return sum(each.amount for each in ledger.allocations) + sum(each.amount for each in ledger.pools)


def places_of(items: Iterable[tuple[bytes, bytes]]) -> Counter[str]:
    """How many units are where in a state."""
    places: Counter[str] = Counter()
    for key, value in items:
        for prefix, cls, held in _HOLDERS:
            if key.startswith(prefix):
                places[cls.__name__] += held(decode(cls, value, size_bytes_max=_SIZE_BYTES_MAX))
    return places


def check_units(issued: int, items: Iterable[tuple[bytes, bytes]]) -> None:
    """Every unit is somewhere, once.

    Raises:
        InvariantBroken: some were lost or made.
    """
    places = places_of(items)
    if places.total() != issued:
        raise InvariantBroken(f"{issued} units were issued and there are {places.total()}: {dict(places)}")
