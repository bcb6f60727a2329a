"""What the ledger makes of a genesis, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pdfedchain.codec import decode, encode
from pdfedchain.crypto import hash_of
from pdfedchain.errors import DecodeError
from pdfedchain.ids import Address
from pdfedchain.limits import UINT_MAX
from pdfedchain.state.ledger import Ledger
from pdfedchain.state.view import CHECKPOINT_PREFIX, TASK_PREFIX, LedgerView
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.checkpoint import Account
from pdfedchain.types.genesis import Genesis
from pdfedchain.types.ledger import LedgerGenesis
from tests.pdfedchain.ledger_world import PARAMETERS, TASK, genesis_of, key_of

SMALL_ORDER = Address(bytes(32))


def changed(change: Callable[[LedgerGenesis], LedgerGenesis]) -> Genesis:
    genesis = genesis_of()
    initial = decode(LedgerGenesis, genesis.application_state, size_bytes_max=10**6)
    return replace(genesis, application_state=encode(change(initial)))


def test_the_state_of_genesis_is_what_genesis_says() -> None:
    genesis = genesis_of(2)
    view = LedgerView(Ledger().genesis_state(genesis))
    assert (view.parameters, view.chain_parameters) == (PARAMETERS, genesis.parameters)
    assert list(view.tasks()) == [TASK]
    assert view.task_named("digits") == hash_of(TASK)
    assert view.account(key_of("trainer").address) == Account(1_000, 0)
    assert view.account(key_of("nobody").address) == Account(0, 0)
    participant = view.participant(key_of("voter").address)
    assert participant is not None
    assert participant.registered_height == 0
    keys = [key for key, _ in view.tree.items()]
    assert sum(key.startswith(TASK_PREFIX) for key in keys) == 1
    assert not any(key.startswith(CHECKPOINT_PREFIX) for key in keys)


@pytest.mark.parametrize(
    ("genesis", "message"),
    [
        (replace(genesis_of(), application="other"), "version 1; this program"),
        (replace(genesis_of(), version=2), "version 2; this program"),
        (replace(genesis_of(), application_state=b""), "MessagePack"),
        (replace(genesis_of(), application_state=b"\x90"), "array"),
        (replace(genesis_of(), authorities=AuthoritySet(0, (SMALL_ORDER,))), "authority address"),
        (changed(lambda g: replace(g, allocations=g.allocations + g.allocations[:1])), "allocates twice"),
        (
            changed(lambda g: replace(g, allocations=(replace(g.allocations[0], amount=UINT_MAX), g.allocations[1]))),
            "add up to",
        ),
        (
            changed(lambda g: replace(g, allocations=(replace(g.allocations[0], address=SMALL_ORDER),))),
            "account address",
        ),
        (changed(lambda g: replace(g, participants=g.participants + g.participants[:1])), "twice"),
        (
            changed(lambda g: replace(g, participants=(replace(g.participants[0], address=SMALL_ORDER),))),
            "participant address",
        ),
        (changed(lambda g: replace(g, tasks=(TASK, TASK))), "task 'digits' of genesis"),
    ],
)
def test_a_genesis_that_makes_no_sense_is_refused_in_a_sentence(genesis: Genesis, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        Ledger().genesis_state(genesis)
