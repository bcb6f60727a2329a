"""Random changes of the set under loss, crashes, partitions and a liar: safety always, progress once it is calm.

``python -m tests.pdfedchain.testing.test_membership_storms FIRST COUNT`` runs more seeds.
"""

from __future__ import annotations

import random
import sys

import pytest

from pdfedchain.audit import verify_chain
from pdfedchain.state.ledger import Ledger
from pdfedchain.state.onion import OnionSecrets
from pdfedchain.state.view import LedgerView
from pdfedchain.testing.byzantine import EquivocatesProposals, EquivocatesVotes, Silent
from pdfedchain.testing.simulator import Links, Simulator
from pdfedchain.types.governance import AddAuthority, Change, RemoveAuthority, SetChainParameters
from pdfedchain.types.transaction import ApproveChange, ProposeChange
from tests.pdfedchain.testing.test_membership import (
    KEYS,
    ONION_LENGTH,
    PACE,
    evidence_transaction,
    genesis,
    ledger,
    signed,
)

_LIARS = (None, EquivocatesVotes, EquivocatesProposals, Silent)


def storm(seed: int) -> Simulator:
    """One run; raises where an invariant breaks or the chain does not go on in the end."""
    choose = random.Random(seed)
    liar = choose.choice(_LIARS)
    simulator = Simulator(
        seed=seed,
        size=5,
        links=Links(
            loss=choose.uniform(0, 0.15),
            repeat=choose.uniform(0, 0.1),
            loss_precommit=choose.uniform(0, 0.3),
            delay_ms=(1, choose.randint(20, 200)),
            relay=True,
        ),
        genesis=genesis(4),
        byzantine={} if liar is None else {3: liar},
        application=ledger,
        on_evidence=evidence_transaction,
    )
    simulator.start()
    for step in range(25):
        simulator.run_ms(choose.randint(200, 6_000))
        _happen(simulator, choose, step)
    simulator.heal()
    for node in simulator.nodes:
        simulator.restart(node.index)
    height = simulator.height
    goes_on = simulator.run_to_height(height + 6, limit_ms=600_000)
    assert goes_on or not _has_honest_quorum(simulator), f"seed {seed} stands at height {simulator.height}"
    simulator.observer.ended([node.store for node in simulator.honest])
    return simulator


def _has_honest_quorum(simulator: Simulator) -> bool:
    """Removals that were open at the same time may leave three, one of them the liar: then all three are needed."""
    highest = max(simulator.honest, key=lambda node: node.store.height())
    voting = highest.store.next_authorities()
    return voting.is_quorum(sum(node.key.address in voting for node in simulator.honest))


def _happen(simulator: Simulator, choose: random.Random, step: int) -> None:
    """One of many things. At most one honest node is down or cut off at a time, so that a quorum of four is left."""
    honest = [node.index for node in simulator.honest]
    match choose.randint(0, 6):
        case 0:
            simulator.heal()
            for index in honest:
                simulator.restart(index)
            simulator.crash(choose.choice(honest), lose_tail=choose.random() < 0.5)
        case 1:
            for index in honest:
                simulator.restart(index)
            alone = choose.choice(honest)
            simulator.partition({alone}, set(range(5)) - {alone})
        case 2:
            simulator.heal()
        case 3 | 4:
            _propose(simulator, choose, step)
        case _:
            _approve_all(simulator, choose)


def _propose(simulator: Simulator, choose: random.Random, step: int) -> None:
    proposer = choose.choice([node.index for node in simulator.honest])
    view = LedgerView(simulator.nodes[proposer].store.state())
    following = view.governance.following
    target = choose.choice(KEYS)
    change: Change = SetChainParameters(PACE)
    if target.address not in following:
        salt = bytes([step, *KEYS[0].address[1:]])
        change = AddAuthority(target.address, OnionSecrets(target).anchor(salt, ONION_LENGTH))  # type: ignore[arg-type]
    elif len(following) > 4:
        # Mostly not below four, or one that lies would be one too many.
        change = RemoveAuthority(target.address)
    nonce = view.account(KEYS[proposer].address).nonce
    simulator.submit(signed(KEYS[proposer], ProposeChange(change), nonce), range(5))


def _approve_all(simulator: Simulator, choose: random.Random) -> None:
    node = choose.choice(simulator.honest)
    for opened in LedgerView(node.store.state()).governance.proposals:
        for other in simulator.honest:
            simulator.submit(signed(other.key, ApproveChange(opened.proposal)), range(5))


@pytest.mark.parametrize("seed", range(1, 7))
def test_a_storm_of_changes_forks_nobody_and_ends_in_progress(seed: int) -> None:
    simulator = storm(seed)
    assert list(verify_chain(simulator.nodes[0].store, Ledger())) == []


def test_the_seeds_do_change_the_set() -> None:
    """Else the storms would show nothing."""
    changed = [storm(seed).nodes[0].store.next_authorities().set_id for seed in (2, 3, 5)]
    assert max(changed) >= 1


if __name__ == "__main__":
    first, count = int(sys.argv[1]), int(sys.argv[2])
    sets = []
    for number in range(first, first + count):
        done = storm(number)
        sets.append(done.nodes[0].store.next_authorities().set_id)
    print(f"{count} seeds from {first} on: no fork, all with an honest quorum go on; {sum(sets)} changes of sets")
