"""Authority sets that change while the chain runs: on a real ledger, with losses, crashes and liars."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import pytest

from pdfedchain.audit import verify_chain
from pdfedchain.codec import encode
from pdfedchain.consensus.effects import Evidence
from pdfedchain.crypto import SigningKey
from pdfedchain.errors import UnsupportedVersion
from pdfedchain.ids import Address, Hash
from pdfedchain.light import LightClient, LightError
from pdfedchain.state.ledger import Ledger
from pdfedchain.state.onion import OnionSecrets
from pdfedchain.state.view import LedgerView
from pdfedchain.testing.byzantine import Actor, EquivocatesProposals, EquivocatesVotes, Situation
from pdfedchain.testing.simulator import START_MS, Links, Simulator, make_keys
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.genesis import ChainParameters, Genesis
from pdfedchain.types.governance import (
    AddAuthority,
    AuthorityOnion,
    Change,
    RemoveAuthority,
    SetChainParameters,
    UpgradeVersion,
)
from pdfedchain.types.ledger import LedgerGenesis
from pdfedchain.types.parameters import Deadline, LedgerParameters
from pdfedchain.types.transaction import ApproveChange, Payload, ProposeChange, SubmitEvidence, Transaction

KEYS = make_keys(5)
SALT = Hash(hashlib.sha256(b"membership").digest())
ONION_LENGTH = 500
PACE = ChainParameters(heartbeat_idle_ms=1_000, block_interval_min_ms=200)
_SHORT = Deadline(5, 30_000)


class NextLedger(Ledger):
    """A release that executes two versions."""

    version = 2
    versions = range(1, 3)


def ledger(index: int) -> Ledger:
    return Ledger(onions=OnionSecrets(KEYS[index]))


def genesis(authorities: int = 4) -> Genesis:
    """A ledger whose first keys are authorities with onions; the others watch."""
    keys = KEYS[:authorities]
    onions = tuple(AuthorityOnion(key.address, OnionSecrets(key).anchor(SALT, ONION_LENGTH)) for key in keys)
    parameters = LedgerParameters(False, _SHORT, _SHORT, _SHORT, _SHORT)
    state = encode(LedgerGenesis(parameters, (), (), (), onions=onions))
    members = AuthoritySet(0, tuple(key.address for key in keys))
    return Genesis("simulated", START_MS, 1, members, PACE, "pdfed-ledger", state)


def evidence_transaction(key: SigningKey, found: Evidence) -> bytes:
    return signed(key, SubmitEvidence(found.first, found.second))


def signed(key: SigningKey, payload: Payload, nonce: int = 0) -> bytes:
    return encode(Transaction("simulated", key.address, nonce, payload).sign(key))


def running(
    *,
    seed: int = 1,
    links: Links | None = None,
    byzantine: Mapping[int, Callable[[Situation], Actor]] | None = None,
    application: Callable[[int], Ledger] = ledger,
    authorities: int = 4,
) -> Simulator:
    """Five nodes, the first of them authorities."""
    simulator = Simulator(
        seed=seed,
        size=5,
        links=links,
        genesis=genesis(authorities),
        byzantine=byzantine,
        application=application,
        on_evidence=evidence_transaction,
    )
    simulator.start()
    assert simulator.run_to_height(2, limit_ms=60_000)
    return simulator


def decide(simulator: Simulator, change: Change, *, by: tuple[int, ...] = (0, 1, 2)) -> None:
    """The first proposes, the others approve; everybody hears of it. Runs until it is enacted."""
    proposer, *approving = by
    view = LedgerView(simulator.nodes[proposer].store.state())
    data = signed(KEYS[proposer], ProposeChange(change), view.account(KEYS[proposer].address).nonce)
    simulator.submit(data, range(5))
    for _ in range(60):
        simulator.run_ms(1_000)
        opened = LedgerView(simulator.nodes[proposer].store.state()).governance.proposals
        if opened:
            break
    for index in approving:
        simulator.submit(signed(KEYS[index], ApproveChange(opened[0].proposal)), range(5))
    for _ in range(60):
        simulator.run_ms(1_000)
        if not LedgerView(simulator.nodes[proposer].store.state()).governance.proposals:
            return
    raise AssertionError("the change was not enacted")


def voting(simulator: Simulator, node: int = 0) -> tuple[Address, ...]:
    return simulator.nodes[node].store.next_authorities().members


def addresses(*indexes: int) -> tuple[Address, ...]:
    return tuple(KEYS[index].address for index in indexes)


def proposers(simulator: Simulator, from_height: int) -> set[int]:
    store = simulator.nodes[0].store
    found = {store.final_block(at).block.header.proposer for at in range(from_height, store.height() + 1)}
    return {index for index, key in enumerate(KEYS) if key.address in found}


def voters(simulator: Simulator, from_height: int) -> set[int]:
    store = simulator.nodes[0].store
    found = {
        entry.voter
        for at in range(from_height, store.height() + 1)
        for entry in store.final_block(at).certificate.signatures
    }
    return {index for index, key in enumerate(KEYS) if key.address in found}


def goes_on(simulator: Simulator, blocks: int = 10) -> int:
    """Let some more blocks become final with everybody; returns the height before."""
    height = simulator.height
    assert simulator.run_to_height(height + blocks, limit_ms=120_000)
    return height


def test_a_watching_node_is_added_and_votes_and_proposes_from_its_height_on() -> None:
    simulator = running()
    assert voters(simulator, 1) <= {0, 1, 2, 3}
    decide(simulator, AddAuthority(KEYS[4].address, OnionSecrets(KEYS[4]).anchor(SALT, ONION_LENGTH)))
    height = goes_on(simulator, 14) + 2
    assert voting(simulator) == addresses(0, 1, 2, 3, 4)
    assert 4 in proposers(simulator, height)
    assert 4 in voters(simulator, height)
    assert list(verify_chain(simulator.nodes[4].store, Ledger())) == []


@pytest.mark.parametrize("leaver", [0, 3])
def test_a_removed_authority_watches_and_the_others_go_on(leaver: int) -> None:
    simulator = running()
    decide(simulator, RemoveAuthority(KEYS[leaver].address), by=(1, 2, 3 - leaver))
    height = goes_on(simulator) + 2
    staying = {0, 1, 2, 3} - {leaver}
    assert set(voting(simulator, 1)) == set(addresses(*staying))
    assert proposers(simulator, height) == staying
    assert voters(simulator, height) == staying
    assert simulator.nodes[leaver].store.height() >= height + 8


def test_the_authority_whose_turn_it_is_can_be_removed() -> None:
    """Removed at every offset to its own turn, so that one of them is its own block."""
    for offset in range(4):
        simulator = running(seed=offset)
        goes_on(simulator, offset)
        decide(simulator, RemoveAuthority(KEYS[3].address), by=(3, 1, 2))
        goes_on(simulator)
        assert voting(simulator) == addresses(0, 1, 2)


def test_a_set_of_one_grows_to_four_and_shrinks_to_one() -> None:
    simulator = running(authorities=1)
    for index in (1, 2, 3):
        decide(simulator, AddAuthority(KEYS[index].address, None), by=tuple(range(index)))
        goes_on(simulator, 3)
    assert voting(simulator) == addresses(0, 1, 2, 3)
    for index in (0, 1, 2):
        decide(simulator, RemoveAuthority(KEYS[index].address), by=tuple(range(3, index - 1, -1)))
        goes_on(simulator, 3)
    assert voting(simulator) == addresses(3)
    store = simulator.nodes[4].store
    assert list(verify_chain(store, Ledger())) == []
    # Six handovers: a light client needs them, and nothing else but the newest header.
    client = LightClient.from_genesis(encode(simulator.genesis), simulator.genesis.hash)
    handovers = list(store.handovers())
    assert len(handovers) == 6
    for block in (*handovers, store.light_block(store.height())):
        client.follow(encode(block), now_ms=simulator.now_ms)
    assert (client.head.height, client.head.next_authorities.members) == (store.height(), addresses(3))
    impatient = LightClient.from_genesis(encode(simulator.genesis), simulator.genesis.hash)
    with pytest.raises(LightError):
        impatient.follow(encode(store.light_block(store.height())), now_ms=simulator.now_ms)


@pytest.mark.parametrize("actor", [EquivocatesVotes, EquivocatesProposals])
def test_an_equivocating_authority_is_evicted(actor: Callable[[Situation], Actor]) -> None:
    simulator = running(byzantine={3: actor}, links=Links(relay=True))
    for _ in range(120):
        simulator.run_ms(1_000)
        if len(voting(simulator)) == 3:
            break
    assert voting(simulator) == addresses(0, 1, 2)
    height = goes_on(simulator) + 2
    assert voters(simulator, height) == {0, 1, 2}
    conviction = LedgerView(simulator.nodes[0].store.state()).conviction(KEYS[3].address)
    assert conviction is not None
    assert conviction.evicted


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_four_then_five_then_four_under_loss_and_a_crash(seed: int) -> None:
    simulator = running(seed=seed, links=Links(loss=0.15, repeat=0.1, loss_precommit=0.3, delay_ms=(5, 150)))
    decide(simulator, AddAuthority(KEYS[4].address, OnionSecrets(KEYS[4]).anchor(SALT, ONION_LENGTH)))
    goes_on(simulator, 4)
    simulator.crash(1, lose_tail=True)
    simulator.run_ms(5_000)
    simulator.restart(1)
    decide(simulator, RemoveAuthority(KEYS[0].address), by=(4, 1, 2, 3))
    goes_on(simulator, 6)
    assert set(voting(simulator)) == set(addresses(1, 2, 3, 4))
    simulator.observer.ended([node.store for node in simulator.nodes])


def test_a_node_that_was_away_during_a_change_catches_up_with_it() -> None:
    simulator = running()
    simulator.crash(4, lose_tail=False)
    decide(simulator, RemoveAuthority(KEYS[3].address))
    goes_on(simulator, 5)
    simulator.restart(4)
    goes_on(simulator, 5)
    assert list(verify_chain(simulator.nodes[4].store, Ledger())) == []


def test_a_faster_pace_is_followed_by_everybody() -> None:
    simulator = running()
    decide(simulator, SetChainParameters(ChainParameters(heartbeat_idle_ms=300, block_interval_min_ms=100)))
    goes_on(simulator, 3)
    before_ms, height = simulator.now_ms, simulator.height
    goes_on(simulator, 20)
    assert simulator.now_ms - before_ms < 20 * 700, "an idle chain of the old pace needs a second a block"
    assert list(verify_chain(simulator.nodes[0].store, Ledger())) == []
    assert simulator.height >= height + 20


def test_a_node_without_the_new_version_stops_before_it_and_goes_on_with_a_new_release() -> None:
    def application(index: int) -> Ledger:
        release = Ledger if index == 3 else NextLedger
        return release(onions=OnionSecrets(KEYS[index]))

    simulator = running(application=application)
    height = simulator.height + 12
    decide(simulator, UpgradeVersion(2, height))
    with pytest.raises(UnsupportedVersion, match=f"block {height} and later ones are of version 2"):
        simulator.run_ms(60_000)
    assert simulator.nodes[3].store.height() == height - 1
    simulator.crash(3, lose_tail=False)
    with pytest.raises(UnsupportedVersion):
        simulator.restart(3)
    goes_on(simulator, 5)
    assert simulator.nodes[0].store.final_block(height).block.header.version == 2
    assert simulator.nodes[0].store.final_block(height - 1).block.header.version == 1
    simulator.nodes[3].application = NextLedger(onions=OnionSecrets(KEYS[3]))
    simulator.restart(3)
    goes_on(simulator, 5)
    assert list(verify_chain(simulator.nodes[3].store, NextLedger())) == []
    kinds = [problem.kind for problem in verify_chain(simulator.nodes[3].store, Ledger())]
    assert kinds == ["version"]
