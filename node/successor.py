"""A new chain that starts from the certified state of an old one: what is left to do when a quorum is lost for good.

::

    from the old chain     balances, what was locked (returned), pools of tasks, participants, tasks, all parameters,
                           the version
    from the cards         authorities in order of turns, their onions, addresses to dial
    left behind            checkpoints, ballots, admissions, quarantines, proposals: files stay what they are, and an
                           accepted checkpoint is submitted again by whoever wants it on the new chain

Deterministic but for the time: members who make it from equal states with equal cards and ``--time-ms`` get the same
genesis, and may compare hashes instead of trusting one of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TypeVar

from node.genesis_file import GenesisFile
from node.home import Card
from node.reader import ChainReader
from pdfedchain.codec import decode, encode
from pdfedchain.crypto import StateTree
from pdfedchain.errors import UsageError
from pdfedchain.ids import Address, address_text
from pdfedchain.limits import GENESIS_TASKS_MAX, STATE_VALUE_SIZE_BYTES_MAX
from pdfedchain.state.view import ACCOUNT_PREFIX, BALLOT_PREFIX, CHECKPOINT_PREFIX, PARTICIPANT_PREFIX, LedgerView
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.ballot import Ballot
from pdfedchain.types.checkpoint import Account, Checkpoint, Participant
from pdfedchain.types.genesis import Genesis
from pdfedchain.types.governance import AuthorityOnion
from pdfedchain.types.ledger import Allocation, GenesisParticipant, LedgerGenesis, TaskPool
from pdfedchain.types.transaction import Register

__all__ = ["successor_genesis"]

T = TypeVar("T")


def successor_genesis(reader: ChainReader, cards: Sequence[Card], *, chain_id: str, time_ms: int) -> GenesisFile:
    """The genesis of a chain that goes on from the newest state of this one.

    Args:
        cards: of the new chain's authorities, in order of turns.
        time_ms: start of chain time, not before the last block.

    Raises:
        UsageError: a card is no authority's, is listed twice, or has an onion that the old chain knows; the chain
            identifier is the old one; the time is before the last block; or there are too many tasks for a genesis.
    """
    # One moment of the chain, although a node may be writing it.
    state, height = reader.store.state(), reader.height()
    view = LedgerView(state)
    last_ms = reader.store.light_block(height).header.time_ms if height else reader.genesis.time_ms
    if chain_id == reader.genesis.chain_id:
        raise UsageError(
            f"{chain_id} is the old chain's name",
            hint="signatures of the old chain would be valid on the new one; choose another name",
        )
    if time_ms < last_ms:
        raise UsageError(f"the last block is of {last_ms} ms, the new chain cannot begin at {time_ms} ms")
    _check_cards(view, cards)
    tasks = tuple(view.tasks())
    if len(tasks) > GENESIS_TASKS_MAX:
        raise UsageError(f"{len(tasks)} tasks are more than a genesis holds, {GENESIS_TASKS_MAX}")
    balances = _balances(state)
    pools = [TaskPool(task.name, record.pool) for task, record in zip(tasks, view.task_records(), strict=True)]
    totals = view.totals
    found = sum(balances.values()) + sum(pool.amount for pool in pools)
    assert found == totals.issued - totals.burned, "every unit is somewhere"
    ledger = LedgerGenesis(
        parameters=view.parameters,
        allocations=tuple(Allocation(address, balances[address]) for address in sorted(balances)),
        participants=tuple(_registered(one) for one in _values(state, Participant, PARTICIPANT_PREFIX)),
        tasks=tasks,
        pools=tuple(pool for pool in pools if pool.amount),
        onions=tuple(AuthorityOnion(card.address, card.onion) for card in cards if card.onion is not None),
    )
    genesis = Genesis(
        chain_id=chain_id,
        time_ms=time_ms,
        version=view.governance.version,
        authorities=AuthoritySet(0, tuple(card.address for card in cards)),
        parameters=view.chain_parameters,
        application=reader.genesis.application,
        application_state=encode(ledger),
    )
    return GenesisFile(genesis, ledger, tuple(card.dial for card in cards))


def _check_cards(view: LedgerView, cards: Sequence[Card]) -> None:
    if len({card.address for card in cards}) != len(cards):
        raise UsageError("two cards have one address")
    for card in cards:
        if card.onion is None:
            raise UsageError(f"the card of {card.name} is no authority's", hint="pdfed init --roles authority,...")
        if view.has_anchored(card.address, card.onion):
            raise UsageError(
                f"the onion of {address_text(card.address)} was used on the old chain: everybody knows what it gives",
                hint="on that node: pdfed keys --new-card --home H",
            )


def _balances(state: StateTree) -> Counter[Address]:
    """What everybody has, with all that is locked returned."""
    balances: Counter[Address] = Counter()
    for key, value in state.items():
        if key.startswith(ACCOUNT_PREFIX):
            account = decode(Account, value, size_bytes_max=STATE_VALUE_SIZE_BYTES_MAX)
            balances[Address(key.removeprefix(ACCOUNT_PREFIX))] += account.balance
    for checkpoint in _values(state, Checkpoint, CHECKPOINT_PREFIX):
        balances[checkpoint.author] += checkpoint.bond
    for ballot in _values(state, Ballot, BALLOT_PREFIX):
        balances[ballot.voter] += ballot.deposit
    return +balances


def _values(state: StateTree, cls: type[T], prefix: bytes) -> Iterator[T]:
    for key, value in state.items():
        if key.startswith(prefix):
            yield decode(cls, value, size_bytes_max=STATE_VALUE_SIZE_BYTES_MAX)


def _registered(participant: Participant) -> GenesisParticipant:
    return GenesisParticipant(
        participant.address,
        Register(
            participant.name,
            participant.roles,
            participant.data_commitment,
            participant.reward_address,
            participant.description,
        ),
    )
